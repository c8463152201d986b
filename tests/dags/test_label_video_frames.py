from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from airflow_annotation.formats.parquet import read_dataset
from tests.media.videos import make_video
from tests.servers.airflow import Airflow
from tests.servers.label_studio import LabelStudio

pytestmark = pytest.mark.live_airflow

DAG_ID = "label_video_frames"


def label_odd_seconds(label_studio: LabelStudio, project_id: str) -> None:
    """Play the person who sees an animal in every other frame."""
    value = {"rectanglelabels": ["animal"], "x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0}
    box = {"from_name": "objects", "to_name": "image", "type": "rectanglelabels", "value": value}
    headers = {"Authorization": f"Token {label_studio.api_key}"}
    with httpx.Client(base_url=label_studio.url, headers=headers, timeout=30) as client:
        project = client.get(f"/api/projects/{project_id}").raise_for_status().json()
        box["to_name"] = project["parsed_label_config"]["objects"]["to_name"][0]
        while (task := client.get(f"/api/projects/{project_id}/next")).status_code != httpx.codes.NOT_FOUND:
            is_odd = task.raise_for_status().json()["data"]["time"] % 2 == 1
            answer = {"result": [box] if is_odd else [], "lead_time": 1.5}
            client.post(f"/api/tasks/{task.json()['id']}/annotations/", json=answer).raise_for_status()


def test_frames_of_videos_are_labeled_and_labels_are_on_the_timeline(
    airflow: Airflow, label_studio: LabelStudio, tmp_path: Path
) -> None:
    videos = {str(tmp_path / "videos" / name): count for name, count in {"a.mp4": 100, "b.mp4": 40}.items()}
    (tmp_path / "videos").mkdir()
    for path, count in videos.items():
        Path(path).write_bytes(make_video(count))
    airflow.wait_for_dag(DAG_ID)
    conf = {"videos": f"{tmp_path}/videos", "frames": f"{tmp_path}/frames", "dataset": f"{tmp_path.as_uri()}/dataset"}
    run_id = airflow.trigger(DAG_ID, conf)
    labeled = False
    for states in airflow.watch(DAG_ID, run_id):
        if states.get("wait_for_labels") == "deferred" and not labeled:
            label_odd_seconds(label_studio, airflow.xcom(DAG_ID, run_id, "create_project")["id"])
            labeled = True
    states = {task_id: task["state"] for task_id, task in airflow.tasks(DAG_ID, run_id).items()}
    logs = "\n".join(airflow.task_log(DAG_ID, run_id, task) for task, state in states.items() if state == "failed")
    assert set(states.values()) == {"success"}, logs

    keys = read_dataset(f"{tmp_path}/dataset")["items"]["item_key"].to_pylist()
    a, b = videos
    assert sorted(keys) == [f"{a}#frame={frame}" for frame in (0, 30, 60, 90)] + [f"{b}#frame={n}" for n in (0, 30)]
    assert airflow.xcom(DAG_ID, run_id, "seconds_with_labels") == {a: [1.0, 3.0], b: [1.0]}
