"""When items were listed, which a landing stores, so that the next one lists only the items changed since then.

It lands with the settings in every destination, under a name that no setting of a task has.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

LISTING: Final = "listing"
"""Name of the listing in the settings that land."""


class Listing(msgspec.Struct, frozen=True):
    """When the items of a project were listed.

    :param full_at: when all items were last listed or read, by this provider's clock
    :param mark: what the tool's hook needs to list the changes since then, see
        :meth:`~airflow_annotation.hooks.ports.LabelsOut.mark_changes`
    """

    full_at: datetime
    mark: dict[str, Any]


def split_settings(kept: Mapping[str, Any]) -> tuple[dict[str, Any], Listing | None]:
    """Return the settings of a landing, and the listing that landed with them.

    :param kept: result of :func:`join_settings`, or the settings of an earlier release
    """
    settings = {name: value for name, value in kept.items() if name != LISTING}
    try:
        return settings, msgspec.convert(kept.get(LISTING), Listing | None)
    except msgspec.ValidationError:  # of a newer release: then all items are listed
        return settings, None


def join_settings(settings: Mapping[str, Any], listing: Listing | None) -> dict[str, Any]:
    """Return the settings to land, with the listing in them."""
    return dict(settings) if listing is None else {**settings, LISTING: msgspec.to_builtins(listing)}


def full_listing_reason(last: Listing | None, *, now: datetime, full_listing_every: timedelta | None) -> str | None:
    """Return why all items have to be listed, or None if those that have changed are enough.

    :param last: listing of the last landing
    :param now: current time, by the clock of ``full_at``
    :param full_listing_every: time after which all items are listed, whatever the tool says; None for never
    """
    if last is None:
        return "the last landing left no mark"
    age = now - last.full_at
    # The age is negative if the clock was ahead at that time.
    if full_listing_every is not None and abs(age) >= full_listing_every:
        return f"all were listed {age} ago"
    return None
