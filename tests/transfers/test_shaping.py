"""A caller's function shapes what lands, and cannot break what a refresh relies on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from tests.support.generated import batch_of, boxes
from tests.transfers.conftest import Land


def operator(target: Path, **kwargs: Any) -> AnnotationsToObjectStorageOperator:
    return AnnotationsToObjectStorageOperator(task_id="land", target=str(target), **kwargs)


def vehicles(batch: LabelTables) -> LabelTables:
    """Land every label as a vehicle, as a table instead of a record batch."""
    labels = pa.table(batch.labels)
    index = labels.schema.get_field_index("label")
    return batch._replace(labels=labels.set_column(index, "label", pa.array(["vehicle"] * labels.num_rows)))


def without_labels(batch: LabelTables) -> LabelTables:
    return batch._replace(labels=batch.labels.slice(0, 0))


def without_first_item(batch: LabelTables) -> LabelTables:
    return batch._replace(items=batch.items.slice(1))


def with_another_status(batch: LabelTables) -> LabelTables:
    status = pa.array(["done"] * batch.items.num_rows)
    return batch._replace(items=batch.items.set_column(batch.items.schema.get_field_index("status"), "status", status))


def with_labels_of_others(batch: LabelTables) -> LabelTables:
    ids = pa.array(["nobody"] * batch.labels.num_rows)
    index = batch.labels.schema.get_field_index("item_id")
    return batch._replace(labels=batch.labels.set_column(index, "item_id", ids))


def with_another_column(batch: LabelTables) -> LabelTables:
    return batch._replace(labels=batch.labels.append_column("mine", pa.nulls(batch.labels.num_rows)))


def with_another_type(batch: LabelTables) -> LabelTables:
    index = batch.labels.schema.get_field_index("ordinal")
    words = pa.array(["first"] * batch.labels.num_rows)
    return batch._replace(labels=batch.labels.set_column(index, "ordinal", words))


def without_fields(batch: LabelTables) -> LabelTables:
    index = batch.labels.schema.get_field_index("field")
    return batch._replace(labels=batch.labels.set_column(index, "field", pa.nulls(batch.labels.num_rows, pa.string())))


def nothing(batch: LabelTables) -> LabelTables:
    del batch
    return None  # type: ignore[return-value]


def without_its_file(batch: LabelTables) -> LabelTables:
    Path("/gone.json").read_bytes()
    return batch


def without_its_bucket(_: LabelTables) -> LabelTables:
    raise pytest.importorskip("botocore.exceptions").NoCredentialsError


@pytest.mark.parametrize("transform", [vehicles, f"{__name__}:vehicles"])
def test_a_function_says_what_lands(
    land: Land, tmp_path: Path, transform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules[vehicles.__module__])
    land(operator(tmp_path, transform=transform), [boxes(5)])
    read = read_dataset(str(tmp_path))
    assert set(read["labels"].column("label").to_pylist()) == {"vehicle"}
    assert read["items"].num_rows == 5


def test_another_function_lands_all_anew_and_the_same_lands_what_has_changed(land: Land, tmp_path: Path) -> None:
    assert land(operator(tmp_path), [boxes(5)])["full"]
    assert land(operator(tmp_path, transform=vehicles), [boxes(5)])["full"]
    assert not land(operator(tmp_path, transform=vehicles), [boxes(5)])["full"]
    assert land(operator(tmp_path, transform=without_labels), [boxes(5)])["full"]
    assert read_dataset(str(tmp_path))["labels"].num_rows == 0


def test_a_function_sees_what_would_have_landed(land: Land, tmp_path: Path) -> None:
    seen: list[LabelTables] = []

    def look(batch: LabelTables) -> LabelTables:
        seen.append(batch)
        return batch

    land(operator(tmp_path, transform=look, coordinates="pixels", field_mapping={"objects": "things"}), [boxes(5)])
    (batch,) = seen
    assert batch.labels.column("bbox").to_pylist()[0] == [20, 20, 50, 50]
    assert pc.unique(batch.labels.column("field")).to_pylist() == ["things"]


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (without_first_item, "without_first_item changed 'item_id' of items. It must not add or remove items"),
        (with_another_status, "with_another_status changed 'status' of items"),
        (with_labels_of_others, "with_labels_of_others returned labels of items that are not in the batch"),
        (with_another_column, "with_another_column returned labels with other columns: mine"),
        (with_another_type, "with_another_type returned labels with other types: "),
        (without_fields, "without_fields returned labels with other types: .*'field' with null values"),
        (nothing, "nothing must return LabelTables"),
        (without_its_file, r"without_its_file failed: .*gone\.json"),
        (without_its_bucket, "without_its_bucket failed: Unable to locate credentials"),
        ("nowhere.at_all", "There is no function 'nowhere.at_all'"),
    ],
)
def test_a_function_that_breaks_the_tables_is_named_and_nothing_lands(
    land: Land, tmp_path: Path, transform: Any, message: str
) -> None:
    with pytest.raises(AnnotationError, match=message):
        land(operator(tmp_path, transform=transform), [boxes(5)])
    assert not any(tmp_path.iterdir())


def test_a_mapping_of_types_gives_their_labels_a_field_unless_their_own_field_has_one(
    land: Land, tmp_path: Path
) -> None:
    item, first = boxes(2).items.to_pylist()[1], boxes(2).labels.to_pylist()[0]
    rows = [
        first | {"ordinal": 0, "field": "objects", "type": "detection"},
        first | {"ordinal": 1, "field": "objects", "type": "polygon"},
        first | {"ordinal": 2, "field": "weather", "type": "polygon"},
    ]
    batch = batch_of([item | {"item_id": "x"}], labels=[row | {"item_id": "x"} for row in rows])
    land(operator(tmp_path, field_mapping={"type:polygon": "outlines", "weather": "sky"}), [batch])
    assert read_dataset(str(tmp_path))["labels"].column("field").to_pylist() == ["objects", "outlines", "sky"]
