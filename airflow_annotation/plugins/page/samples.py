"""The items of a run that were labeled last: annotators, classes, pace, and some of the items with their labels."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProject
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.tables import collect_tables
from airflow_annotation.labels.types import LISTS_NO_CLASSES
from airflow_annotation.plugins.page.shown_items import Outlines, ShownItem, once_each, page_budget, show_items

COUNTED: Final = 200
"""Maximum number of items in which people and classes are counted: the last ones, so that the page stays quick."""

SHOWN: Final = 36
"""Maximum number of items that are shown with their labels."""

_PAUSE: Final = timedelta(hours=1)
"""Longest time between two completed items that counts as work."""


class Count(msgspec.Struct, frozen=True):
    """The number of things with one name."""

    name: str
    count: int


class FieldCounts(msgspec.Struct, frozen=True):
    """The number of labels of each class of a field."""

    field: str
    classes: list[Count]


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How fast people complete items while they work. A pause of more than an hour is not work.

    :param items: number of items that were completed in these hours, among the last items
    :param hours: hours of work in which they were completed
    :param since: time at which the first of the last items was completed
    :param per_hour: completed items per hour of work
    """

    items: int
    hours: float
    since: datetime
    per_hour: float


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A summary of the items that were labeled last.

    :param counted: number of these items
    :param people: number of submissions by annotator
    :param fields: number of labels by field and class
    :param waiting_for_review: number of submissions whose item waits for a reviewer
    :param pace: pace of the work; None if too few items were completed
    :param items: some of the items, as the page draws them
    """

    counted: int
    people: list[Count]
    fields: list[FieldCounts]
    waiting_for_review: int
    pace: Pace | None
    items: list[ShownItem]


def read_sample(hook: AnnotationHook, project: AnnotationProject) -> Sample:
    """Read the items of a project that were labeled last, and summarize them.

    :param hook: hook of the tool
    :param project: project of the run
    """
    hook.mask_budget = page_budget()
    item_ids = hook.list_last_labeled(project.id, COUNTED)
    options = ReadOptions(annotations="latest")
    tables = collect_tables(hook.read_tables(project, options, item_ids) if item_ids else ())
    items = {row["item_id"]: row for row in tables["items"].to_pylist()}
    submissions = [row for row in tables["annotations"].to_pylist() if row["status"] != "draft"]
    return Sample(
        counted=len(items),
        people=_counts(Counter(row["annotator"] or "unknown" for row in submissions)),
        fields=count_classes(tables["labels"].to_pylist()),
        waiting_for_review=sum(items[row["item_id"]]["status"] == "in_review" for row in submissions),
        pace=find_pace(_completion_times(items, submissions)),
        items=show_items(tables, item_ids, SHOWN, Outlines()),
    )


def count_classes(labels: Iterable[Mapping[str, Any]]) -> list[FieldCounts]:
    """Return the number of labels of each class of each field. Fields are sorted by name, classes by their number.

    An object of a video is one label, however many frames it is in. A label of several classes counts for each. A label
    without a class counts by its type.

    :param labels: rows of the table ``labels``
    """
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in once_each(labels):
        # For some types, the column does not have classes, but further texts or a ranking.
        several = list(dict.fromkeys(row["labels"] or ())) if row["type"] not in LISTS_NO_CLASSES else []
        found[row["field"]].update(several or [row["label"] or row["type"]])
    return [FieldCounts(field, _counts(counter)) for field, counter in sorted(found.items())]


def find_pace(times: Iterable[datetime]) -> Pace | None:
    """Return how fast items were completed during work, None if there are too few items.

    :param times: times at which the items were completed
    """
    ordered = sorted(times)
    gaps = [later - earlier for earlier, later in itertools.pairwise(ordered)]
    worked = [gap for gap in gaps if gap <= _PAUSE]
    hours = sum(worked, timedelta()) / timedelta(hours=1)
    if not hours:
        return None
    # Leave out the item after a pause together with the pause, since its time is unknown.
    return Pace(items=len(worked), hours=hours, since=ordered[0], per_hour=len(worked) / hours)


def _completion_times(items: Mapping[str, Any], submissions: Iterable[Mapping[str, Any]]) -> list[datetime]:
    """Return the times at which items were completed. For an item of several people, the last one's time counts."""
    times: dict[str, datetime] = {}
    for row in submissions:
        made, item = row["created_at"], items[row["item_id"]]
        if made is not None and row["status"] != "skipped" and item["status"] not in {"partial", "skipped"}:
            times[row["item_id"]] = max(made, times.get(row["item_id"], made))
    return list(times.values())


def _counts(counter: Counter[str]) -> list[Count]:
    return [Count(name, count) for name, count in sorted(counter.items(), key=lambda pair: (-pair[1], pair[0]))]
