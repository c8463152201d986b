"""Plays the person who labels: takes one task after the other from Label Studio and answers it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import httpx

ANSWERS = Path(__file__).with_name("answers.json")
"""By the photo's name: its scene, and the objects in it as Label Studio has them, in percent; or ``skip``."""


def photo_answer(item_key: str) -> Any:
    """Return the answer for a photo."""
    return json.loads(ANSWERS.read_text())[PurePosixPath(item_key).stem]


def annotate(
    url: str, api_key: str, project_id: str, find_answer: Callable[[str], Any] = photo_answer
) -> Iterator[str]:
    """Answer every task of a project and yield the name of each item that was answered.

    :param url: of Label Studio
    :param api_key: legacy token of the person
    :param project_id: the project
    :param find_answer: returns the answer for an item by its key: by field a class, or a list of boxes, or of other
        records with ``type`` and ``value`` as Label Studio has them
    """
    with httpx.Client(base_url=url, headers={"Authorization": f"Token {api_key}"}, timeout=30) as client:
        project = client.get(f"/api/projects/{project_id}").raise_for_status().json()
        controls = project["parsed_label_config"]
        while (task := client.get(f"/api/projects/{project_id}/next")).status_code != httpx.codes.NOT_FOUND:
            task_id, data = task.raise_for_status().json()["id"], task.json()["data"]
            answer = find_answer(data["item_key"])
            skip = answer == "skip"
            body = {"result": [] if skip else _result(answer, controls), "was_cancelled": skip, "lead_time": 4.2}
            client.post(f"/api/tasks/{task_id}/annotations/", json=body).raise_for_status()
            yield PurePosixPath(data["item_key"]).stem


def _result(answer: dict[str, Any], controls: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"from_name": field, "to_name": controls[field]["to_name"][0], "type": type_, "value": value}
        for field, answered in answer.items()
        for type_, value in _values(answered)
    ]


def _values(answered: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(answered, str):
        yield "choices", {"choices": [answered]}
        return
    for box in answered:
        if "type" in box:
            yield box["type"], box["value"]
            continue
        sides = {side: box[side] for side in ("x", "y", "width", "height")}
        yield "rectanglelabels", {"rectanglelabels": [box["label"]], "rotation": 0, **sides}
