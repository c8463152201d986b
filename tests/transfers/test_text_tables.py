from __future__ import annotations

import csv
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from airflow.sdk import ObjectStoragePath
from hypothesis import HealthCheck, given, settings

from airflow_annotation.datasets.text_tables import write_text_tables
from airflow_annotation.datasets.versions import read_manifest
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.tables import JSON_COLUMNS, SCHEMAS, LabelTables
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.landed_annotations_to_object_storage import LandedAnnotationsToObjectStorageOperator
from tests.support.generated import boxes, label_tables, rows_of, sorted_rows
from tests.support.task_context import task_context
from tests.transfers.conftest import Land


def read_jsonl(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [
            {field.name: _from_json(field, row[field.name]) for field in schema}
            for row in map(json.loads, (folder / f"{name}.jsonl").read_bytes().split(b"\n")[:-1])
        ]
        for name, schema in SCHEMAS.items()
    }


def _from_json(field: pa.Field, value: Any) -> Any:
    if value is not None and pa.types.is_timestamp(field.type):
        return datetime.fromisoformat(value)
    return value


def read_csv(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [
            {field.name: _from_csv(name, field, row[field.name]) for field in schema}
            for row in csv.DictReader((folder / f"{name}.csv").open(newline=""))
        ]
        for name, schema in SCHEMAS.items()
    }


def _from_csv(table: str, field: pa.Field, text: str) -> Any:
    if text == "" and (field.nullable or not pa.types.is_string(field.type)):
        return None
    if pa.types.is_list(field.type) or field.name in JSON_COLUMNS[table]:
        return json.loads(text)
    if pa.types.is_timestamp(field.type):
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    if pa.types.is_boolean(field.type):
        return text == "true"
    if pa.types.is_floating(field.type):
        return float(text)
    return int(text) if pa.types.is_integer(field.type) else text


def without_empty_text(rows: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Return rows in which no optional text is empty: Python's reader does not tell it from a null."""
    return {
        name: [
            {
                column: None if value == "" and SCHEMAS[name].field(column).nullable else value
                for column, value in row.items()
            }
            for row in table
        ]
        for name, table in rows.items()
    }


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(batches=label_tables())
def test_json_lines_read_back_equal(tmp_path: Path, batches: list[LabelTables]) -> None:
    files = write_text_tables(ObjectStoragePath(tmp_path.as_uri()), batches, "jsonl")
    assert sorted_rows(read_jsonl(tmp_path)) == rows_of(batches)
    assert {name: file.rows for name, (file,) in files.items()} == {
        name: sum(len(getattr(batch, name)) for batch in batches) for name in SCHEMAS
    }


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(batches=label_tables())
def test_comma_separated_values_read_back_equal(tmp_path: Path, batches: list[LabelTables]) -> None:
    write_text_tables(ObjectStoragePath(tmp_path.as_uri()), batches, "csv")
    assert sorted_rows(read_csv(tmp_path)) == sorted_rows(without_empty_text(rows_of(batches)))


@pytest.mark.parametrize("dataset_format", ["jsonl", "csv"])
def test_the_tables_land_as_a_version_that_duckdb_reads(land: Land, tmp_path: Path, dataset_format: str) -> None:
    operator = AnnotationsToObjectStorageOperator(
        task_id="land", target=str(tmp_path), dataset_format=dataset_format, coordinates="pixels"
    )
    landed = land(operator, [boxes(5), boxes(5, first=5)])
    assert landed["rows"] == {"items": 10, "annotations": 8, "labels": 16}
    (file,) = read_manifest(str(tmp_path), dataset_format=dataset_format).files["labels"]
    assert (tmp_path / file.path).stat().st_size == file.size
    duckdb = pytest.importorskip("duckdb")
    query = f"SELECT label, count(*) FROM '{tmp_path / file.path}' GROUP BY 1 ORDER BY 1"
    assert duckdb.sql(query).fetchall() == [("car", 8), ("person", 8)]
    assert land(operator, [boxes(2)])["rows"]["items"] == 2


def test_what_has_landed_as_parquet_becomes_json_lines_without_the_tool(land: Land, tmp_path: Path) -> None:
    land(AnnotationsToObjectStorageOperator(task_id="land", target=f"{tmp_path}/parquet"), [boxes(5)])
    converted = LandedAnnotationsToObjectStorageOperator(
        task_id="convert", source=f"{tmp_path}/parquet", target=f"{tmp_path}/text", dataset_format="jsonl"
    ).execute(task_context())
    assert sorted_rows(read_jsonl(Path(converted["path"].removeprefix("file://")))) == rows_of([boxes(5)])


def test_text_has_no_options(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="csv has no dataset_options"):
        AnnotationsToObjectStorageOperator(
            task_id="land", target=str(tmp_path), dataset_format="csv", dataset_options={"classes": ["car"]}
        )
