"""What watchers find when they look at projects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from airflow_annotation.hooks.annotation import AnnotationProgress


class Look(msgspec.Struct):
    """What a watcher found when it looked at a project.

    :param project_id: id of the project in the tool
    :param project: URI of the project
    :param run_key: key of the project's run, None if the watcher has the project's id
    :param progress: progress of the project
    :param stalled_since: time of the last change, in seconds since the epoch, if that is too long ago; else None
    :param reached: whether the goal is reached, if there is one
    :param confirm: function to call when Airflow has stored the event of this look
    """

    project_id: str
    project: str
    run_key: str | None
    progress: AnnotationProgress
    stalled_since: float | None = None
    reached: bool = False
    confirm: Callable[[], Awaitable[None]] | None = None
