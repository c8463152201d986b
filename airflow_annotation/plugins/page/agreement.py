"""How far the people of a run agree, and the items about which they agree least.

As everywhere, :class:`~airflow_annotation.labels.agreement.AgreementMeter` measures it. It measures the last items that
several people labeled.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.hooks.ports import LabelsOut
from airflow_annotation.hooks.project import AnnotationProject
from airflow_annotation.labels.agreement import AGREEMENT, AgreementMeter
from airflow_annotation.labels.agreement.meter import rating_spans
from airflow_annotation.labels.agreement.submissions import choose_submissions
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.tables import LabelTables, collect_tables
from airflow_annotation.labels.types import OF_FIELD, OTHER
from airflow_annotation.plugins.page.shown_items import Outlines, ShownItem, page_budget, show_items

COMPARED: Final = 200
"""Maximum number of compared items: the last ones, so that the page stays quick however large a run is."""

LEAST: Final = 6
"""Maximum number of shown items."""

MOST_LABELS: Final = 2_000
"""Maximum number of labels of a compared item, of all people together: the time to match them grows with its square."""

_SECONDS: Final = 10.0
"""Seconds after which no more items are compared, since the API server has other requests to answer."""

_AT_ONCE: Final = 20
"""Maximum number of items compared between two looks at the clock. Together, they have at most :data:`MOST_LABELS`."""


class ClassAgreement(msgspec.Struct, frozen=True):
    """How far people agree about a class, from the summary of the agreement.

    :param name: name of the class
    :param value: agreement, 0..1
    :param count: average number of answers or objects on each side of a compared pair
    """

    name: str
    value: float
    count: float


class FieldAgreement(msgspec.Struct, frozen=True, kw_only=True):
    """How far people agree in a field: columns of :data:`~airflow_annotation.labels.agreement.SUMMARY`.

    :param pairs: number of compared pairs of submissions
    :param classes: agreement by class, the most frequent first
    """

    field: str
    measure: str
    value: float
    alpha: float | None
    pairs: int
    classes: list[ClassAgreement]


class PersonAgreement(msgspec.Struct, frozen=True):
    """How far a person agrees with the others: the mean over items and fields, as in the view ``annotator_quality``.

    :param name: name of the annotator
    :param value: agreement, 0..1
    :param compared: number of values in the mean
    """

    name: str
    value: float
    compared: int


class DisputedItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item about which people agree little.

    :param fields: fields with their agreement, 0..1, the least first
    :param images: the item, once for each of its images that has labels
    """

    fields: list[tuple[str, float]]
    images: list[ShownItem]


class RunAgreement(msgspec.Struct, frozen=True, kw_only=True):
    """How far the people of a run agree.

    :param items: number of compared items
    :param left_out: number of items that were not compared although several people labeled them: they have too many
        labels, a mask was not read, or the time was over
    :param fields: agreement by field
    :param people: agreement by annotator, the least first
    :param least: the items about which they agree least
    """

    items: int
    left_out: int
    fields: list[FieldAgreement]
    people: list[PersonAgreement]
    least: list[DisputedItem]


def read_agreement(hook: LabelsOut, project: AnnotationProject) -> RunAgreement:
    """Read the last items that several people labeled, and measure how far these people agree.

    :param hook: hook of the tool
    :param project: project of the run
    """
    hook.mask_budget = page_budget()
    item_ids = hook.list_last_labeled(project.id, COMPARED, min_annotations=2)
    if not item_ids:
        return RunAgreement(items=0, left_out=0, fields=[], people=[], least=[])
    label_schema = hook.get_label_schema(project.id)
    meter = AgreementMeter(spans=rating_spans(label_schema))
    batches = list(hook.read_tables(project, ReadOptions(), item_ids))
    types = [OF_FIELD[field.type] for field in label_schema.fields.values() if field.type in OF_FIELD]
    has_masks = any("mask_counts" in type_.needs for type_ in types)
    rows, left_out = _measure(meter, batches, has_masks=has_masks)
    of_items = rows.filter(pc.is_null(rows["annotation_id"])).to_pylist()
    found: defaultdict[str, list[tuple[str, float]]] = defaultdict(list)
    for row in of_items:
        found[row["item_id"]].append((row["field"], row["value"]))
    # Sort by the field with the least agreement, so that other fields do not hide it.
    least = sorted(found, key=lambda item: (min(value for _, value in found[item]), item))[:LEAST]
    return RunAgreement(
        items=len(found),
        left_out=left_out,
        fields=_fields(meter.summary().to_pylist()),
        people=_people(rows),
        least=list(_disputed([one for one in least if min(v for _, v in found[one]) < 1], found, batches)),
    )


def _measure(meter: AgreementMeter, batches: Iterable[LabelTables], *, has_masks: bool) -> tuple[pa.Table, int]:
    """Compare items until the time is over. Return the meter's rows and the number of items that were left out.

    :param meter: meter that compares the items
    :param batches: batches of whole items
    :param has_masks: whether labels may be masks. A mask that took too long to read has the type ``other``. Then its
        item is left out, since the mask would count as missing
    """
    deadline = time.monotonic() + _SECONDS
    rows, left_out = [], 0
    for batch in batches:
        labels = _count(batch.labels)
        unread = set(_count(batch.labels.filter(pc.equal(batch.labels["type"], OTHER)))) if has_masks else set()
        several = sorted(item for item, count in _count(batch.annotations).items() if count > 1)
        ids = [item for item in several if labels.get(item, 0) <= MOST_LABELS and item not in unread]
        left_out += len(several) - len(ids)
        for some in _portions(ids, labels):
            if time.monotonic() > deadline:
                left_out += len(some)
            else:
                rows.append(meter.add(batch.of_items(pa.array(some, pa.string()))))
    return pa.Table.from_batches(rows, AGREEMENT), left_out


def _portions(item_ids: Iterable[str], labels: Mapping[str, int]) -> Iterator[list[str]]:
    """Yield the ids of the items to compare at once.

    :param labels: number of labels of each item
    """
    portion: list[str] = []
    size = 0
    for item_id in item_ids:
        size += labels.get(item_id, 0)
        if portion and (size > MOST_LABELS or len(portion) == _AT_ONCE):
            yield portion
            portion, size = [], labels.get(item_id, 0)
        portion.append(item_id)
    if portion:
        yield portion


def _compared(batch: LabelTables) -> LabelTables:
    """Return what was compared: each person's last submission, without drafts and skipped ones."""
    chosen = choose_submissions(batch)
    return LabelTables(batch.items, chosen.annotations, chosen.labels)


def _count(rows: pa.RecordBatch) -> dict[str, int]:
    """Return the number of rows of each item."""
    return {one["values"]: one["counts"] for one in rows["item_id"].value_counts().to_pylist()}


def _fields(summary: Iterable[Mapping[str, Any]]) -> list[FieldAgreement]:
    """Return the agreement of all annotators by field, from the rows of a summary."""
    wholes: dict[tuple[str, str], Mapping[str, Any]] = {}
    classes: defaultdict[tuple[str, str], list[ClassAgreement]] = defaultdict(list)
    for row in summary:
        of_field = (row["field"], row["measure"])
        if row["annotator"] is not None or row["value"] is None:
            continue
        if row["label"] is None:
            wholes[of_field] = row
        else:
            classes[of_field].append(ClassAgreement(row["label"], row["value"], row["count"]))
    return [
        FieldAgreement(
            field=row["field"],
            measure=row["measure"],
            value=row["value"],
            alpha=row["alpha"],
            pairs=row["pairs"],
            classes=sorted(classes[of_field], key=lambda one: (-one.count, one.name)),
        )
        for of_field, row in wholes.items()
    ]


def _people(rows: pa.Table) -> list[PersonAgreement]:
    named = rows.filter(pc.is_valid(rows["annotator"]))
    means = named.group_by("annotator").aggregate([("value", "mean"), ("value", "count")]).to_pylist()
    found = [PersonAgreement(row["annotator"], row["value_mean"], row["value_count"]) for row in means]
    return sorted(found, key=lambda one: (one.value, one.name))


def _disputed(
    item_ids: list[str], values: Mapping[str, list[tuple[str, float]]], batches: Iterable[LabelTables]
) -> Iterator[DisputedItem]:
    disputed = pa.array(item_ids, pa.string())
    tables = collect_tables(_compared(batch.of_items(disputed)) for batch in batches)
    outlines = Outlines()
    for item_id in item_ids:
        fields = sorted(values[item_id], key=lambda pair: (pair[1], pair[0]))
        yield DisputedItem(fields=fields, images=show_items(tables, [item_id], LEAST, outlines))
