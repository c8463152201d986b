from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.datasets.versions import read_manifest
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from tests.support.generated import SCHEMA, GeneratedHook, batch_of, boxes, project_uri
from tests.support.task_context import task_context
from tests.transfers.conftest import Land


def operator(target: Path | str, **kwargs: Any) -> AnnotationsToObjectStorageOperator:
    return AnnotationsToObjectStorageOperator(task_id="land", target=str(target), **kwargs)


def test_a_landing_returns_a_small_summary_that_says_where_it_is(land: Land, tmp_path: Path) -> None:
    landed = land(operator(tmp_path), [boxes(5), boxes(5, first=5)])
    assert landed["project"] == project_uri()
    assert landed["rows"] == {"items": 10, "annotations": 8, "labels": 16}
    assert landed["label_schema_digest"] == SCHEMA.digest()
    assert landed["target"] == f"file://{tmp_path}"
    assert landed["version"] == read_manifest(str(tmp_path)).version
    assert Path(landed["path"].removeprefix("file://")).joinpath("labels.parquet").exists()
    assert landed["seconds"] >= 0


def test_pixels_are_of_each_labels_own_item(land: Land, tmp_path: Path) -> None:
    land(operator(tmp_path, coordinates="pixels"), [boxes(10)])
    assert read_dataset(str(tmp_path))["labels"].column("bbox").to_pylist() == [[20, 20, 50, 50]] * 16
    assert read_manifest(str(tmp_path)).settings["coordinates"] == "pixels"


def test_fields_get_the_names_that_the_mapping_gives_them(land: Land, tmp_path: Path) -> None:
    two_fields = boxes(2)
    item = two_fields.items.to_pylist()[1]
    weather = two_fields.labels.to_pylist()[0] | {"ordinal": 9, "field": "weather", "type": "classification"}
    batches = [two_fields, batch_of([item | {"item_id": "x"}], labels=[weather | {"item_id": "x"}])]
    land(operator(tmp_path, field_mapping={"objects": "ground_truth"}), batches)
    labels = read_dataset(str(tmp_path))["labels"]
    assert labels.column("field").to_pylist() == ["ground_truth", "ground_truth", "weather"]
    assert labels.schema.field("field").nullable is False


def test_a_mapping_of_a_field_that_is_not_there_names_it_and_the_fields(land: Land, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"field_mapping names 'object'.*'objects', 'weather'"):
        land(operator(tmp_path, field_mapping={"object": "ground_truth"}), [boxes(5)])
    assert not any(tmp_path.iterdir())


def test_the_tool_is_asked_for_what_the_operator_was(tmp_path: Path) -> None:
    task = operator(
        tmp_path,
        annotations="latest",
        include_predictions=True,
        annotators="id",
        frames="all",
        keep_raw=True,
        project="1",
    )
    hook = task.__dict__["hook"] = GeneratedHook([])
    context: Any = task_context()
    task.execute(context)
    assert hook.asked_for == ReadOptions(
        annotations="latest", include_predictions=True, annotators="id", frames="all", keep_raw=True
    )
    assert context["ti"].xcoms == {"annotation_project_url": hook.project.url}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("annotations", "newest"),
        ("coordinates", "percent"),
        ("annotators", "name"),
        ("frames", "some"),
        ("keep_versions", 0),
    ],
)
def test_a_wrong_parameter_fails_when_the_dag_is_parsed_and_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        operator("/data/labels", **{name: value})


def test_a_wrong_target_fails_when_the_dag_is_parsed_unless_it_is_a_template() -> None:
    with pytest.raises(AnnotationError, match="neither a URI"):
        operator("labels")
    assert operator("{{ params.target }}").target == "{{ params.target }}"


def test_a_killed_landing_stops_and_leaves_the_last_one(land: Land, tmp_path: Path) -> None:
    land(operator(tmp_path), [boxes(5)])
    task = operator(tmp_path)

    def killed() -> Any:
        yield boxes(5)
        task.on_kill()
        yield boxes(5, first=5)

    before = read_manifest(str(tmp_path))
    with pytest.raises(AnnotationError, match="stopped"):
        land(task, killed())
    assert read_manifest(str(tmp_path)) == before
    assert [path.name for path in (tmp_path / "versions").iterdir()] == [before.version]


def test_items_without_labels_are_landed(land: Land, tmp_path: Path) -> None:
    land(operator(tmp_path), [boxes(10, per_item=0)])
    read = read_dataset(str(tmp_path))
    assert (read["items"].num_rows, read["annotations"].num_rows, read["labels"].num_rows) == (10, 8, 0)
    assert isinstance(read["items"], pa.Table)
