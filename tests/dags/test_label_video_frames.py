from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_annotation.datasets.parquet import read_dataset
from devtools.airflow import Airflow
from tests.dags.people import People
from tests.support.videos import make_video

pytestmark = pytest.mark.live_airflow

DAG_ID = "label_video_frames"
FRAME_RATE = 30


def animal_in_odd_seconds(item_key: str) -> dict[str, Any]:
    """Play the person who sees an animal in every other frame."""
    second = int(item_key.partition("#frame=")[2]) // FRAME_RATE
    box = {"label": "animal", "x": 10, "y": 20, "width": 30, "height": 40}
    return {"objects": [box] if second % 2 else []}


def test_frames_of_videos_are_labeled_and_labels_are_on_the_timeline(
    airflow: Airflow, people: People, tmp_path: Path
) -> None:
    videos = {str(tmp_path / "videos" / name): count for name, count in {"a.mp4": 100, "b.mp4": 40}.items()}
    (tmp_path / "videos").mkdir()
    for path, count in videos.items():
        Path(path).write_bytes(make_video(count))
    airflow.wait_for_dag(DAG_ID)
    folders = {
        "videos": f"{tmp_path}/videos",
        "frames": f"{tmp_path}/frames",
        "dataset": f"{tmp_path.as_uri()}/dataset",
        "yolo": f"{tmp_path.as_uri()}/yolo",
    }
    run_id = airflow.trigger(DAG_ID, {"annotation_conn_id": people.conn_id, **folders})
    labeled = False
    for states in airflow.watch(DAG_ID, run_id):
        if states.get("wait_for_labels") == "deferred" and not labeled:
            people.label(airflow.xcom(DAG_ID, run_id, "create_project")["id"], animal_in_odd_seconds)
            labeled = True
    states = {task_id: task["state"] for task_id, task in airflow.tasks(DAG_ID, run_id).items()}
    logs = "\n".join(airflow.task_log(DAG_ID, run_id, task) for task, state in states.items() if state == "failed")
    assert set(states.values()) == {"success"}, logs

    keys = read_dataset(f"{tmp_path}/dataset")["items"]["item_key"].to_pylist()
    a, b = videos
    assert sorted(keys) == [f"{a}#frame={frame}" for frame in (0, 30, 60, 90)] + [f"{b}#frame={n}" for n in (0, 30)]
    assert airflow.xcom(DAG_ID, run_id, "seconds_with_labels") == {a: [1.0, 3.0], b: [1.0]}

    landing = airflow.xcom(DAG_ID, run_id, "dataset_to_yolo")
    trained = airflow.xcom_of_a_run("train_on_video_frames", "train", lambda value: landing["path"] in value["data"])
    assert trained == {"data": f"{landing['path']}/data.yaml", "images": 6, "objects": 3}
