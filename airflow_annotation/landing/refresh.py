"""Which items a landing has to read: those that have changed in the tool since the last landing.

The items' states are listed in the tool before anything is read, and compared with the states that have landed. The
rows that land come from the reading, which is later: an edit in between is in the rows, or differs from them at the
next landing. Timestamps are compared here for being equal, never for their order, so that no clock has to be right.

Where the tool can say what has changed since the last landing, by its own clock, only these items are listed. That may
not be all, so the numbers of all items are compared with what the tool says it has (``landing.states``), and all items
are listed now and then (``landing.listing``).
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

    :param version: names this landing: every landing, also of no change, has another one
    :param run_key: the annotation run that the project belonged to
    :param tables_version: which columns the tables have, see ``labels.tables.TABLES_VERSION``
    :param label_schema: the project's, as ``LabelSchema.to_dict`` gave it
    :param label_schema_digest: of the same schema
    :param settings: what the landing was asked for
    :param full_at: when all items were read the last time; None if that is not known
    :param read_states: yields the landed state of every item, with the columns of
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

    :param landed: the last landing
    :param run_key: the project's run
    :param label_schema_digest: of the project's schema
    :param settings: what this landing is asked for
    :param now: by the clock that ``full_at`` was read from
    :param full_refresh_every: how often to read all items whatever they say
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
    # A clock may also have been far ahead then.
    due = age is None or (full_refresh_every is not None and abs(age) >= full_refresh_every)
    reasons = {
        f"the tables had version {landed.tables_version}": landed.tables_version != TABLES_VERSION,
        f"the project was of the run {landed.run_key!r}, and is of {run_key!r}": landed.run_key != run_key,
        "the label schema has changed": landed.label_schema_digest != label_schema_digest,
        f"other settings: {', '.join(other)}": bool(other),
        f"all items were read {'at an unknown time' if age is None else f'{age} ago'}": due,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
