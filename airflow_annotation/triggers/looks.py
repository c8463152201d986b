"""What the watchers of projects hand on: to those that judge it, and to Airflow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from airflow_annotation.hooks.annotation import AnnotationProgress


class Look(msgspec.Struct):
    """What a look at a project found.

    :param project_id: the tool's id
    :param project: its URI
    :param run_key: of its run, None where the watcher was given the project's id
    :param progress: how far it is
    :param stalled_since: when something last changed, in seconds since the epoch, where that is too long ago
    :param reached: whether the goal is, where there is one
    :param confirm: what to do once Airflow has kept the event that this look led to
    """

    project_id: str
    project: str
    run_key: str | None
    progress: AnnotationProgress
    stalled_since: float | None = None
    reached: bool = False
    confirm: Callable[[], Awaitable[None]] | None = None
