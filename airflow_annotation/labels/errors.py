"""Errors of labels and label schemas; hooks and tasks turn them into an ``AnnotationError``."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LabelError(ValueError):
    """Labels, or a label schema, are invalid."""


class LabelSchemaError(LabelError):
    """A label schema asks for something that cannot be labeled; the message names the field."""


class LabelRowError(LabelError):
    """A row lacks something that a label needs; the message names the row's field and column."""


class UnwritableLabelError(LabelError):
    """The project has no place for a label; the message names its field and says why."""


def suggestion(word: object, known: Iterable[str]) -> str:
    """Return what to add to an error about an unknown word: the most similar known word, or nothing."""
    close = difflib.get_close_matches(str(word), [*known], n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
