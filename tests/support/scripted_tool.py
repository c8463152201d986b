"""A labeling tool whose progress follows a script, for what no real server does on cue."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import Any

import pytest
from airflow.sdk import Connection

from airflow_annotation.exceptions import AnnotationProjectNotFoundError
from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProgress, AnnotationProject
from airflow_annotation.hooks.ports import Progress, Projects

Answer = AnnotationProgress | Exception


def progress(completed: int, total: int = 10, *, skipped: int = 0) -> AnnotationProgress:
    """Return a progress."""
    return AnnotationProgress(total=total, completed=completed, skipped=skipped, annotations=completed)


class ScriptedTool(Projects, Progress):
    """Has projects, and answers questions for progress from a script, whose last answer holds on.

    :param answers: progress to return, errors to raise
    :param runs: ids of projects by run_key
    :param last_change: when each project was last worked on
    """

    tool = "scripted"

    def __init__(
        self, *answers: Answer, runs: dict[str, str] | None = None, last_change: datetime | None = None
    ) -> None:
        super().__init__()
        self.connection = Connection(conn_id="scripted", conn_type="scripted", password="key")
        self.answers = deque(answers)
        self.runs = {"cycle/manual__1": "12"} if runs is None else runs
        self.questions: list[str] = []
        self.overlaps: list[int | None] = []
        self.lookups = 0
        self.last_change = last_change
        self.last_changes = 0

    def get_project(self, project_id: str) -> AnnotationProject:
        self.lookups += 1
        if project_id not in self.runs.values():
            raise AnnotationProjectNotFoundError(f"There is no project {project_id}.")
        return AnnotationProject(
            id=project_id,
            title="Cars",
            url=f"http://tool/projects/{project_id}",
            uri=self.project_uri(project_id),
            tool=self.tool,
        )

    def project_uri(self, project_id: str) -> str:
        return f"scripted://tool/projects/{project_id}"

    def find_project(self, run_key: str) -> AnnotationProject | None:
        return self.get_project(self.runs[run_key]) if run_key in self.runs else None

    def get_progress(self, project_id: str, *, min_annotations: int | None = None) -> AnnotationProgress:
        self.questions.append(project_id)
        self.overlaps.append(min_annotations)
        answer = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def get_last_change(self, project_id: str) -> datetime | None:  # noqa: ARG002 - the hooks' signature
        self.last_changes += 1
        return self.last_change

    async def aget_progress(self, project_id: str, *, min_annotations: int | None = None) -> AnnotationProgress:
        return self.get_progress(project_id, min_annotations=min_annotations)

    def delete_project(self, project_id: str) -> bool:
        found = [run_key for run_key, id_ in self.runs.items() if id_ == project_id]
        for run_key in found:
            del self.runs[run_key]
        return bool(found)


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what makes the tool that all connections lead to give these answers."""

    def script(*answers: Answer, **kwargs: Any) -> ScriptedTool:
        scripted = ScriptedTool(*answers, **kwargs)
        monkeypatch.setattr(AnnotationHook, "for_connection", lambda _: scripted)
        return scripted

    return script
