"""DAGs that land a project whole and in shards, in files and in a database, and say what each of their tasks took."""

from __future__ import annotations

import resource
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from airflow_annotation.transfers.sharded import land_in_shards


def note_usage(context: Any, result: Any = None) -> None:
    """Leave what this task's process took, as an XCom."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    status = Path("/proc/self/status").read_text()
    usage = {
        "cpu": used.ru_utime + used.ru_stime,
        "megabytes": int(status.split("VmHWM:")[1].split()[0]) / 1024,
    }
    context["ti"].xcom_push(key="usage", value=usage)


def scale_dag(dag_id: str) -> DAG:
    """Return a DAG with the parameters of all of them."""
    return DAG(
        dag_id,
        schedule=None,
        default_args={
            "annotation_conn_id": "large_tool",
            "retries": 2,
            "retry_delay": timedelta(0),
            "project": "{{ params.project }}",
            "post_execute": note_usage,
        },
        params={"project": "1", "folder": "s3://bucket"},
    )


FOLDER = "{{ params.folder }}"
PROJECT = "{{ params.project }}"
SHARD_ITEMS = 1  # the test puts another number here
DESTINATIONS: dict[str, tuple[Any, dict[str, dict[str, Any]]]] = {
    "files": (
        AnnotationsToObjectStorageOperator,
        {name: {"target": f"{FOLDER}/{name}-{PROJECT}"} for name in ("whole", "shards")},
    ),
    "sql": (
        AnnotationsToSqlOperator,
        {name: {"sql_conn_id": "postgres_test", "table_prefix": f"{name}_"} for name in ("whole", "shards")},
    ),
}

for destination, (operator, arguments) in DESTINATIONS.items():
    with scale_dag(f"scale_whole_{destination}"):
        operator(task_id="whole", **arguments["whole"])
    with scale_dag(f"scale_listed_{destination}"):
        operator(task_id="listed", full_listing_every=timedelta(0), **arguments["whole"])
    with scale_dag(f"scale_shards_{destination}"):
        land_in_shards(
            operator,
            group_id="shards",
            staging=f"{FOLDER}/staging",
            shard_items=SHARD_ITEMS,
            **arguments["shards"],
        )
