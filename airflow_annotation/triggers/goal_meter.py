"""Finds out whether a project has reached a goal. It reads only changed items, and keeps the counts of the others."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProgress, AnnotationProject
from airflow_annotation.labels.agreement import AgreementMeter
from airflow_annotation.labels.agreement.meter import rating_spans
from airflow_annotation.labels.errors import suggestion
from airflow_annotation.labels.goal import COMPARED, Goal
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import NOT_SUBMITTED, LabelTables
from airflow_annotation.labels.types import LISTS_NO_CLASSES, OTHER

_REVIEWING: Final = ("in_review", "in_rework")
"""Workflow states of items whose review is not finished."""

_MOST_LABELS: Final = 2_000
"""Maximum number of labels of an item to compare, of all people: the time of matching grows with its square."""


_MARGIN: Final = timedelta(minutes=1)
"""Time before the last read whose changes are read again, since the tool may list changes late."""


class _Counted(NamedTuple):
    """What one item contributes to the counts."""

    classes: tuple[tuple[str, int], ...] = ()
    people: frozenset[str] = frozenset()


_NOTHING: Final = _Counted()


class GoalMeter:
    """Finds out what a project lacks of a goal. It blocks, so the triggerer calls it in a thread.

    If the goal depends on it, each call asks for the last change, in one small request. Labels are read only if the
    last change or the progress has moved: those of the items that the tool lists as changed, or of all items if the
    tool cannot tell the last change. The counts are kept for each item. If only changed items were read, all items are
    read once more before the goal counts as reached.

    :param goal: the conditions that the project must meet
    """

    def __init__(self, goal: Goal) -> None:
        self._goal = goal
        self._began = time.time()
        self._project: AnnotationProject | None = None
        self._read_at: tuple[datetime | None, AnnotationProgress] | None = None
        self._read_until: datetime | None = None
        self._total = 0
        self._is_whole = False
        self._was_reached = False
        self._items: dict[str, _Counted] = {}
        self._once: dict[Any, Any] = {}
        """One copy of each value that many items share: classes and people."""
        self._classes: Counter[str] = Counter()
        self._people: Counter[str] = Counter()
        self._wanted: dict[str, int] = {}
        self._agreement: float | None = None

    def find_missing(self, hook: AnnotationHook, project_id: str, progress: AnnotationProgress) -> list[str]:
        """Return what the project lacks, as clauses; none if the goal is reached, or if there are no items.

        :param hook: hook of the tool
        :param project_id: id of the project, the same in each call
        :param progress: current progress of the project
        :raises AnnotationError: the tool has no reviews; or the goal names labels of each class, but the label schema
            has no classes; or a class of the goal is neither in the label schema nor in any label
        """
        if not progress.total:
            return []  # this is called only if on_empty says to proceed
        goal = self._goal
        missing = list(_find_unreviewed(progress)) if goal.reviewed else []
        if goal.quiet_for is None and not goal.reads_labels:
            return missing
        last_change = hook.get_last_change(project_id)
        if goal.quiet_for is not None:
            quiet = time.time() - (last_change.timestamp() if last_change else self._began)
            if quiet < goal.quiet_for:
                missing.append(f"{goal.quiet_for - quiet:.0f} s without a change")
        if missing or not goal.reads_labels:
            return missing  # labels cost most, so they are read only if nothing else is missing
        if self._read_at != (last_change, progress):
            self._read(hook, project_id, last_change, progress.total)
            self._read_at = last_change, progress
        missing = list(self._find_uncounted())
        if not missing and not self._is_whole and not self._was_reached:
            self._read_until = None
            self._read(hook, project_id, last_change, progress.total)
            missing = list(self._find_uncounted())
        self._was_reached = not missing
        return missing

    def _read(self, hook: AnnotationHook, project_id: str, last_change: datetime | None, total: int) -> None:
        if self._project is None or self._project.id != project_id:
            self._project, self._read_until = hook.get_project(project_id), None
        label_schema = hook.get_label_schema(project_id)
        if isinstance(self._goal.labels, int):
            names = {name for field in label_schema.fields.values() for name in field.classes}
            if not names:
                raise AnnotationError(
                    f"The label schema of project {project_id} has no classes, but goal asks for {self._goal.labels} "
                    "labels of each class: name classes in labels, or leave it out."
                )
            self._wanted = dict.fromkeys(sorted(names), self._goal.labels)
        elif self._goal.labels is not None:
            self._wanted = self._goal.labels
        if self._goal.labels is not None or self._goal.annotators is not None:
            self._count(hook, self._project, last_change, total)
        self._check_classes(label_schema)
        if self._goal.agreement is not None:
            self._agreement = _measure(hook, self._project, AgreementMeter(spans=rating_spans(label_schema)))

    def _check_classes(self, label_schema: LabelSchema) -> None:
        """Raise an error for classes that people cannot choose: the wait for a misspelled class would not end."""
        if any(field.type == OTHER for field in label_schema.fields.values()):
            return  # the classes of these fields are not known
        known = {name for field in label_schema.fields.values() for name in field.classes}
        for name in self._wanted.keys() - known:
            if not self._classes[name]:
                raise AnnotationError(
                    f"goal asks for labels of class {name!r}, which the label schema does not have."
                    f"{suggestion(name, known)} "
                    f"Its classes: {', '.join(sorted(known)) or 'none'}."
                )

    def _count(
        self, hook: AnnotationHook, project: AnnotationProject, last_change: datetime | None, total: int
    ) -> None:
        batches: Iterable[LabelTables] = ()
        if self._read_until is None or total < self._total:  # if items are gone, it is not known which
            self._read_until = None  # if reading fails half way, the next call starts over
            self._items.clear()
            self._classes.clear()
            self._people.clear()
            self._is_whole = True
            batches = hook.read_tables(project)
        elif ids := hook.list_changed_items(project.id, self._read_until - _MARGIN):
            self._is_whole = False
            batches = hook.read_tables(project, item_ids=ids)
        for tables in batches:
            for item_id, counted in _count_items(tables):
                before = self._items.get(item_id, _NOTHING)
                classes, people = self._once.setdefault(counted.classes, counted.classes), counted.people
                self._items[item_id] = _Counted(classes, self._once.setdefault(people, people))
                self._classes.subtract(dict(before.classes))
                self._classes.update(dict(counted.classes))
                self._people.subtract(before.people)
                self._people.update(counted.people)
        self._read_until, self._total = last_change, total

    def _find_uncounted(self) -> Iterator[str]:
        for name, count in self._wanted.items():
            if self._classes[name] < count:
                yield f"{count - self._classes[name]} more labels of class {name!r}"
        for name, count in (self._goal.annotators or {}).items():
            if self._people[name.lower()] < count:
                yield f"{count - self._people[name.lower()]} more items of {name}"
        if self._goal.agreement is not None and (self._agreement or 0) < self._goal.agreement:
            seen = "none yet" if self._agreement is None else f"{self._agreement:.3f}"
            yield f"an agreement of {self._goal.agreement} ({seen})"


def _find_unreviewed(progress: AnnotationProgress) -> Iterator[str]:
    if not set(_REVIEWING) <= progress.statuses.keys():
        raise AnnotationError("The tool reports no reviews, but goal asks for reviewed: leave it out.")
    waiting = sum(progress.statuses[status] for status in _REVIEWING)
    if waiting:
        yield f"the review of {waiting} items"


def _count_items(tables: LabelTables) -> Iterator[tuple[str, _Counted]]:
    """Yield what each item of a batch contributes to the counts."""
    people: defaultdict[str, set[str]] = defaultdict(set)
    last: dict[str, tuple[Any, str]] = {}
    for row in tables.annotations.select(
        ["item_id", "annotation_id", "origin", "annotator", "status", "created_at"]
    ).to_pylist():
        if row["origin"] != "person" or row["status"] in NOT_SUBMITTED:
            continue
        people[row["item_id"]].add((row["annotator"] or "unknown").lower())
        time_of = row["created_at"], row["annotation_id"]
        before = last.get(row["item_id"], time_of)
        last[row["item_id"]] = max(before, time_of, key=lambda one: (one[0] is not None, one[0]))
    chosen = {annotation_id for _, annotation_id in last.values()}
    classes: defaultdict[str, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    columns = ["item_id", "annotation_id", "label_id", "type", "label", "labels"]
    for row in tables.labels.select(columns).to_pylist():
        if row["annotation_id"] in chosen:
            classes[row["item_id"]].setdefault(row["label_id"], row)  # a label on a video has several rows
    for item_id in tables.items["item_id"].to_pylist():
        counted = Counter(name for row in classes[item_id].values() for name in _classes_of(row))
        yield item_id, _Counted(tuple(counted.items()), frozenset(people[item_id]))


def _classes_of(row: Mapping[str, Any]) -> Iterable[str]:
    several = dict.fromkeys(row["labels"] or ()) if row["type"] not in LISTS_NO_CLASSES else ()
    return several or ([row["label"]] if row["label"] else ())


def _measure(hook: AnnotationHook, project: AnnotationProject, meter: AgreementMeter) -> float | None:
    """Return the agreement of people about the last items that several of them labeled, None if there is none."""
    item_ids = hook.list_last_labeled(project.id, COMPARED, min_annotations=2)
    total = count = 0.0
    for tables in hook.read_tables(project, item_ids=item_ids) if item_ids else ():
        sizes = {one["values"]: one["counts"] for one in tables.labels["item_id"].value_counts().to_pylist()}
        ids = pa.array([one for one in item_ids if sizes.get(one, 0) <= _MOST_LABELS], pa.string())
        rows = meter.add(LabelTables(*(part.filter(pc.is_in(part["item_id"], ids)) for part in tables)))
        values = rows.filter(pc.is_null(rows["annotation_id"]))["value"]
        total += pc.sum(values).as_py() or 0.0
        count += len(values)
    return total / count if count else None
