"""A DAG that lands a project whole and in shards, and waits while it reads one until its worker is killed."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pyarrow as pa
from airflow.sdk import DAG, ObjectStoragePath, get_current_context

from airflow_annotation.landing.plan import LandingPlan
from airflow_annotation.landing.spool import Spool
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from airflow_annotation.transfers.sharded import land_in_shards

SHARD_ITEMS = 50


class KilledWithItsWorkerOperator(AnnotationsToSqlOperator):
    """Lands in SQL; the first try of shard 1 tells that it has read, and goes on for an hour."""

    def read(self, landing: LandingPlan, folder: ObjectStoragePath, item_ids: pa.Array | None = None) -> Spool:
        spool = super().read(landing, folder, item_ids)
        context: Any = get_current_context()
        if context["ti"].map_index == 1 and context["ti"].try_number == 1 and context["params"]["sign"]:
            ObjectStoragePath(context["params"]["sign"]).write_text("reading")
            time.sleep(3600)
        return spool


with DAG(
    "celery",
    schedule=None,
    default_args={
        "annotation_conn_id": "tool_of_team",
        "retries": 5,
        "retry_delay": timedelta(0),
        "project": "{{ params.project }}",
    },
    params={"project": "1", "folder": "s3://bucket", "sign": ""},
):
    folder = "{{ params.folder }}"
    shards: dict[str, Any] = {"staging": f"{folder}/staging", "shard_items": SHARD_ITEMS}
    database: dict[str, Any] = {"sql_conn_id": "postgres_test"}
    AnnotationsToSqlOperator(task_id="sql", table_prefix="whole_", **database)
    land_in_shards(KilledWithItsWorkerOperator, group_id="sharded_sql", table_prefix="sharded_", **shards, **database)
    AnnotationsToObjectStorageOperator(task_id="files", target=f"{folder}/whole")
    land_in_shards(AnnotationsToObjectStorageOperator, group_id="sharded_files", target=f"{folder}/sharded", **shards)
