"""Marks: what a landing keeps of when it asked the tool, so that the next one asks for what has changed since."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec


class Mark(msgspec.Struct):
    """When the tool was asked.

    :param time: by the tool's clock, before anything of the project was asked
    """

    time: datetime


MarkT = TypeVar("MarkT", bound=Mark)


def write_mark(mark: Mark) -> dict[str, Any]:
    """Return a mark as it is kept."""
    return dict(msgspec.to_builtins(mark))


def read_marks(
    before: Mapping[str, Any], now: Mapping[str, Any], type_: type[MarkT], margin: timedelta
) -> tuple[MarkT, MarkT] | None:
    """Return two marks, or None where nothing can be asked for by them.

    That is where another release made them, and where the tool's clock was set back by more than the margin: what has
    changed since then seems to be older than the first.

    :param before: of the last landing
    :param now: of this one
    :param type_: with what the tool keeps besides
    :param margin: how long before a mark changes are listed again
    """
    try:
        last, present = msgspec.convert(before, type_), msgspec.convert(now, type_)
    except msgspec.ValidationError:
        return None
    return None if present.time < last.time - margin else (last, present)
