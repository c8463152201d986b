from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.hooks.annotation import AnnotationHook
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.operators.media import UploadMediaOperator
from demo.annotator import annotate
from devtools.airflow import Airflow
from devtools.label_studio import LabelStudio
from devtools.processes import REPOSITORY
from tests.support.connections import airflow_connection
from tests.support.task_context import task_context

pytestmark = pytest.mark.live_airflow

RUN_KEY = "street_scenes"
SCHEMA = LabelSchema.from_dict({"scene": {"type": "classification", "classes": ["indoors", "outdoors"]}})


@pytest.fixture
def street_scenes(label_studio: LabelStudio) -> Iterator[str]:
    """The project that the example watches, with photos."""
    connection = {"conn_type": "label_studio", "host": label_studio.url, "password": label_studio.api_key}
    with airflow_connection("street_scenes_test", connection) as conn_id:
        hook = AnnotationHook.for_connection(conn_id)
        project = hook.create_project(title="Street scenes", run_key=RUN_KEY, label_schema=SCHEMA)
        photos = str(REPOSITORY / "demo" / "photos" / "c*.jpg")
        UploadMediaOperator(task_id="upload", annotation_conn_id=conn_id, run_key=RUN_KEY, media=photos).execute(
            task_context()
        )
        yield project.id
        hook.delete_project(project.id)


def test_the_dag_runs_when_all_is_labeled(
    airflow: Airflow, label_studio: LabelStudio, street_scenes: str, tmp_path: Path
) -> None:
    folder = f"{tmp_path.as_uri()}/labels"
    airflow.client.post("/variables", json={"key": "labels_folder", "value": folder}).raise_for_status()
    airflow.wait_for_dag("land_when_labeled")
    labeled = list(annotate(label_studio.url, label_studio.api_key, street_scenes, lambda _: {"scene": "outdoors"}))
    landed = airflow.xcom_of_a_run("land_when_labeled", "labels_to_dataset", lambda value: value["target"] == folder)
    assert landed["rows"]["labels"] == len(labeled)
    assert read_dataset(folder)["labels"]["label"].to_pylist() == ["outdoors"] * len(labeled)
