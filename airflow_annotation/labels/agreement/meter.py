"""Measures how far people agree, batch by batch, during a landing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.labels.agreement.answers import (
    Units,
    answered,
    compare_choices,
    compare_each,
    compare_numbers,
    join_texts,
    ranking_similarity,
    read_choices,
    read_numbers,
    read_rankings,
    text_similarity,
    with_empty,
)
from airflow_annotation.labels.agreement.items import ItemAgreement, item_rows
from airflow_annotation.labels.agreement.matching import match_objects
from airflow_annotation.labels.agreement.objects import DEFAULT_SIGMA, find_objects, is_interval
from airflow_annotation.labels.agreement.submissions import Submissions, choose_submissions, count_within
from airflow_annotation.labels.agreement.tally import ALL, ChoiceTally, NumberTally, RatingTally, Tally
from airflow_annotation.labels.arrays import IntArray
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import AGREEMENT, LabelTables
from airflow_annotation.labels.types import LABEL_TYPES

SUMMARY: Final = pa.schema(
    [
        pa.field("field", pa.string(), nullable=False),
        pa.field("measure", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("annotator", pa.string()),
        pa.field("other", pa.string()),
        pa.field("value", pa.float64()),
        pa.field("alpha", pa.float64()),
        pa.field("kappa", pa.float64()),
        pa.field("pairs", pa.int64(), nullable=False),
        pa.field("count", pa.float64(), nullable=False),
    ]
)
"""How far annotators agree in a field, over all items.

A null ``label`` means all classes, and a null ``annotator`` and ``other`` mean all pairs of annotators. ``value`` is
0..1 and counts every pair of answers, or of objects, once. For a class, it counts the pairs where at least one
annotator chose it. ``alpha`` is Krippendorff's alpha of all annotators; ``kappa`` is Cohen's kappa of a pair of
annotators. Both are null if all answers are the same, and if the answers are not classes (for alpha: not classes or
numbers). ``pairs`` is the number of compared pairs of submissions, ``count`` the average number of answers or objects
on each side of them.
"""

MEASURES: Final[dict[str, str]] = {
    "classification": "match",
    "pairwise": "match",
    "classifications": "jaccard",
    "scalar": "distance",
    "rating": "distance",
    "text": "edit",
    "ranking": "order",
    "detection": "iou",
    "ellipse": "iou",
    "instance": "iou",
    "polygon": "iou",
    "segmentation": "iou",
    "polyline": "line",
    "keypoint": "oks",
    "span": "overlap",
}
"""The measure for each type of labels. Relations, messages and labels of type ``other`` are not compared."""

_CHOICES: Final = ("match", "jaccard")
_OBJECTS: Final = ("iou", "line", "oks", "overlap")


class AgreementMeter:
    """Measures how far people agree. Keeps only sums, whose number does not grow with the items.

    Every measure compares pairs of submissions, is symmetric, and is 1 for two equal submissions. Drafts and skipped
    submissions are left out. Of several submissions of a person for an item, only the ground truth counts, or without
    one the last submission.

    The agreement of answers with classes is their intersection over union (Jaccard 1901): 1 or 0 for single classes. If
    people choose a single class, a missing answer is not compared; if they can choose several, it counts as no class.
    The agreement of numbers and ratings is 1 minus their distance, that of texts 1 minus their edit distance, and that
    of rankings the share of the pairs of entries that are in the same order. The modules ``answers`` and ``chance``
    have the formulas and sources.

    Objects are matched 1:1 with objects of the same class, so that the sum of their similarities is as great as
    possible. The agreement of two submissions is that sum divided by the mean number of their objects: an object that
    only one submission has counts as 0. If all matched objects overlap by more than half, this is the panoptic quality
    (Kirillov et al. 2019), which pairs by that threshold instead. The similarity of two objects is their intersection
    over union (boxes, ellipses, polygons, masks, tracks), COCO's OKS (keypoints), the shared part of their stretch
    (spans of text or time), or the length within a tolerance of each other (polylines). The modules ``overlap`` and
    ``areas`` have the formulas and sources. If no submission has an object in a field of an item, there is nothing to
    compare.

    :param include_predictions: whether a model counts as an annotator, whose name is its ``model_version``
    :param spans: greatest possible distance of two answers, by field of numbers or ratings: 4 for a rating from 1 to 5.
        Without it, the sum of the absolute values of both answers
    :param keypoint_sigmas: sigma of all keypoints, or sigmas by the class or ``point_index`` of a point; for COCO's
        persons they are ``pycocotools.cocoeval.Params("keypoints").kpt_oks_sigmas``
    :raises ValueError: a span or a sigma is not above 0
    """

    def __init__(
        self,
        *,
        include_predictions: bool = False,
        spans: Mapping[str, float] | None = None,
        keypoint_sigmas: float | Mapping[str, float] = DEFAULT_SIGMA,
    ) -> None:
        for field, span in (spans or {}).items():
            if not span > 0:
                raise ValueError(f"The span of {field!r} is the greatest distance of two answers, above 0, not {span}.")
        for sigma in keypoint_sigmas.values() if isinstance(keypoint_sigmas, Mapping) else (keypoint_sigmas,):
            if not sigma > 0:
                raise ValueError(f"keypoint_sigmas are above 0, not {sigma}.")
        self._include_predictions = include_predictions
        self._spans = spans or {}
        self._sigmas = keypoint_sigmas
        self._annotators = _Numbers()
        self._classes = _Numbers([None])
        self._answers: dict[tuple[str, str], _Numbers] = {}
        self._tallies: dict[tuple[str, str], Tally] = {}

    def add(self, batch: LabelTables) -> pa.RecordBatch:
        """Compare the submissions of a batch of whole items and return rows of :data:`AGREEMENT`.

        :param batch: batch of a landing, with relative coordinates
        """
        rows = [item_rows(measured) for measured in self.compare(batch)]
        return pa.concat_batches([*rows, pa.RecordBatch.from_pylist([], AGREEMENT)])

    def compare(self, batch: LabelTables) -> Iterator[ItemAgreement]:
        """Compare the submissions of a batch of whole items, field by field.

        :param batch: batch of a landing, with relative coordinates
        """
        given = choose_submissions(batch, include_predictions=self._include_predictions)
        who = self._annotators.of(given.annotators)
        for field, measure, rows in rows_by_measure(given.labels):
            compare = self._compare_objects if measure in _OBJECTS else self._compare_answers
            yield compare(field, measure, given, who, rows)

    def summary(self) -> pa.Table:
        """Return the agreement of annotators in all added batches, rows of :data:`SUMMARY`."""
        rows: list[dict[str, Any]] = []
        for (field, measure), tally in sorted(self._tallies.items()):
            found = tally.rows(self._annotators.names, self._classes.names)
            rows += [{"field": field, "measure": measure} | row for row in found]
        names = ("field", "measure", "label", "annotator", "other")
        rows.sort(key=lambda row: [(row[name] is not None, row[name] or "") for name in names])
        return pa.Table.from_pylist(rows, schema=SUMMARY)

    # Answers

    def _compare_answers(
        self, field: str, measure: str, given: Submissions, who: IntArray, rows: IntArray
    ) -> ItemAgreement:
        table, starts, unit, owner = answered(given, rows)
        numbers = self._answers.setdefault((field, measure), _Numbers())
        is_rating = measure == "distance" and table.column("type")[0].as_py() == "rating"
        tally = self._tally(field, measure, is_rating=is_rating)
        if measure in _CHOICES:
            units = Units(unit, owner, read_choices(table, starts, numbers.number))
            if measure == "jaccard":
                units = with_empty(given, units, numbers.number(()))
            compared = compare_choices(units, numbers.names)
        elif measure == "distance":
            units = Units(unit, owner, read_numbers(table, starts))
            compared = compare_numbers(units, self._spans.get(field))
            if isinstance(tally, RatingTally):
                units = units._replace(values=numbers.of(units.values.tolist()))
        elif measure == "edit":
            units = Units(unit, owner, join_texts(table, starts))
            compared = compare_each(units, text_similarity)
        else:
            units = Units(unit, owner, read_rankings(table, starts))
            compared = compare_each(units, ranking_similarity)
        if isinstance(tally, (NumberTally, RatingTally, ChoiceTally)):
            tally.add_units(units)
        tally.compare(who[compared.left], who[compared.right], compared)
        pair, at = np.unique(given.pair_of(compared.left, compared.right), return_inverse=True)
        return ItemAgreement(field, measure, given, pair, np.bincount(at, compared.similarity) / np.bincount(at))

    # Objects

    def _compare_objects(
        self, field: str, measure: str, given: Submissions, who: IntArray, rows: IntArray
    ) -> ItemAgreement:
        label = self._class_numbers(given.labels, rows)
        objects = find_objects(given, rows, label, measure, self._sigmas)
        left, right, similarity = match_objects(given, objects)
        pair, count = _pairs_of_objects(given, objects.owner)
        pairs = np.concatenate([given.pair_of(objects.owner[left], objects.owner[right]), pair])
        labels = np.concatenate([objects.label[left], objects.label[count]])
        sums = np.concatenate([similarity, np.zeros(len(pair))])
        weights = np.concatenate([np.zeros(len(left)), np.full(len(pair), 0.5)])
        tally = self._tally(field, measure)
        alike = np.ones(len(given.pairs[0]))
        for by_class in (False, True):
            key = pairs * len(self._classes.names) + (labels if by_class else 0)
            keys, at = np.unique(key, return_inverse=True)
            of, of_class = np.divmod(keys, len(self._classes.names))
            total, weight = (np.bincount(at, part, len(keys)).astype(np.float64) for part in (sums, weights))
            one, other = (who[side[of]] for side in given.pairs)
            tally.add(one, other, of_class if by_class else np.full(len(of), ALL), total, weight)
            if not by_class:
                alike[of] = total / weight
        # Two submissions without objects agree, if another submission of the item has one.
        items = np.zeros(len(given.items), np.bool_)
        items[given.item[objects.owner]] = True
        pair = np.flatnonzero(items[given.item[given.pairs[0]]])
        return ItemAgreement(field, measure, given, pair, alike[pair])

    def _class_numbers(self, labels: pa.RecordBatch, rows: IntArray) -> IntArray:
        taken = pa.array(rows)
        names, several = labels.column("label").take(taken), labels.column("labels").take(taken)
        if several.null_count < len(several):
            joined = [None if classes is None else ", ".join(sorted(classes)) for classes in several.to_pylist()]
            names = pc.coalesce(pa.array(joined, pa.string()), names)
        encoded = names.dictionary_encode("encode")
        numbers = self._classes.of(encoded.dictionary.to_pylist())
        found: IntArray = numbers[encoded.indices.to_numpy()]
        return found

    def _tally(self, field: str, measure: str, *, is_rating: bool = False) -> Tally:
        if (field, measure) not in self._tallies:
            tally = Tally()
            if measure in _CHOICES:
                tally = ChoiceTally(self._answers[field, measure].names)
            elif is_rating:
                tally = RatingTally(self._answers[field, measure].names)
            elif measure == "distance":
                tally = NumberTally()
            self._tallies[field, measure] = tally
        return self._tallies[field, measure]


class _Numbers:
    """Gives each name a number, from 0 in the order in which names come."""

    def __init__(self, names: Iterable[Any] = ()) -> None:
        self.names: list[Any] = [*names]
        self._places = {name: place for place, name in enumerate(self.names)}

    def number(self, name: Any) -> int:
        place = self._places.setdefault(name, len(self.names))
        if place == len(self.names):
            self.names.append(name)
        return place

    def of(self, names: Iterable[Any]) -> IntArray:
        return np.array([self.number(name) for name in names], np.int64)


class AgreementReport(NamedTuple):
    """Agreement of people.

    :param items: agreement in each item and field, see :data:`AGREEMENT`
    :param summary: agreement in each field, by class and pair of annotators, see :data:`SUMMARY`
    """

    items: pa.Table
    summary: pa.Table


def measure_agreement(
    tables: Mapping[str, pa.Table] | Iterable[LabelTables],
    *,
    include_predictions: bool = False,
    spans: Mapping[str, float] | None = None,
    keypoint_sigmas: float | Mapping[str, float] = DEFAULT_SIGMA,
) -> AgreementReport:
    """Measure how far people agree in a landing. :class:`AgreementMeter` does this without all rows in memory.

    :param tables: tables ``items``, ``annotations`` and ``labels`` by name, as ``read_dataset`` returns them, or
        batches of whole items; with relative coordinates
    :param include_predictions: whether a model counts as an annotator
    :param spans: greatest possible distance of two answers, by field of numbers or ratings
    :param keypoint_sigmas: sigma of all keypoints, or sigmas by the class or ``point_index`` of a point
    """
    meter = AgreementMeter(include_predictions=include_predictions, spans=spans, keypoint_sigmas=keypoint_sigmas)
    batches = [_whole(tables)] if isinstance(tables, Mapping) else tables
    rows = [meter.add(batch) for batch in batches]
    return AgreementReport(pa.Table.from_batches(rows, AGREEMENT), meter.summary())


def _pairs_of_objects(given: Submissions, owner: IntArray) -> tuple[IntArray, IntArray]:
    """Return all pairs of submissions that each object's submission is in, and for each pair the object."""
    item = given.item[owner]
    others = given.counts[item] - 1
    which = np.repeat(np.arange(len(owner)), others)
    mine = owner[which]
    other = given.firsts[item[which]] + count_within(others)
    other += other >= mine
    return given.pair_of(np.minimum(mine, other), np.maximum(mine, other)), which


def rating_spans(label_schema: LabelSchema, field_mapping: Mapping[str, str] | None = None) -> dict[str, float]:
    """Return the greatest possible distance of two ratings, by field.

    :param label_schema: label schema, with the best rating of each field
    :param field_mapping: new names of its fields; of merged fields, the greatest distance counts
    """
    mapping, spans = field_mapping or {}, dict[str, float]()
    for name, field in label_schema.fields.items():
        if field.max > 1:
            given = mapping.get(name, mapping.get("type:rating", name))
            spans[given] = max(spans.get(given, 0.0), field.max - 1.0)
    return spans


def rows_by_measure(labels: pa.RecordBatch) -> Iterator[tuple[str, str, IntArray]]:
    """Yield each field, a measure for its labels, and the rows of the labels with this measure.

    :param labels: rows of the ``labels`` table
    """
    fields = labels.column("field").dictionary_encode()
    measures = _measures(labels).dictionary_encode()
    codes = [pc.fill_null(column.indices, -1).to_numpy() for column in (fields, measures)]
    names = [column.dictionary.to_pylist() for column in (fields, measures)]
    kinds = {
        (names[0][field], names[1][measure]): (field, measure)
        for field, measure in set(zip(*codes, strict=True))
        if measure >= 0
    }
    for (field, measure), (field_code, measure_code) in sorted(kinds.items()):
        yield field, measure, np.flatnonzero((codes[0] == field_code) & (codes[1] == measure_code))


def _measures(labels: pa.RecordBatch) -> pa.Array:
    """Return the measure for each label, null if it is not compared."""
    types = labels.column("type")
    measures = pc.take(
        pa.array(MEASURES.values(), pa.string()), pc.index_in(types, value_set=pa.array(MEASURES, pa.string()))
    )
    spans = is_interval(labels)
    measures = pc.if_else(pc.and_(pc.equal(measures, "overlap"), pc.invert(spans)), None, measures)
    answers = pc.is_in(measures, value_set=pa.array(_CHOICES))
    measures = pc.if_else(pc.and_(answers, spans), "overlap", measures)
    there = set(types.unique().to_pylist())
    for needed in ("bbox", "points", "mask_counts"):
        shapes = (type_.name for type_ in LABEL_TYPES.values() if type_.is_shape and needed in type_.needs)
        of_it = sorted(there.intersection(shapes))
        if not of_it or not labels.column(needed).null_count:
            continue
        lacks = pc.and_(pc.is_null(labels.column(needed)), pc.is_in(types, value_set=pa.array(of_it)))
        measures = pc.if_else(lacks, None, measures)
    # An empty number is no answer, and a label about an object is no answer about the item.
    empty = pc.and_(pc.equal(measures, "distance"), pc.is_null(labels.column("number")))
    # The parent of a ranking's buckets is the ranking.
    by_itself = pa.array([*_OBJECTS, MEASURES["ranking"]])
    about = pc.and_(pc.is_valid(labels.column("parent_label_id")), pc.invert(pc.is_in(measures, value_set=by_itself)))
    return pc.if_else(pc.or_(pc.fill_null(empty, False), about), None, measures)


def _whole(tables: Mapping[str, pa.Table]) -> LabelTables:
    batches = []
    for name in LabelTables._fields:
        found = tables[name].combine_chunks().to_batches()
        batches.append(found[0] if found else pa.RecordBatch.from_pylist([], tables[name].schema))
    return LabelTables(*batches)
