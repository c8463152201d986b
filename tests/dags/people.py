"""The people who label in each tool, so that one test of a DAG holds for all tools."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, ClassVar

import httpx

from demo.annotator import annotate
from devtools.label_studio import LabelStudio
from tests.servers.labelbox.process import LabelboxProcess


class People(ABC):
    """People who label in a tool.

    :cvar conn_id: Airflow's connection to it
    :cvar done: the status in which an item lands that they are done with
    """

    conn_id: ClassVar[str]
    done: ClassVar[str]

    @abstractmethod
    def label(self, project_id: str, find_answer: Callable[[str], Any]) -> list[str]:
        """Answer all that is unlabeled in a project, and return the names of the items.

        :param find_answer: returns the answer for an item by its key, as :func:`demo.annotator.annotate` takes it
        """

    @abstractmethod
    def correct(self, project_id: str, *, edited: str, deleted: str, added: str) -> None:
        """Accept the box that each photo begins with, but for one photo each.

        :param edited: where the box is a distraction
        :param deleted: where the box is nothing
        :param added: where there is another one in the same place
        """


class LabelStudioPeople(People):
    """One person in the browser."""

    conn_id = "label_studio_test"
    done = "labeled"

    def __init__(self, server: LabelStudio) -> None:
        self._server = server

    def label(self, project_id: str, find_answer: Callable[[str], Any]) -> list[str]:
        return list(annotate(self._server.url, self._server.api_key, project_id, find_answer))

    def correct(self, project_id: str, *, edited: str, deleted: str, added: str) -> None:
        headers = {"Authorization": f"Token {self._server.api_key}"}
        with httpx.Client(base_url=self._server.url, headers=headers, timeout=30) as client:
            while (task := client.get(f"/api/projects/{project_id}/next")).status_code != httpx.codes.NOT_FOUND:
                (prediction,) = task.raise_for_status().json()["predictions"]
                result: list[dict[str, Any]] = prediction["result"]
                photo = PurePosixPath(task.json()["data"]["item_key"]).stem
                if photo == edited:
                    result[0]["value"]["rectanglelabels"] = ["distraction"]
                elif photo == deleted:
                    result.clear()
                elif photo == added:
                    result.append({**result[0], "id": "added"})
                answer = {"result": result, "parent_prediction": prediction["id"], "lead_time": 2.5}
                client.post(f"/api/tasks/{task.json()['id']}/annotations/", json=answer).raise_for_status()


class LabelboxPeople(People):
    """A labeler, and a reviewer who approves."""

    conn_id = "labelbox_test"
    done = "done"

    def __init__(self, server: LabelboxProcess) -> None:
        self._control = server.control

    def label(self, project_id: str, find_answer: Callable[[str], Any]) -> list[str]:
        rows = self._control.waiting(project_id)
        for row in rows:
            answer, media = find_answer(row["global_key"]), row["media_attributes"]
            if answer == "skip":
                self._control.skip(project_id, data_row_id=row["data_row_id"])
            else:
                self._submit(project_id, row, _lines(answer, media.get("width"), media.get("height")))
        return [PurePosixPath(row["global_key"]).stem for row in rows]

    def correct(self, project_id: str, *, edited: str, deleted: str, added: str) -> None:
        subject = {"label": "subject", "x": 10, "y": 10, "width": 50, "height": 50}
        changed = {
            edited: [{**subject, "label": "distraction"}],
            deleted: [],
            added: [subject, {**subject, "x": 40}],
        }
        for row in self._control.waiting(project_id):
            boxes = changed.get(PurePosixPath(row["global_key"]).stem)
            if boxes is None:
                self._submit(project_id, row, [], accept_predictions=True)
            else:
                media = row["media_attributes"]
                self._submit(project_id, row, _lines({"subject": boxes}, media["width"], media["height"]))

    def _submit(self, project_id: str, row: dict[str, Any], lines: list[dict[str, Any]], **settings: Any) -> None:
        made = self._control.submit_label(project_id, lines, data_row_id=row["data_row_id"], **settings)
        self._control.approve(made["label_id"])


def _lines(answer: dict[str, Any], width: Any, height: Any) -> list[dict[str, Any]]:
    """Return an answer as lines of an import, without the data row."""
    lines: list[dict[str, Any]] = []
    for field, answered in answer.items():
        if isinstance(answered, str):
            lines.append({"name": field, "answer": {"name": answered}})
            continue
        for box in answered:
            size = {"left": width, "width": width, "top": height, "height": height}
            places = {"left": "x", "top": "y"}
            bbox = {name: box[places.get(name, name)] / 100 * pixels for name, pixels in size.items()}
            lines.append({"name": f"{field}: {box['label']}", "bbox": bbox})
    return lines
