"""What landings import late, for the process that all are forked from: what providers there are takes seconds."""

from __future__ import annotations

import contextlib

import pandas as pd  # noqa: F401 - Arrow looks for it
from airflow.models.connection import Connection
from airflow.sdk import ObjectStoragePath
from airflow.sdk.exceptions import AirflowException

from airflow_annotation.landing import sql_reader  # noqa: F401
from airflow_annotation.transfers import annotations_to_object_storage  # noqa: F401
from airflow_annotation.warehouses import registry  # noqa: F401
from tests.transfers import doomed  # noqa: F401

assert ObjectStoragePath("file:///").fs
for conn_type in ("sqlite", "postgres"):
    Connection(conn_id="doomed", conn_type=conn_type).get_hook()  # type: ignore[no-untyped-call]
for conn_type in ("duckdb", "mysql"):
    with contextlib.suppress(AirflowException):  # an extra; there is no such connection
        Connection(conn_id="doomed", conn_type=conn_type).get_hook()  # type: ignore[no-untyped-call]
with contextlib.suppress(ImportError):  # extras
    from airflow.providers.amazon.aws.fs import s3  # noqa: F401
    from airflow.providers.google.cloud.hooks import gcs  # noqa: F401

    from airflow_annotation.datasets import gcs_store  # noqa: F401
