"""A DAG of many deferred sensors."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from airflow_annotation.sensors.annotation import AnnotationSensor

PROJECTS: list[str] = []  # the test puts the ids here
WAVES = 1  # and here how many runs wait at once

with DAG("many_waits", schedule=None, max_active_tasks=len(PROJECTS) + 1, max_active_runs=WAVES):
    AnnotationSensor.partial(
        task_id="wait",
        annotation_conn_id="waits_tool",
        deferrable=True,
        poke_interval=60,
        timeout=24 * 3600,
        retries=3,
        retry_delay=timedelta(0),
    ).expand(project=PROJECTS)
