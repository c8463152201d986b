from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk import BaseHook

from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.datasets.versions import read_manifest
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from airflow_annotation.transfers.base import Coordinates
from airflow_annotation.transfers.landed_annotations_to_object_storage import LandedAnnotationsToObjectStorageOperator
from tests.support.connections import airflow_connection
from tests.support.datasets import box, files_in, item, pages
from tests.support.generated import SCHEMA, GeneratedHook, boxes, project_uri
from tests.support.task_context import task_context
from tests.transfers.conftest import Land


def land_format(land: Land, target: Path, batches: list[LabelTables], **kwargs: Any) -> Any:
    operator = AnnotationsToObjectStorageOperator(task_id="land", target=str(target), **kwargs)
    return land(operator, batches)


def convert(target: Path, **kwargs: Any) -> Any:
    kwargs = {"dataset_format": "coco"} | kwargs
    operator = LandedAnnotationsToObjectStorageOperator(task_id="convert", target=str(target), **kwargs)
    context: Any = task_context()
    return operator.execute(context)


def version_of(landed: dict[str, Any]) -> dict[str, bytes]:
    """Return the files of the version that a task has returned, but for its manifest, and the rows kept beside them."""
    files = files_in(Path(landed["path"].removeprefix("file://")))
    del files["manifest.json"]
    return {name: content for name, content in files.items() if not name.startswith("tables/")}


@pytest.fixture
def sql_conn_id(tmp_path: Path) -> Iterator[str]:
    connection = {"conn_type": "sqlite", "host": str(tmp_path / "annotations.db")}
    with airflow_connection(f"sqlite_{uuid4().hex}", connection) as conn_id:
        yield conn_id


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    name = "postgres_conn_id" if request.param == "postgres" else "sql_conn_id"
    conn_id: str = request.getfixturevalue(name)
    return conn_id


def test_a_format_lands_as_a_version_that_says_what_it_is(land: Land, tmp_path: Path) -> None:
    splits = {"train": 0.5, "val": 0.5}
    landed = land_format(land, tmp_path, [boxes(10)], dataset_format="yolo", dataset_options={"splits": splits})
    assert landed["rows"] == {"images": 8, "objects": 16}
    manifest = read_manifest(str(tmp_path), dataset_format="yolo")
    assert manifest.version == landed["version"]
    assert manifest.settings["dataset_options"] == {"splits": splits}
    assert {"data.yaml", "images.parquet"} < version_of(landed).keys()
    with pytest.raises(AnnotationError, match="is in the format yolo, not parquet"):
        read_dataset(str(tmp_path))


def test_a_format_takes_the_latest_submissions_and_all_frames_unless_told_otherwise(tmp_path: Path) -> None:
    def asked_for(**kwargs: Any) -> tuple[str, str]:
        operator = AnnotationsToObjectStorageOperator(task_id="land", target=str(tmp_path), project="1", **kwargs)
        hook = operator.__dict__["hook"] = GeneratedHook([])
        context: Any = task_context()
        operator.execute(context)
        return hook.asked_for.annotations, hook.asked_for.frames

    assert asked_for() == ("all", "keyframes")
    assert asked_for(dataset_format="coco", replace_project=True) == ("latest", "all")
    assert asked_for(dataset_format="coco", annotations="ground_truth", frames="keyframes") == (
        "ground_truth",
        "keyframes",
    )


def test_renamed_fields_are_found_by_their_new_names(land: Land, tmp_path: Path) -> None:
    options = {"label_fields": ["things"]}
    landed = land_format(
        land, tmp_path, [boxes(5)], dataset_format="coco", field_mapping={"objects": "things"}, dataset_options=options
    )
    assert landed["rows"]["objects"] == 8


def test_one_folder_holds_one_format(land: Land, tmp_path: Path) -> None:
    land_format(land, tmp_path, [boxes(5)])
    with pytest.raises(AnnotationError, match=r"holds a dataset in the format parquet, not coco.*replace_project=True"):
        land_format(land, tmp_path, [boxes(5)], dataset_format="coco")
    land_format(land, tmp_path, [boxes(5)], dataset_format="coco", replace_project=True)
    assert read_manifest(str(tmp_path), dataset_format="coco").rows == {"images": 4, "objects": 8}


def test_a_landing_that_fails_leaves_the_last_version(land: Land, tmp_path: Path) -> None:
    first = land_format(land, tmp_path, [boxes(5)], dataset_format="coco")
    wrong = boxes(5, classes=("bus",))
    with pytest.raises(AnnotationError, match="'bus'"):
        land_format(land, tmp_path, [boxes(5), wrong], dataset_format="coco")
    assert read_manifest(str(tmp_path), dataset_format="coco").version == first["version"]
    assert [path.name for path in (tmp_path / "versions").iterdir()] == [first["version"]]


@pytest.mark.parametrize("coordinates", ["relative", "pixels"])
def test_a_landed_dataset_converts_to_what_the_tool_would_have_given(
    land: Land, tmp_path: Path, coordinates: Coordinates
) -> None:
    batches = [boxes(10), boxes(10, first=10)]
    directly = land_format(land, tmp_path / "coco", batches, dataset_format="coco")
    landed = land_format(land, tmp_path / "landed", batches, coordinates=coordinates)
    for number, source in enumerate((landed, landed["target"], str(tmp_path / "landed"))):
        converted = convert(tmp_path / f"{number}", source=source)
        assert version_of(converted) == version_of(directly)
        assert converted["project"] == project_uri()
        assert converted["label_schema_digest"] == SCHEMA.digest()


@pytest.mark.parametrize("coordinates", ["relative", "pixels"])
def test_landed_tables_convert_to_what_the_tool_would_have_given(
    land: Land, tmp_path: Path, database: str, coordinates: Coordinates
) -> None:
    prefix = f"t.{uuid4().hex[:12]}_"
    batches = [boxes(7), boxes(3, first=7), item("x", [box("car", 0, 0, 0.5, 0.5, rotation=45, attributes='{"a": 1}')])]
    directly = land_format(land, tmp_path / "a", sorted_batches(batches), dataset_format="coco")
    operator = AnnotationsToSqlOperator(
        task_id="land", sql_conn_id=database, table_prefix=prefix, coordinates=coordinates
    )
    landed = land(operator, batches)
    assert version_of(convert(tmp_path / "b", source=landed)) == version_of(directly)
    by_name = convert(tmp_path / "c", sql_conn_id=database, table_prefix=prefix)
    assert version_of(by_name) == version_of(directly)


def test_landed_tables_of_an_earlier_release_convert(land: Land, tmp_path: Path, database: str) -> None:
    prefix = f"t{uuid4().hex[:12]}_"
    landed = land(AnnotationsToSqlOperator(task_id="land", sql_conn_id=database, table_prefix=prefix), [boxes(7)])
    BaseHook.get_hook(database).run(f"alter table {prefix}items drop column media")
    directly = land_format(land, tmp_path / "a", [boxes(7)], dataset_format="coco")
    assert version_of(convert(tmp_path / "b", source=landed)) == version_of(directly)


@pytest.mark.parametrize("coordinates", ["relative", "pixels"])
def test_landed_pages_convert_to_what_the_tool_would_have_given(
    land: Land, tmp_path: Path, database: str, coordinates: Coordinates
) -> None:
    directly = land_format(land, tmp_path / "a", [pages()], dataset_format="coco")
    landed = land_format(land, tmp_path / "parquet", [pages()], coordinates=coordinates)
    assert version_of(convert(tmp_path / "b", source=landed)) == version_of(directly)
    prefix = f"t{uuid4().hex[:12]}_"
    operator = AnnotationsToSqlOperator(
        task_id="land", sql_conn_id=database, table_prefix=prefix, coordinates=coordinates
    )
    assert version_of(convert(tmp_path / "c", source=land(operator, [pages()]))) == version_of(directly)


def sorted_batches(batches: list[LabelTables]) -> list[LabelTables]:
    """Return batches of one item each in the order of the items' ids, which is that of tables."""
    single = []
    for batch in batches:
        for row in range(len(batch.items)):
            item_id = batch.items.column("item_id")[row].as_py()
            single.append((item_id, LabelTables(*(_rows_of(table, item_id) for table in batch))))
    return [batch for _, batch in sorted(single, key=lambda one: one[0])]


def _rows_of(table: Any, item_id: str) -> Any:
    return table.filter([own == item_id for own in table.column("item_id").to_pylist()])


def test_tables_of_several_projects_want_to_know_which(land: Land, tmp_path: Path, sql_conn_id: str) -> None:
    with pytest.raises(AnnotationError, match="has no landed tables"):
        convert(tmp_path / "a", sql_conn_id=sql_conn_id)
    for project_id in ("1", "2"):
        land(
            AnnotationsToSqlOperator(task_id="land", sql_conn_id=sql_conn_id),
            [boxes(5, project_id=project_id)],
            project_id,
        )
    with pytest.raises(AnnotationError, match=r"landings of .*projects/1, .*projects/2: say in source_project"):
        convert(tmp_path / "a", sql_conn_id=sql_conn_id)
    with pytest.raises(AnnotationError, match=r"no landing of 'x'. They have landings of .*/1, .*/2\."):
        convert(tmp_path / "a", sql_conn_id=sql_conn_id, source_project="x")
    converted = convert(tmp_path / "a", sql_conn_id=sql_conn_id, source_project=project_uri("2"))
    assert converted["project"] == project_uri("2")


def test_key_frames_alone_are_refused(land: Land, tmp_path: Path) -> None:
    video = item("v", [box("car", 0, 0, 1, 1, frame=3, track_id="x")], media_type="video")
    landed = land_format(land, tmp_path / "a", [video])
    with pytest.raises(AnnotationError, match='land it with frames="all"'):
        convert(tmp_path / "b", source=landed)
    landed = land_format(land, tmp_path / "a", [video], frames="all")
    assert convert(tmp_path / "b", source=landed)["rows"] == {"images": 1, "objects": 1}


def test_a_killed_conversion_stops(land: Land, tmp_path: Path) -> None:
    landed = land_format(land, tmp_path / "a", [boxes(5)])
    operator = LandedAnnotationsToObjectStorageOperator(
        task_id="convert", target=str(tmp_path / "b"), source=landed, dataset_format="coco"
    )
    operator.on_kill()
    context: Any = task_context()
    with pytest.raises(AnnotationError, match="was stopped"):
        operator.execute(context)
    assert not any((tmp_path / "b" / "versions").iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "pass either source or sql_conn_id"),
        ({"source": "/a", "sql_conn_id": "b"}, "pass either source or sql_conn_id"),
        ({"source": "/a", "dataset_format": "parquet"}, "choose another format"),
        ({"source": "/a", "keep_versions": 0}, "keep_versions"),
    ],
)
def test_wrong_arguments_fail_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    arguments = {"dataset_format": "coco"} | arguments
    with pytest.raises(ValueError, match=message):
        LandedAnnotationsToObjectStorageOperator(task_id="convert", target="/data", **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset_format": "coca"}, "dataset_format is one of parquet, delta, jsonl, csv, coco"),
        ({"dataset_format": "coco", "dataset_options": {"split": {}}}, "coco has no option 'split'"),
        ({"dataset_options": {"classes": ["a"]}}, "parquet has no dataset_options"),
    ],
)
def test_wrong_formats_and_options_fail_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        AnnotationsToObjectStorageOperator(task_id="land", target="/data", **arguments)
    AnnotationsToObjectStorageOperator(
        task_id="land", target="/data", dataset_format="coco", dataset_options={"classes": "{{ params.classes }}"}
    )


def test_the_manifest_is_plain_json(land: Land, tmp_path: Path) -> None:
    land_format(
        land,
        tmp_path,
        [boxes(5)],
        dataset_format="semantic_masks",
        dataset_options={"mask_targets": {2: "car", 3: "person"}},
    )
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["dataset_format"] == "semantic_masks"
    assert manifest["settings"]["dataset_options"]["mask_targets"] == {"2": "car", "3": "person"}
