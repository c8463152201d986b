"""Land the labels of a project whenever all its items are labeled, without a DAG run that waits.

A watcher in the triggerer watches the project of the run ``street_scenes``. Another DAG or a person makes this project,
and it may grow. Each time when people have labeled or skipped all its items, this DAG runs.

Needs the connection ``annotation_default`` to Label Studio or Labelbox. The labels land in the folder that the Airflow
variable ``labels_folder`` names.
"""

from __future__ import annotations

from airflow.sdk import DAG, Asset, AssetWatcher

from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.triggers.events import AnnotationEventTrigger

RUN_KEY = "street_scenes"
LABELED = Asset(
    "street_scenes_labeled",
    watchers=[
        AssetWatcher(
            name="all_labeled",
            trigger=AnnotationEventTrigger(
                annotation_conn_id="annotation_default",
                run_key=RUN_KEY,
                min_completed=1.0,
                count_skipped=True,
                poke_interval=10,
            ),
        )
    ],
)

with DAG("land_when_labeled", schedule=[LABELED], max_active_runs=1, tags=["annotation"]):
    AnnotationsToObjectStorageOperator(
        task_id="labels_to_dataset",
        annotation_conn_id="annotation_default",
        run_key=RUN_KEY,
        target="{{ var.value.get('labels_folder', 'file:///tmp/street_scenes') }}",
    )
