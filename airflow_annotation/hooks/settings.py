"""Settings that a caller gives by name, for a tool's projects and uploads."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from airflow_annotation.exceptions import AnnotationError


def check_settings(settings: Iterable[str], known: Sequence[str], what: str) -> None:
    """Check the names of settings.

    :param settings: the names that a caller gave
    :param known: those that there are
    :param what: what has them, for the message: ``Label Studio has no project setting``
    :raises AnnotationError: a name is not known; the message lists those that are
    """
    for name in settings:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            raise AnnotationError(
                f"{what} {name!r}.{f' Did you mean {close[0]!r}?' if close else ''} Known settings: {', '.join(known)}."
            )
