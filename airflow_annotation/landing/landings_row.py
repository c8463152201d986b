"""A landing as its row in the table ``landings``, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa

from airflow_annotation.labels.tables import TABLES_VERSION
from airflow_annotation.landing.listing import split_settings
from airflow_annotation.landing.plan import LandingPlan
from airflow_annotation.landing.refresh import Landed


def landings_row(landing: LandingPlan, version: str, last: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the row of a landing, without its counts of rows.

    :param landing: plan of the landing
    :param version: name of the landing, which no other landing has
    :param last: row of the last landing. If not all items were read, its ``full_at`` stays; without it, that is null
    """
    now = datetime.now(timezone.utc)
    return {
        "project": landing.project.uri,
        "version": version,
        "run_key": landing.project.run_key,
        "tables_version": TABLES_VERSION,
        "label_schema": json.dumps(landing.label_schema.to_dict(), ensure_ascii=False),
        "label_schema_digest": landing.label_schema.digest(),
        "settings": json.dumps(landing.kept_settings, ensure_ascii=False),
        "watermark": landing.watermark,
        "full_at": now if landing.full else last and last["full_at"],
        "landed_at": now,
    }


def landed_of(row: Mapping[str, Any], read_states: Callable[[], Iterator[pa.RecordBatch]]) -> Landed:
    """Return the landing that a row describes.

    :param row: row of ``landings``, or a dataset's manifest; its JSON is text or already decoded
    :param read_states: function that yields the landed state of every item
    """
    settings, listing = split_settings(read_json(row["settings"]))
    return Landed(
        version=row["version"],
        run_key=row["run_key"],
        tables_version=row["tables_version"],
        label_schema=read_json(row["label_schema"]),
        label_schema_digest=row["label_schema_digest"],
        settings=settings,
        listing=listing,
        full_at=row["full_at"],
        read_states=read_states,
    )


def read_json(value: Any) -> Any:
    """Return a JSON value of ``landings``, decoded if the database returned text."""
    return json.loads(value) if isinstance(value, str) else value
