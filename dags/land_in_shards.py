"""Land a very large project: many workers read what has changed, and one commit lands it.

Needs two connections: ``annotation_default`` to Label Studio or Labelbox, and ``annotations_db`` to a database. Run the
DAG with the project's id in the param ``project``. People may also have made this project by hand.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from airflow_annotation.transfers.sharded import land_in_shards

with DAG(
    "land_in_shards",
    schedule=None,
    max_active_runs=1,
    default_args={"annotation_conn_id": "{{ params.annotation_conn_id }}", "retries": 3},
    params={
        "annotation_conn_id": "annotation_default",
        "project": Param("1", description="id of the project in the labeling tool"),
        "staging": Param("file:///tmp/land_in_shards", description="a folder that all workers reach"),
    },
    tags=["annotation"],
):
    land_in_shards(
        AnnotationsToSqlOperator,
        group_id="labels_to_sql",
        staging="{{ params.staging }}",
        shard_items=1000,
        shard_arguments={"max_active_tis_per_dagrun": 4},  # workers that may read from the labeling tool at once
        project="{{ params.project }}",
        sql_conn_id="annotations_db",
    )
