"""Turn filters of items into filters of Labelbox's exports, and check what those cannot express."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any, Final

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.hooks.labelbox.data_rows import FILTERED_ROWS
from airflow_annotation.hooks.labelbox.people import id_finder
from airflow_annotation.hooks.labelbox.state_rows import StateLabel, StateRow
from airflow_annotation.hooks.labelbox.tasks import repeat
from airflow_annotation.labels.columns import time_column
from airflow_annotation.labels.item_filter import ItemFilter
from airflow_annotation.labels.labelbox.items import find_item_key
from airflow_annotation.labels.labelbox.keys import global_key_of

_QUEUES: Final = {"in_review": "InReview", "rework": "InRework", "done": "Done"}
"""Labelbox's names for the statuses by which exports can be filtered."""

_TIME: Final = "%Y-%m-%dT%H:%M:%S+0000"
"""Format of times, which must be in UTC: the SDK ignores other time zones."""


class RowFilter:
    """Selects the data rows of a project that match a filter.

    :param client: client of the organization
    :param project_id: the project
    :param items: the filter, with its query replaced by keys
    :param namespace: namespace of the global keys
    :raises AnnotationError: there is no such batch, or Labelbox does not have what the filter asks for
    """

    def __init__(self, client: LabelboxClient, project_id: str, items: ItemFilter, *, namespace: str = "") -> None:
        if items.tab is not None:
            raise AnnotationError("items names a tab, which Labelbox does not have: name batches.")
        self._project_id = project_id
        self._items = items
        self._namespace = namespace
        self._keys = None if items.item_keys is None else frozenset(items.item_keys)
        self._unseen_keys = set(self._keys or ())
        self._batches = _find_batches(client, project_id, items.batches) if items.batches else None
        self._annotators = frozenset(name.lower() for name in items.annotators or ())
        self._find_id = id_finder(client) if any("@" not in name for name in self._annotators) else str
        self.params = {
            "label_details": bool(self._annotators) or items.asks_when_completed,
            "metadata_fields": self._keys is not None,
            "attachments": self._keys is not None,
        }
        """What to export of the data rows in addition to their states."""

    def find_ways(self) -> Iterator[dict[str, Any]]:
        """Yield filters of exports. A data row matches if it is in one of the exports and :meth:`choose` keeps it."""
        always: dict[str, Any] = {}
        if self._batches is not None:
            always["batch_ids"] = self._batches
        if len(self._items.fitting_statuses) == 1:
            (status,) = self._items.fitting_statuses
            always |= {"workflow_status": _QUEUES[status]} if status in _QUEUES else {}
        if self._items.asks_when_completed:
            bounds = (self._items.completed_after, math.floor), (self._items.completed_before, math.ceil)
            always["label_created_at"] = [whole_seconds(time, round_) for time, round_ in bounds]
        if self._keys and len(self._keys) <= FILTERED_ROWS:
            yield always | {"global_keys": [global_key_of(key, self._namespace) for key in sorted(self._keys)]}
        if self._keys is None or self._unseen_keys:  # look for data rows that have no global key
            yield always

    def choose(self, rows: Sequence[StateRow]) -> list[StateRow]:
        """Return the data rows of an export that match the filter."""
        details = [row.data_row.details for row in rows]
        created = time_column([one.created_at if one else None for one in details]).to_pylist()
        return [row for row, time in zip(rows, created, strict=True) if self._fits(row, time)]

    def _fits(self, row: StateRow, created_at: datetime | None) -> bool:
        items, project = self._items, row.projects.get(self._project_id)
        labels = project.labels if project else []
        status = project.status if project else "unlabeled"
        return (
            self._fits_key(row)
            and status in items.fitting_statuses
            and items.fits_created(created_at)
            and (not items.asks_when_completed or items.fits_completed(_newest(labels)))
            and (not self._annotators or not self._annotators.isdisjoint(self._people(labels)))
        )

    def _people(self, labels: Sequence[StateLabel]) -> Iterator[str]:
        for label in labels:
            if label.label_details is not None and label.label_details.created_by:
                yield label.label_details.created_by.lower()
                yield self._find_id(label.label_details.created_by).lower()

    def _fits_key(self, row: StateRow) -> bool:
        if self._keys is None:
            return True
        key = find_item_key(row, self._namespace)
        self._unseen_keys.discard(key)
        return key in self._keys


def _find_batches(client: LabelboxClient, project_id: str, names: Sequence[str]) -> list[str]:
    def ask() -> dict[str, str]:
        with client.using_sdk() as sdk:
            return {str(batch.uid): str(batch.name) for batch in sdk.get_project(project_id).batches()}

    batches = repeat(ask)
    if unknown := [name for name in names if name not in batches and name not in batches.values()]:
        raise AnnotationError(
            f"items names batches that project {project_id} does not have: {', '.join(map(repr, unknown))}. It has "
            f"{', '.join(map(repr, batches.values())) or 'none'}."
        )
    return [uid for uid, name in batches.items() if uid in names or name in names]


def whole_seconds(time: datetime | None, round_: Any) -> str | None:
    """Return a time in the form of export filters, which are exact to a second.

    :param time: the time; None for no limit
    :param round_: function that rounds the seconds to a whole number
    """
    return None if time is None else datetime.fromtimestamp(round_(time.timestamp()), timezone.utc).strftime(_TIME)


def _newest(labels: Sequence[StateLabel]) -> datetime | None:
    times = time_column([label.label_details.created_at if label.label_details else None for label in labels])
    return max((time for time in times.to_pylist() if time is not None), default=None)
