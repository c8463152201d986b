"""Check the names of settings for a tool's projects and uploads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.errors import suggestion


def check_settings(settings: Iterable[str], known: Sequence[str], what: str) -> None:
    """Check the names of settings.

    :param settings: the names that a caller gave
    :param known: the names that exist
    :param what: start of the error message: ``Label Studio has no project setting``
    :raises AnnotationError: a name is unknown; the message lists the known names
    """
    for name in settings:
        if name not in known:
            raise AnnotationError(f"{what} {name!r}.{suggestion(name, known)} Known settings: {', '.join(known)}.")
