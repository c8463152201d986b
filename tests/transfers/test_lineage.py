"""What a landing tells of itself: asset events, and lineage for OpenLineage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
import sqlalchemy as sa
from airflow.sdk import Asset, AssetAlias

from airflow_annotation.assets import (
    LANDED_ANNOTATIONS,
    create_label_studio_asset,
    create_labelbox_asset,
    folder_uri,
    sanitize_uri,
)
from airflow_annotation.labels.tables import SCHEMAS
from airflow_annotation.landing.lineage import LandingTask
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from airflow_annotation.transfers.landed_annotations_to_object_storage import LandedAnnotationsToObjectStorageOperator
from airflow_annotation.warehouses.base import Warehouse
from airflow_annotation.warehouses.registry import WAREHOUSES
from tests.support.connections import airflow_connection
from tests.support.generated import GeneratedHook, boxes, project_uri
from tests.support.task_context import task_context


def land(operator: LandingTask) -> tuple[dict[str, Any], Any]:
    """Run a transfer of three items, and return what it returned and the events that it made."""
    context: Any = task_context()
    if not isinstance(operator, LandedAnnotationsToObjectStorageOperator):
        operator.project = "1"
        operator.__dict__["hook"] = GeneratedHook([boxes(3)])
    return operator.execute(context), context["outlet_events"]


@pytest.fixture
def sqlite_conn_id(tmp_path: Path) -> Iterator[str]:
    connection = {"conn_type": "sqlite", "host": str(tmp_path / "labels.db")}
    with airflow_connection("lineage_sqlite", connection) as conn_id:
        yield conn_id


def test_the_asset_that_is_declared_gets_an_event_with_all_that_landed(tmp_path: Path) -> None:
    dataset = Asset("my_labels", uri=(tmp_path / "labels").as_uri())
    landed, events = land(
        AnnotationsToObjectStorageOperator(task_id="land", target=str(tmp_path / "labels"), outlets=[dataset])
    )
    assert list(events) == [dataset]
    extra = events[dataset].extra
    assert extra == json.loads(json.dumps(landed))
    assert extra["project"] == project_uri()
    assert extra["rows"] == {"items": 3, "annotations": 2, "labels": 4}
    assert {"version", "watermark", "changed_items", "removed_items"} <= extra.keys()


def test_without_outlets_an_alias_gets_an_event_of_each_asset_by_its_uri(tmp_path: Path, sqlite_conn_id: str) -> None:
    alias = AssetAlias(LANDED_ANNOTATIONS)
    operators = [
        AnnotationsToObjectStorageOperator(task_id="files", target=f"file://{tmp_path}/labels/"),
        AnnotationsToSqlOperator(task_id="tables", sql_conn_id=sqlite_conn_id, table_prefix="x_"),
    ]
    expected = [
        [f"file://{tmp_path}/labels"],
        [f"sqlite://{tmp_path}/labels.db/x_{name}" for name in SCHEMAS],
    ]
    for operator, uris in zip(operators, expected, strict=True):
        landed, events = land(operator)
        assert operator.outlets == [alias]
        made = events[alias].asset_alias_events
        assert [event.dest_asset_key.uri for event in made] == [Asset(uri=uri).uri for uri in uris]
        assert all(event.extra == landed for event in made)
        msgspec.msgpack.encode(made[0].extra)  # plain types, as a worker reports them


def test_a_converted_dataset_makes_events_too(tmp_path: Path) -> None:
    land(AnnotationsToObjectStorageOperator(task_id="land", target=f"{tmp_path}/labels"))
    convert = LandedAnnotationsToObjectStorageOperator(
        task_id="convert", source=f"{tmp_path}/labels", target=f"{tmp_path}/coco", dataset_format="coco"
    )
    landed, events = land(convert)
    (event,) = events[AssetAlias(LANDED_ANNOTATIONS)].asset_alias_events
    assert event.dest_asset_key.uri == f"file://{tmp_path}/coco"
    assert event.extra["rows"] == landed["rows"]


@pytest.mark.parametrize(
    ("target", "uri"),
    [
        ("/data/labels/", "file:///data/labels"),
        ("gs://my_connection@bucket/street/labels", "gs://bucket/street/labels"),
        ("s3://bucket", "s3://bucket"),
        ("file:///data/Straße 1", "file:///data/Stra%C3%9Fe%201"),
    ],
)
def test_a_folders_uri_names_no_connection_and_is_ascii(target: str, uri: str) -> None:
    assert folder_uri(target) == uri
    assert Asset(uri=Asset(uri=uri).uri).uri == Asset(uri=uri).uri  # Airflow takes it, and has a form of its own


@pytest.mark.parametrize(
    ("url", "schema", "uri"),
    [
        ("postgresql+psycopg2://me:secret@db.example/warehouse", None, "postgres://db.example:5432/warehouse/public/t"),
        ("postgresql://db.example:6543/warehouse", "labels", "postgres://db.example:6543/warehouse/labels/t"),
        ("postgresql://me@/warehouse?host=/run/postgres", None, "postgres://localhost:5432/warehouse/public/t"),
        ("postgresql://[::1]/warehouse", None, "postgres://[::1]:5432/warehouse/public/t"),
        ("mysql://me:secret@db.example:3306/warehouse", None, "mysql://db.example:3306/warehouse/t"),
        ("sqlite:////data/labels.db", None, "sqlite:///data/labels.db/t"),
    ],
)
def test_a_tables_uri_is_that_of_the_databases_provider_and_has_no_secrets(
    url: str, schema: str | None, uri: str
) -> None:
    made = sa.engine.make_url(url)
    assert WAREHOUSES.get(made.get_backend_name(), Warehouse).table_uri(made, "t", schema) == uri
    assert Asset(uri=Asset(uri=uri).uri).uri == Asset(uri=uri).uri  # Airflow takes it, and has a form of its own


def test_the_uri_of_a_project_is_always_the_same() -> None:
    uri = "label-studio://labels.example:8080/studio/projects/12"
    assert create_label_studio_asset(host="labels.example:8080/studio", project=12).uri == uri
    assert Asset("project", "label-studio://me@Labels.example:8080/studio/projects/12/").uri == uri
    assert (
        create_labelbox_asset(host="app.labelbox.com", project="ck1").uri == "labelbox://app.labelbox.com/projects/ck1"
    )
    for wrong in ("label-studio:///projects/12", "label-studio://host/12", "labelbox://host/projects/"):
        with pytest.raises(ValueError, match="URI of an annotation project"):
            sanitize_uri(urlsplit(wrong))


def test_openlineage_is_told_columns_and_row_counts(tmp_path: Path, sqlite_conn_id: str) -> None:
    pytest.importorskip("airflow.providers.openlineage")
    to_files = AnnotationsToObjectStorageOperator(task_id="files", target=f"{tmp_path}/labels")
    land(to_files)
    lineage = to_files.get_openlineage_facets_on_complete(None)
    assert [(one.namespace, one.name) for one in lineage.inputs] == [("label-studio://tool.example", "projects/1")]
    (dataset,) = lineage.outputs
    assert (dataset.namespace, dataset.name) == ("file", f"{tmp_path}/labels")
    assert {field.name: len(field.fields) for field in dataset.facets["schema"].fields} == {
        name: len(schema) for name, schema in SCHEMAS.items()
    }
    assert dataset.outputFacets["outputStatistics"].rowCount == 3 + 2 + 4

    to_tables = AnnotationsToSqlOperator(task_id="tables", sql_conn_id=sqlite_conn_id)
    land(to_tables)
    tables = to_tables.get_openlineage_facets_on_complete(None).outputs
    assert [(table.namespace, table.name) for table in tables] == [
        (f"sqlite://{tmp_path}/labels.db", name) for name in SCHEMAS
    ]
    for table, (name, schema), count in zip(tables, SCHEMAS.items(), (3, 2, 4), strict=True):
        assert [field.name for field in table.facets["schema"].fields] == schema.names, name
        assert table.outputFacets["outputStatistics"].rowCount == count

    convert = LandedAnnotationsToObjectStorageOperator(
        task_id="convert", sql_conn_id=sqlite_conn_id, target=f"{tmp_path}/coco", dataset_format="coco"
    )
    land(convert)
    sources = convert.get_openlineage_facets_on_complete(None).inputs
    assert [source.name for source in sources] == list(SCHEMAS)
