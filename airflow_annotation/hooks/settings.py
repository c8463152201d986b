"""Settings that a caller gives by name, for a tool's projects and uploads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.errors import suggestion


def check_settings(settings: Iterable[str], known: Sequence[str], what: str) -> None:
    """Check the names of settings.

    :param settings: the names that a caller gave
    :param known: those that there are
    :param what: what has them, for the message: ``Label Studio has no project setting``
    :raises AnnotationError: a name is not known; the message lists those that are
    """
    for name in settings:
        if name not in known:
            raise AnnotationError(f"{what} {name!r}.{suggestion(name, known)} Known settings: {', '.join(known)}.")
