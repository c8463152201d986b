"""The annotation runs of a connection, with how far each is."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Literal

import msgspec

from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProgress, AnnotationProject

RunState = Literal["empty", "waiting", "labeling", "finished"]


class AnnotationRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run as the page shows it, or a project that belongs to none.

    :param state: ``empty`` without items, ``waiting`` until the first is completed, ``labeling``, ``finished``
    :param left: items that are open: neither completed nor skipped
    :param in_review: items that wait for a reviewer, None where the tool does not say
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
    """Return all runs of a connection: few requests, however many runs there are.

    :param with_others: return the projects that belong to no run too
    """
    projects = await asyncio.to_thread(lambda: list(hook.list_all_projects() if with_others else hook.list_runs()))
    runs = []
    for start in range(0, len(projects), hook.projects_a_request):
        some = projects[start : start + hook.projects_a_request]
        counted = await hook.aget_progress_of([project.id for project in some])
        for project in some:
            progress = counted.get(project.id)
            # One may be deleted since.
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
        # Where a skip counts as an answer, it is among those that are completed.
        left=max(progress.total - progress.completed - progress.skipped, 0),
        in_review=progress.statuses.get("in_review"),
    )


def _state(progress: AnnotationProgress) -> RunState:
    if not progress.total:
        return "empty"
    if progress.completed >= progress.total:
        return "finished"
    return "labeling" if progress.completed or progress.annotations else "waiting"
