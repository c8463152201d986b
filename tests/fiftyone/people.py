"""A person who labels in Label Studio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.label_studio import LabelStudioHook

Result = list[dict[str, Any]]


class Person:
    """Somebody who opens items, starts from what is there, and submits.

    :param hook: of the person's Label Studio
    :param project: in which to label
    """

    def __init__(self, hook: LabelStudioHook, project: AnnotationProject) -> None:
        self._client = hook.client
        self._project = project

    def tasks(self) -> dict[str, Any]:
        """Return the items of the project by their keys."""
        parameters = {"project": self._project.id, "fields": "all", "page_size": 100}
        answer = self._client.request("GET", "/api/tasks/", params=parameters).json()
        return {task["data"]["item_key"]: task for task in answer["tasks"]}

    def label(self, item_key: str, change: Callable[[Result], Result] = lambda result: result) -> Result:
        """Submit what is there, changed, and return it."""
        task = self.tasks()[item_key]
        before = task["annotations"] or task["predictions"]
        result = change(before[0]["result"] if before else [])
        if task["annotations"]:
            self._client.request("PATCH", f"/api/annotations/{before[0]['id']}/", json={"result": result})
        else:
            self._client.request("POST", f"/api/tasks/{task['id']}/annotations/", json={"result": result})
        return result

    def skip(self, item_key: str) -> None:
        """Skip an item."""
        task = self.tasks()[item_key]
        answer = {"result": [], "was_cancelled": True}
        self._client.request("POST", f"/api/tasks/{task['id']}/annotations/", json=answer)

    def withdraw(self, item_key: str) -> None:
        """Delete what was submitted for an item."""
        for annotation in self.tasks()[item_key]["annotations"]:
            self._client.request("DELETE", f"/api/annotations/{annotation['id']}/")
