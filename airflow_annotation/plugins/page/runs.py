"""The annotation runs of a connection, with their progress."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Literal

import msgspec

from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProgress, AnnotationProject

RunState = Literal["empty", "waiting", "labeling", "finished"]


class AnnotationRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run, or a project without a run, as the page shows it.

    :param state: ``empty`` without items, ``waiting`` until the first submission, ``labeling``, or ``finished``
    :param left: number of open items, which are neither completed nor skipped
    :param in_review: number of items that wait for a reviewer; None if the tool does not tell
    """

    project_id: str
    tool: str
    title: str
    url: str
    run_key: str | None
    created_at: datetime | None
    state: RunState
    total: int
    completed: int
    skipped: int
    annotations: int
    statuses: dict[str, int]
    left: int
    in_review: int | None


async def read_runs(hook: AnnotationHook, *, with_others: bool = False) -> list[AnnotationRun]:
    """Return all runs of a connection. One request counts the items of several projects, if the tool can.

    :param hook: hook of the tool
    :param with_others: whether to return projects without a run too
    """
    projects = await asyncio.to_thread(lambda: list(hook.list_all_projects() if with_others else hook.list_runs()))
    runs = []
    for start in range(0, len(projects), hook.projects_a_request):
        some = projects[start : start + hook.projects_a_request]
        counted = await hook.aget_progress_of([project.id for project in some])
        for project in some:
            progress = counted.get(project.id)
            # A project may have been deleted since it was listed.
            if isinstance(progress, AnnotationProgress):
                runs.append(run_of(project, progress))
    return runs


def run_of(project: AnnotationProject, progress: AnnotationProgress) -> AnnotationRun:
    """Return a project and its progress as the page shows it."""
    return AnnotationRun(
        project_id=project.id,
        tool=project.tool,
        title=project.title,
        url=project.url,
        run_key=project.run_key,
        created_at=project.created_at,
        state=_state(progress),
        **msgspec.structs.asdict(progress),
        # If the tool counts a skip as an answer, completed includes skipped items.
        left=max(progress.total - progress.completed - progress.skipped, 0),
        in_review=progress.statuses.get("in_review"),
    )


def _state(progress: AnnotationProgress) -> RunState:
    if not progress.total:
        return "empty"
    if progress.completed >= progress.total:
        return "finished"
    return "labeling" if progress.completed or progress.annotations else "waiting"
