"""A DAG that runs whenever two more items of a run's project are labeled, and waits for nothing."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_annotation.triggers.events import AnnotationEventTrigger

RUN_KEY = "events"  # the test puts a key of its own here

labels = Asset(
    "labels_of_events",
    watchers=[
        AssetWatcher(
            name="two_more",
            trigger=AnnotationEventTrigger(
                annotation_conn_id="label_studio_test", run_key=RUN_KEY, every=2, poke_interval=1
            ),
        )
    ],
)

with DAG("events", schedule=[labels], max_active_runs=1):

    @task
    def what_is_new(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
        return [event.extra["payload"] for event in triggering_asset_events[labels]]

    what_is_new()
