"""Plays the person who labels: takes one task after the other from Label Studio and answers it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import httpx

ANSWERS = Path(__file__).with_name("answers.json")
"""By the photo's name: its scene, and the objects in it as Label Studio has them, in percent; or ``skip``."""


def annotate(url: str, api_key: str, project_id: str, answers: Path = ANSWERS) -> Iterator[str]:
    """Answer every task of a project and yield the name of each photo that was answered.

    :param url: of Label Studio
    :param api_key: legacy token of the person
    :param project_id: the project, with the fields ``scene`` and ``objects``
    :param answers: the file of answers
    """
    known = json.loads(answers.read_text())
    with httpx.Client(base_url=url, headers={"Authorization": f"Token {api_key}"}, timeout=30) as client:
        project = client.get(f"/api/projects/{project_id}").raise_for_status().json()
        controls = project["parsed_label_config"]
        while (task := client.get(f"/api/projects/{project_id}/next")).status_code != httpx.codes.NOT_FOUND:
            task_id, data = task.raise_for_status().json()["id"], task.json()["data"]
            photo = PurePosixPath(data["item_key"]).stem
            answer = known[photo]
            skip = answer == "skip"
            body = {"result": [] if skip else _result(answer, controls), "was_cancelled": skip, "lead_time": 4.2}
            client.post(f"/api/tasks/{task_id}/annotations/", json=body).raise_for_status()
            yield photo


def _result(answer: dict[str, Any], controls: dict[str, Any]) -> list[dict[str, Any]]:
    scene = {"choices": [answer["scene"]]}
    boxes = [
        {"rectanglelabels": [box["label"]], "rotation": 0, **{key: box[key] for key in ("x", "y", "width", "height")}}
        for box in answer["objects"]
    ]
    return [
        {"from_name": field, "to_name": controls[field]["to_name"][0], "type": type_, "value": value}
        for field, type_, values in (("scene", "choices", [scene]), ("objects", "rectanglelabels", boxes))
        for value in values
    ]
