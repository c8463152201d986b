"""Goals of a project besides a number of completed items, for waits and watchers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import msgspec

from airflow_annotation.labels.structs import read_struct

COMPARED: Final = 200
"""Number of the last items over which agreement is measured, so that the cost does not grow with the project."""


class Goal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conditions that a project must fulfill. All given conditions must hold.

    :param labels: number of labels of each class: by name, or one number for all classes of the label schema. Only the
        last submission of an item counts; an object of a video counts once
    :param annotators: number of items that each person has submitted, by e-mail
    :param agreement: agreement of people, 0..1, as the mean over the last :data:`COMPARED` items that several people
        labeled
    :param reviewed: whether no item may wait for a review, or for rework after one; Labelbox only
    :param quiet_for: time without any change: a timedelta or seconds
    """

    labels: int | dict[str, int] | None = None
    annotators: dict[str, int] | None = None
    agreement: float | None = None
    reviewed: bool = False
    quiet_for: float | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Goal:
        """Return the goal that a dictionary describes.

        :raises ValueError: it describes no goal, or a value is invalid
        """
        if not isinstance(given, Mapping) or not given:
            raise ValueError(f"goal takes a dictionary with {', '.join(cls.__struct_fields__)}, not {given!r}.")
        plain = {
            name: value.total_seconds() if isinstance(value, timedelta) else value for name, value in given.items()
        }
        if nothing := [name for name, value in plain.items() if value is None or value is False]:
            raise ValueError(f"goal says nothing for {', '.join(nothing)}: leave it out.")
        return read_struct(plain, cls, "goal")

    def __post_init__(self) -> None:
        """Check the values that their types do not limit."""
        for name in ("labels", "annotators"):
            value = getattr(self, name)
            counts = value.values() if isinstance(value, dict) else [value]
            if value == {} or any(count is not None and count < 1 for count in counts):
                raise ValueError(f"{name} of goal takes counts of 1 or more, not {value!r}.")
        if self.agreement is not None and not 0 < self.agreement <= 1:
            raise ValueError(f"agreement of goal is a number above 0 and up to 1, not {self.agreement!r}.")
        if self.quiet_for is not None and self.quiet_for <= 0:
            raise ValueError(f"quiet_for of goal is a time above 0, not {self.quiet_for!r}.")

    @property
    def reads_labels(self) -> bool:
        """Whether labels must be read to find out whether the goal is reached."""
        return self.labels is not None or self.annotators is not None or self.agreement is not None

    def describe(self) -> dict[str, Any]:
        """Return the conditions as plain JSON."""
        return {name: value for name, value in msgspec.to_builtins(self).items() if value}
