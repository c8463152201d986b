"""Targets that may not be written, or cannot be reached: one kind of error, and what was there stays."""

from __future__ import annotations

import os
from collections.abc import Callable
from uuid import uuid4

import pytest
from airflow.sdk import BaseHook

from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from devtools.processes import free_port
from tests.servers.faults import fault_server
from tests.support.connections import airflow_connection
from tests.support.databases import Database
from tests.support.generated import boxes, rows_of, sorted_rows
from tests.support.roles import forbid_writing, make_reader
from tests.transfers.conftest import Land
from tests.transfers.test_s3 import make_bucket

OLD, NEW = [boxes(5)], [boxes(7, per_item=3)]
FORBIDDEN = "failed, and what was there before is unchanged: .*(Access|access|[Ff]orbidden|[Dd]enied)"


def rows(uri: str) -> object:
    return sorted_rows({name: table.to_pylist() for name, table in read_dataset(uri).items()})


def check(land_there: Callable[[], object], read: Callable[[], object], message: str) -> None:
    before = read()
    with pytest.raises(AnnotationError, match=message):
        land_there()
    assert read() == before


def test_s3(land: Land, s3_conn_id: str) -> None:
    bucket = make_bucket(s3_conn_id)
    endpoint = BaseHook.get_connection(s3_conn_id).extra_dejson["endpoint_url"]

    def land_through(conn_id: str) -> object:
        target = f"s3://{conn_id}@{bucket}/labels"
        return land(AnnotationsToObjectStorageOperator(task_id="land", target=target), NEW)

    uri = f"s3://{s3_conn_id}@{bucket}/labels"
    land(AnnotationsToObjectStorageOperator(task_id="land", target=uri), OLD)
    with fault_server(endpoint) as server:
        server.choose = forbid_writing
        for url, message in ((server.url, FORBIDDEN), (f"http://127.0.0.1:{free_port()}", "Could not connect")):
            connection = {"conn_type": "aws", "login": "test", "password": "test"}
            extra = {"endpoint_url": url, "region_name": "us-east-1"}
            with airflow_connection(f"s3_{uuid4().hex}", {**connection, "extra": extra}) as conn_id:
                check(lambda: land_through(conn_id), lambda: rows(uri), message)


def test_gcs(land: Land, gcs_conn_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.providers.google.cloud.hooks.gcs import GCSHook

    from airflow_annotation.transfers.annotations_to_gcs import AnnotationsToGCSOperator

    bucket = f"labels-{uuid4().hex}"
    GCSHook(gcs_conn_id).get_conn().create_bucket(bucket)

    def land_there(batches: list[LabelTables], name: str = bucket) -> object:
        operator = AnnotationsToGCSOperator(task_id="land", bucket=name, prefix="labels", gcp_conn_id=gcs_conn_id)
        return land(operator, batches)

    land_there(OLD)
    url = os.environ["STORAGE_EMULATOR_HOST"]
    with fault_server(url) as server:
        server.choose = forbid_writing
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        with pytest.raises(AnnotationError, match=FORBIDDEN):
            land_there(NEW)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
    assert rows(f"gs://{gcs_conn_id}@{bucket}/labels") == rows_of(OLD)
    with pytest.raises(AnnotationError, match="There is no bucket"):
        land_there(NEW, f"{bucket}-gone")


def test_postgres(land: Land, postgres_conn_id: str) -> None:
    database = Database(postgres_conn_id)

    def land_through(conn_id: str, batches: list[LabelTables]) -> object:
        operator = AnnotationsToSqlOperator(task_id="land", sql_conn_id=conn_id, table_prefix=database.prefix)
        return land(operator, batches)

    land_through(postgres_conn_id, OLD)
    reader = make_reader(postgres_conn_id)
    nowhere = {"conn_type": "postgres", "host": "127.0.0.1", "port": free_port(), "login": "x", "schema": "x"}
    for connection, message in ((reader, "its last landing is unchanged: permission denied"), (nowhere, "refused")):
        with airflow_connection(f"reader_{uuid4().hex}", connection) as conn_id:
            check(
                lambda: land_through(conn_id, NEW),
                lambda: database.hook.get_records(f"select * from {database.prefix}items order by item_id"),
                message,
            )
