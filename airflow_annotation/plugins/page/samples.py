"""The items of a run that were labeled last: who labeled them, as what, and what was drawn on some of them."""

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
"""Items that people and classes are counted in: the last ones, so that the page stays quick however large a run is."""

SHOWN: Final = 36
"""Items that are shown with what was drawn on them."""

_PAUSE: Final = timedelta(hours=1)
"""After so long without a completed item nobody was at work."""


class Count(msgspec.Struct, frozen=True):
    """How often something is there."""

    name: str
    count: int


class FieldCounts(msgspec.Struct, frozen=True):
    """How many labels of each class a field has."""

    field: str
    classes: list[Count]


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How fast people complete items while they work: a pause of more than an hour is no work.

    :param items: how many items it was seen of, those that were completed last
    :param hours: of work in which they were completed
    :param since: when the first of them was completed
    :param per_hour: items an hour of work
    """

    items: int
    hours: float
    since: datetime
    per_hour: float


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What the items show that were labeled last.

    :param counted: how many items that is
    :param people: submissions by who made them
    :param fields: labels by field and class
    :param waiting_for_review: submissions whose item waits for a reviewer
    :param pace: None where too few items were completed to tell
    :param items: some of the items
    """

    counted: int
    people: list[Count]
    fields: list[FieldCounts]
    waiting_for_review: int
    pace: Pace | None
    items: list[ShownItem]


def read_sample(hook: AnnotationHook, project: AnnotationProject) -> Sample:
    """Read the items of a project that were labeled last: few requests, however large it is.

    :param hook: of the tool
    :param project: the project
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
    """Return how many labels each class of each field has, the most frequent first; fields in the order of their names.

    An object of a video is one label, however many frames it is in.

    :param labels: rows of the table; those of several classes count for each, those without a class by their type
    """
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in once_each(labels):
        # The column has other things than classes for some: further texts, entries in their order.
        several = list(dict.fromkeys(row["labels"] or ())) if row["type"] not in LISTS_NO_CLASSES else []
        found[row["field"]].update(several or [row["label"] or row["type"]])
    return [FieldCounts(field, _counts(counter)) for field, counter in sorted(found.items())]


def find_pace(times: Iterable[datetime]) -> Pace | None:
    """Return how fast items were completed while somebody worked, None where they are too few to tell.

    :param times: when each of the items was completed
    """
    ordered = sorted(times)
    gaps = [later - earlier for earlier, later in itertools.pairwise(ordered)]
    worked = [gap for gap in gaps if gap <= _PAUSE]
    hours = sum(worked, timedelta()) / timedelta(hours=1)
    if not hours:
        return None
    # The item after a pause is left out with the pause: how long it took is not known.
    return Pace(items=len(worked), hours=hours, since=ordered[0], per_hour=len(worked) / hours)


def _completion_times(items: Mapping[str, Any], submissions: Iterable[Mapping[str, Any]]) -> list[datetime]:
    """Return when each of the completed items was: an item of several people when the last of them had finished."""
    times: dict[str, datetime] = {}
    for row in submissions:
        made, item = row["created_at"], items[row["item_id"]]
        if made is not None and row["status"] != "skipped" and item["status"] not in {"partial", "skipped"}:
            times[row["item_id"]] = max(made, times.get(row["item_id"], made))
    return list(times.values())


def _counts(counter: Counter[str]) -> list[Count]:
    return [Count(name, count) for name, count in sorted(counter.items(), key=lambda pair: (-pair[1], pair[0]))]
