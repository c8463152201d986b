"""A DAG of a hundred tasks that wait for the same people."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_annotation.sensors.annotation import AnnotationSensor

WAITS = 100
RUN_KEY = "chaos"  # the test puts a key of its own here

with DAG("many_waits", schedule=None, max_active_tasks=WAITS):
    AnnotationSensor.partial(
        task_id="wait",
        run_key=RUN_KEY,
        annotation_conn_id="chaos_tool",
        deferrable=True,
        poke_interval=2,
        timeout=3600,
        retries=0,
        max_active_tis_per_dag=WAITS,
    ).expand(min_completed=[1] * WAITS)
