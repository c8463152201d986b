"""A DAG that lands a project as one task and in shards, one of which is killed after it has read."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from typing import Any

import pyarrow as pa
from airflow.sdk import DAG, ObjectStoragePath, get_current_context

from airflow_annotation.landing.plan import LandingPlan
from airflow_annotation.landing.spool import Spool
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from airflow_annotation.transfers.sharded import land_in_shards


class KilledOnceOperator(AnnotationsToSqlOperator):
    """Lands in SQL; the worker's process that reads shard 1 dies the first time."""

    def read(self, landing: LandingPlan, folder: ObjectStoragePath, item_ids: pa.Array | None = None) -> Spool:
        spool = super().read(landing, folder, item_ids)
        ti: Any = get_current_context()["ti"]
        if ti.map_index == 1 and ti.try_number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return spool


with DAG(
    "shards",
    schedule=None,
    default_args={
        "annotation_conn_id": "label_studio_test",
        "retries": 1,
        "retry_delay": timedelta(0),
        "project": "{{ params.project }}",
        "include_predictions": True,
    },
    params={"project": "1", "folder": "file:///tmp/shards"},
):
    folder = "{{ params.folder }}"
    staging = f"{folder}/staging"
    AnnotationsToSqlOperator(task_id="sql", table_prefix="whole_")
    land_in_shards(KilledOnceOperator, group_id="sharded_sql", staging=staging, shard_items=4, table_prefix="sharded_")
    AnnotationsToObjectStorageOperator(task_id="files", target=f"{folder}/whole")
    land_in_shards(
        AnnotationsToObjectStorageOperator,
        group_id="sharded_files",
        staging=staging,
        shard_items=6,
        target=f"{folder}/sharded",
    )
