"""Which items a landing has to read: those that have changed in the tool since the last landing.

A landing first lists the items' states in the tool, and compares them with the landed states. Then it reads the rows of
the changed items. An edit between the two steps is either in these rows, or the next landing finds it. Timestamps are
only compared for equality here, never for their order, so no clock has to be right.

If the tool can say, by its own clock, what has changed since the last landing, only these items are listed. Some
changes may be missing from that list. So the counts of all items are compared with the tool's counts
(``landing.states``), and all items are listed from time to time (``landing.listing``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.tables import TABLES_VERSION
from airflow_annotation.landing.listing import Listing


class Landed(msgspec.Struct, frozen=True, kw_only=True):
    """The last landing of a project, as the destination has it.

    :param version: name of this landing; each landing has its own, even if nothing has changed
    :param run_key: annotation run that the project belonged to
    :param tables_version: version of the tables' columns, see ``labels.tables.TABLES_VERSION``
    :param label_schema: the project's label schema, as ``LabelSchema.to_dict`` returned it
    :param label_schema_digest: digest of this schema
    :param settings: settings of the landing
    :param full_at: when all items were last read; None if unknown
    :param read_states: function that yields the landed state of every item, with the columns of
        :data:`~airflow_annotation.labels.tables.ITEM_STATES`
    :param listing: when the tool's items were listed
    """

    version: str
    run_key: str | None
    tables_version: int
    label_schema: dict[str, Any]
    label_schema_digest: str
    settings: dict[str, Any]
    full_at: datetime | None
    read_states: Callable[[], Iterator[pa.RecordBatch]]
    listing: Listing | None = None


def full_reason(
    landed: Landed | None,
    *,
    run_key: str | None,
    label_schema_digest: str,
    settings: dict[str, Any],
    now: datetime,
    full_refresh_every: timedelta | None = None,
) -> str | None:
    """Return why a landing has to read all items, or None if those that have changed are enough.

    :param landed: the last landing, None if nothing has landed
    :param run_key: run of the project
    :param label_schema_digest: digest of the project's label schema
    :param settings: settings of this landing
    :param now: current time, by the clock of ``full_at``
    :param full_refresh_every: time after which all items are read, whether they have changed or not
    :raises AnnotationError: the tables have columns that this release does not know
    """
    if landed is None:
        return "nothing has landed yet"
    if landed.tables_version > TABLES_VERSION:
        raise AnnotationError(
            f"The last landing was made by a newer release of airflow-provider-annotation (its tables have version "
            f"{landed.tables_version}, this release knows {TABLES_VERSION}): upgrade, or land elsewhere."
        )
    names = sorted(landed.settings.keys() | settings.keys())
    other = [f"{name}={settings.get(name)!r}" for name in names if landed.settings.get(name) != settings.get(name)]
    age = None if landed.full_at is None else now - landed.full_at
    # The age is negative if the clock was ahead at that time.
    due = age is None or (full_refresh_every is not None and abs(age) >= full_refresh_every)
    reasons = {
        f"the tables had version {landed.tables_version}": landed.tables_version != TABLES_VERSION,
        f"the project was of the run {landed.run_key!r}, and is of {run_key!r}": landed.run_key != run_key,
        "the label schema has changed": landed.label_schema_digest != label_schema_digest,
        f"other settings: {', '.join(other)}": bool(other),
        f"all items were read {'at an unknown time' if age is None else f'{age} ago'}": due,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
