"""Projects of texts on a live Label Studio whose items go round: who labels them, and what they wait for."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx

from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.labels.schema import LabelSchema
from tests.servers.faults import Fault

Result = dict[str, Any]

SCHEMA = LabelSchema.from_dict({"mood": {"type": "classification", "classes": ["good", "bad"]}})
ANSWER: list[Result] = [
    {"from_name": "mood", "to_name": "text", "type": "choices", "value": {"choices": ["good"]}},
]


def gone() -> Fault:
    """Return what Label Studio answers once to a change of an item that somebody has deleted."""
    body = b'{"id": "1", "status_code": 404, "version": "1", "detail": "Not found."}'
    return Fault(method="PATCH", status=404, body=body, headers={"Content-Type": "application/json"})


def make_queue_project(hook: LabelStudioHook, keys: str, **settings: Any) -> AnnotationProject:
    """Return a project with an item for each letter."""
    project = hook.create_project(
        title="queue", run_key=f"queue/{uuid4()}", label_schema=SCHEMA, media_type="text", settings=settings
    )
    tasks = [{"data": {"text": key, "item_key": key}, "meta": {"mine": key}} for key in keys]
    hook.client.request("POST", f"/api/projects/{project.id}/import", json=tasks)
    return project


def tasks_of(hook: LabelStudioHook, project: AnnotationProject) -> dict[str, Any]:
    params = {"project": project.id, "fields": "all", "page_size": 100}
    listed = hook.client.request("GET", "/api/tasks/", params=params).json()["tasks"]
    return {task["data"]["item_key"]: task for task in listed}


def answer(person: Any, task: dict[str, Any], *, skip: bool = False, result: list[Result] = ANSWER) -> None:
    """Label or skip an item.

    :param person: a client of the tool
    """
    body = {"result": result, "was_cancelled": skip}
    response: httpx.Response = person.request("POST", f"/api/tasks/{task['id']}/annotations/", json=body)
    response.raise_for_status()


def next_of(browser: httpx.Client, project: AnnotationProject) -> str | None:
    """Return the item that the tool gives to a person next."""
    given = browser.get(f"/api/projects/{project.id}/next")
    return None if given.status_code == httpx.codes.NOT_FOUND else str(given.json()["data"]["item_key"])


def statuses(hook: LabelStudioHook, project: AnnotationProject) -> dict[str, str]:
    keys = {str(task["id"]): key for key, task in tasks_of(hook, project).items()}
    states = [state for batch in hook.list_item_states(project.id) for state in batch.to_pylist()]
    return {keys[state["item_id"]]: state["status"] for state in states}
