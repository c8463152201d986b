"""Marks: a landing stores when it asked the tool, so that the next one asks only for later changes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec


class Mark(msgspec.Struct):
    """When the tool was asked.

    :param time: time by the tool's clock, before the first request about the project
    """

    time: datetime


MarkT = TypeVar("MarkT", bound=Mark)


def write_mark(mark: Mark) -> dict[str, Any]:
    """Return a mark in the form in which it is stored."""
    return dict(msgspec.to_builtins(mark))


def read_marks(
    before: Mapping[str, Any], now: Mapping[str, Any], type_: type[MarkT], margin: timedelta
) -> tuple[MarkT, MarkT] | None:
    """Return two marks, or None if they cannot be used to ask for changes.

    They cannot be used if another release made them. The same holds if the tool's clock was set back by more than the
    margin, because later changes then seem older than the first mark.

    :param before: stored mark of the last landing
    :param now: stored mark of this landing
    :param type_: type of the tool's marks, which may have further fields
    :param margin: time before a mark for which changes are listed again
    """
    try:
        last, present = msgspec.convert(before, type_), msgspec.convert(now, type_)
    except msgspec.ValidationError:
        return None
    return None if present.time < last.time - margin else (last, present)
