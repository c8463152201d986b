"""Merges several people's submissions of an item into one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.labels.agreement.answers import (
    answered,
    join_classes,
    join_texts,
    number_similarity,
    ranking_similarity,
    read_numbers,
    read_rankings,
    text_similarity,
)
from airflow_annotation.labels.agreement.meter import AgreementMeter, rating_spans, rows_by_measure
from airflow_annotation.labels.agreement.submissions import Submissions, changed_at, choose_submissions
from airflow_annotation.labels.arrays import FloatArray, IntArray
from airflow_annotation.labels.consensus.options import ConsensusOptions
from airflow_annotation.labels.consensus.rows import (
    CONSENSUS,
    Electorate,
    Row,
    classes_of,
    merged_id,
    merged_row,
    vote_on_attributes,
)
from airflow_annotation.labels.consensus.shapes import PARENT, Ids, merge_objects, vote_on_pixels
from airflow_annotation.labels.consensus.spans import merge_spans
from airflow_annotation.labels.consensus.votes import Vote, majority, majority_of_each, median, medoid, merge_rankings
from airflow_annotation.labels.masks import RLE, rle_area
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import ANNOTATIONS, LABELS, LabelTables

_DEFAULTS: Final = ConsensusOptions()
_SHAPES: Final = ("iou", "line", "oks")


class Consensus(NamedTuple):
    """One submission for each item.

    :param tables: the items, each with at most one submission of people; predictions stay
    :param left_out: counts by reason: items without a submission although somebody submitted them, and labels that
        cannot be merged
    """

    tables: LabelTables
    left_out: Counter[str]


def merge_batches(
    batches: Iterable[LabelTables],
    options: ConsensusOptions,
    label_schema: LabelSchema,
    left_out: Counter[str],
    field_mapping: Mapping[str, str] | None = None,
) -> Iterator[LabelTables]:
    """Yield batches of whole items with one submission for each item, see :func:`merge_submissions`.

    :param batches: batches with all submissions
    :param options: options of the consensus
    :param label_schema: schema that says how far two ratings can be apart
    :param left_out: counts, by reason, of what is in no submission
    :param field_mapping: names of the schema's fields in the batches, if they differ
    """
    spans = rating_spans(label_schema, field_mapping)
    for batch in batches:
        merged = merge_submissions(batch, options, spans)
        left_out.update(merged.left_out)
        yield merged.tables


def merge_submissions(
    batch: LabelTables, options: ConsensusOptions = _DEFAULTS, spans: Mapping[str, float] | None = None
) -> Consensus:
    """Make one submission from all submissions of each item. The order of the rows does not change the result.

    A submission that is marked as ground truth is taken unchanged. So is the latest submission of an item that does not
    reach the limits, with ``on_shortfall="latest"``. Otherwise, a label is in the consensus if more than half of the
    weight of all who submitted the item has it. For one class and for a pairwise choice, the greatest weight wins; of
    several classes, each one counts by itself. Numbers and ratings become the median, texts the one that is most
    similar to the others. Rankings are ordered by mean places. Spans become the stretches that more than half have
    marked, and semantic masks the pixels that more than half have painted. Objects of all people are put together
    first, see :func:`~airflow_annotation.labels.consensus.shapes.merge_objects`. If weights are equal, the submission
    that was changed last decides.

    A merged submission has the ``annotation_id`` ``consensus-<item_id>``, no annotator, and as its ``score`` the
    agreement in the field with the lowest agreement. A merged label has ``label_origin`` ``consensus``, and ``raw`` has
    its ``annotators`` and their ``agreement``: their share of the weight, times the similarity of their labels. Labels
    of type ``other``, and answers about single objects that are rows of their own, are left out.

    :param batch: whole items with all submissions
    :param options: options of the consensus
    :param spans: for fields of numbers and ratings, the greatest distance that two answers can have
    """
    given = choose_submissions(batch)
    agreement = _lowest_agreement(batch, given, spans)
    truth = pc.fill_null(given.annotations.column("ground_truth"), False).to_numpy(zero_copy_only=False)
    has_truth = np.zeros(len(batch.items), np.bool_)
    has_truth[given.item[truth]] = True
    short = (given.counts < options.min_annotators) | (agreement < options.min_agreement)
    recency = _recency(given)
    latest = np.zeros(len(given.item), np.bool_)
    newest: dict[int, int] = {}
    for submission, item in enumerate(given.item.tolist()):
        if truth[submission] or not has_truth[item]:
            newest[item] = max(newest.get(item, submission), submission, key=recency.__getitem__)
    latest[list(newest.values())] = True
    taken = latest & (has_truth | (short if options.on_shortfall == "latest" else False))[given.item]
    merging = (~has_truth & ~short & (given.counts > 0))[given.item]

    left_out: Counter[str] = Counter()
    if options.on_shortfall == "leave_out":
        left_out["items without consensus"] = int((short & ~has_truth & (given.counts > 0)).sum())
    electorate = _electorate(given, options, recency)
    merged = _Merger(electorate, options, merging, spans or {})
    label_rows = merged.rows()
    left_out["labels that cannot be merged"] = merged.unmerged
    annotation_rows = merged.annotations(agreement, label_rows)
    tables = LabelTables(
        batch.items,
        _joined(batch, batch.annotations, given.annotations.filter(pa.array(taken)), annotation_rows, ANNOTATIONS),
        _joined(batch, batch.labels, given.labels.filter(pa.array(taken[given.owner])), label_rows, LABELS),
    )
    return Consensus(tables, +left_out)


class _Merger:
    """Merges the labels of a batch."""

    def __init__(
        self, electorate: Electorate, options: ConsensusOptions, merging: Any, spans: Mapping[str, float]
    ) -> None:
        self._electorate, self._options, self._merging, self._spans = electorate, options, merging, spans
        self._table: list[Row] = []
        self.unmerged = 0

    def rows(self) -> list[Row]:
        """Return the rows of all merged labels, in the order of items, fields, label ids and frames."""
        given = self._electorate.given
        chosen = self._merging[given.owner]
        labels = given.labels.filter(pa.array(chosen))
        given = Submissions(given.items, given.annotations, labels, given.item, given.owner[chosen])
        self._electorate = self._electorate._replace(given=given)
        self._table = labels.to_pylist()
        ids: Ids = {}
        found: list[tuple[int, Row]] = []
        seen = np.zeros(len(labels), np.bool_)
        for _, measure, rows in rows_by_measure(labels):
            seen[rows] = True
            found += self._merge(measure, rows, ids)
        relations = [place for place, row in enumerate(self._table) if row["type"] == "relation"]
        found += self._merge_relations(relations, ids)
        self.unmerged = int((~seen).sum()) - len(relations)
        merged = []
        counts: Counter[int] = Counter()
        found.sort(key=lambda one: (one[0], one[1]["field"], one[1]["label_id"], one[1]["frame"] or 0))
        for item, row in found:
            owner, parent, own = row.pop(PARENT, (0, None, None))
            found_parent = None if parent is None else ids.get((owner, parent), own)
            row["parent_label_id"] = None if found_parent == row["label_id"] else found_parent
            item_id = row["item_id"]
            merged.append(row | {"annotation_id": f"{CONSENSUS}-{item_id}", "ordinal": counts[item]})
            counts[item] += 1
        return merged

    def annotations(self, agreement: FloatArray, labels: Sequence[Row]) -> list[Row]:
        """Return a row for each merged submission."""
        given = self._electorate.given
        counts = Counter(row["item_id"] for row in labels)
        of_item: defaultdict[int, list[tuple[int, Row]]] = defaultdict(list)
        for submission, row in enumerate(given.annotations.to_pylist()):
            if self._merging[submission]:
                of_item[int(given.item[submission])].append((self._electorate.recency[submission], row))
        merged = []
        for item, found in of_item.items():
            rows = [row for _, row in sorted(found, key=lambda one: one[0])]
            times = {
                name: [row[name] for row in rows if row[name] is not None]
                for name in ("created_at", "updated_at", "lead_time")
            }
            own = {
                "annotation_id": f"{CONSENSUS}-{rows[0]['item_id']}",
                "annotator": None,
                "score": float(agreement[item]),
                "ground_truth": False,
                "label_count": counts[rows[0]["item_id"]],
                "created_at": min(times["created_at"], default=None),
                "updated_at": max(times["updated_at"], default=None),
                "lead_time": sum(times["lead_time"]) if times["lead_time"] else None,
            }
            merged.append(rows[-1] | own)
        return merged

    def _merge(self, measure: str, rows: IntArray, ids: Ids) -> Iterator[tuple[int, Row]]:
        if measure == "overlap":
            yield from merge_spans(self._electorate, self._table, rows, ids)
        elif measure in _SHAPES:
            painted = np.array([self._table[row]["type"] == "segmentation" for row in rows.tolist()], np.bool_)
            if painted.any():
                yield from self._merge_painted(rows[painted], ids)
            if not painted.all():
                least = self._options.min_overlap
                yield from merge_objects(self._electorate, self._table, rows[~painted], measure, least, ids)
        else:
            yield from self._merge_answers(measure, rows)

    def _merge_answers(self, measure: str, rows: IntArray) -> Iterator[tuple[int, Row]]:
        electorate = self._electorate
        table, starts, unit, owner = answered(electorate.given, rows)
        own_rows = table.to_pylist()
        values = _answers(measure, table, starts)
        for places in np.split(np.arange(len(unit)), np.flatnonzero(np.diff(unit)) + 1):
            submissions = owner[places].tolist()
            if not electorate.has_majority(submissions):
                continue
            votes = [electorate.vote(one, values[place]) for one, place in zip(submissions, places, strict=True)]
            total = electorate.total(submissions[0])
            firsts = [own_rows[starts[place]] for place in places]
            attributes = vote_on_attributes(list(zip(votes, firsts, strict=True)))
            item = int(electorate.given.item[submissions[0]])
            span = self._spans.get(firsts[0]["field"])
            for columns, support, similarity in _elected(measure, votes, total, span):
                supporters = [one for one, vote in zip(submissions, votes, strict=True) if support(vote)]
                base = next(row for row, vote in zip(firsts, votes, strict=True) if support(vote))
                key = [(base["item_id"], base["field"]), (base["target"] or "", (measure, columns.get("label")))]
                yield (
                    item,
                    merged_row(electorate, base, merged_id(key), supporters, similarity, **columns, **attributes),
                )

    def _merge_painted(self, rows: IntArray, ids: Ids) -> Iterator[tuple[int, Row]]:
        """Merge semantic masks: keep the pixels of each class that more than half have painted."""
        electorate = self._electorate
        found: defaultdict[tuple[Any, ...], list[tuple[int, Row]]] = defaultdict(list)
        for place in rows.tolist():
            row, owner = self._table[place], int(electorate.given.owner[place])
            item = int(electorate.given.item[owner])
            frame = -1 if row["frame"] is None else row["frame"]
            found[item, row["target"] or "", frame, str(row["label"])].append((owner, row))
        for (item, *_), painted in sorted(found.items(), key=lambda one: one[0]):
            supporters = sorted({owner for owner, _ in painted})
            if not electorate.has_majority(supporters):
                continue
            strokes: defaultdict[int, list[Row]] = defaultdict(list)
            for owner, row in painted:
                strokes[owner].append(row)
            masks = [{**of[0], **vote_on_pixels(of, [1.0] * len(of), 0.0)} for _, of in sorted(strokes.items())]
            weights = [electorate.weights[owner] for owner in supporters]
            base = painted[0][1]
            columns = vote_on_pixels(masks, weights, electorate.total(supporters[0]))
            if not rle_area(RLE(tuple(columns["mask_size"]), columns["mask_counts"])):
                continue
            label_id = merged_id([(row["annotation_id"], row["label_id"]) for _, row in painted])
            ids |= {(owner, row["label_id"]): label_id for owner, row in painted}
            yield item, merged_row(electorate, base, label_id, supporters, **columns)

    def _merge_relations(self, places: Sequence[int], ids: Ids) -> Iterator[tuple[int, Row]]:
        """Merge relations between labels that have been merged."""
        electorate = self._electorate
        found: defaultdict[tuple[Any, ...], dict[int, Row]] = defaultdict(dict)
        for place in places:
            row, owner = self._table[place], int(electorate.given.owner[place])
            ends = [ids.get((owner, row[name] or "")) for name in ("from_label_id", "to_label_id")]
            if None not in ends:
                key = (int(electorate.given.item[owner]), row["field"], *ends, classes_of(row))
                found[key].setdefault(owner, row)
        for (item, field, start, end, classes), rows in sorted(found.items(), key=lambda one: one[0]):
            if electorate.has_majority(sorted(rows)):
                base = rows[min(rows)] | {"from_label_id": start, "to_label_id": end}
                yield item, merged_row(electorate, base, merged_id([(field, start), (end, classes)]), sorted(rows))


def _elected(measure: str, votes: Sequence[Vote], total: float, span: float | None) -> Iterator[tuple[Row, Any, float]]:
    """Yield the columns of each elected answer, the submissions that voted for it, and their answers' similarity."""
    if measure == "match":
        chosen = majority(votes)
        yield {"label": chosen[0] if chosen else None}, lambda vote: vote.value == chosen, 1.0
    elif measure == "jaccard":
        names = majority_of_each(votes, total)
        shared = [len(set(vote.value) & set(names)) / len(set(vote.value) | set(names)) for vote in votes if names]
        alike = fmean([part for part in shared if part] or [0.0])
        if names:
            columns = {"label": names[0], "labels": list(names) if len(names) > 1 else None}
            yield columns, lambda vote: not set(names).isdisjoint(vote.value), alike
    elif measure == "distance":
        number = median(votes)
        given = np.array([vote.value for vote in votes])
        alike = float(number_similarity(given, np.full(len(given), number), span).mean())
        yield {"number": number}, lambda _: True, alike
    elif measure == "edit":
        text = medoid(votes, text_similarity)
        alike = fmean(text_similarity(text, vote.value) for vote in votes)
        yield {"text": text, "labels": None}, lambda _: True, alike
    else:
        ranking = merge_rankings(votes, total)
        alike = fmean(ranking_similarity(ranking, vote.value) for vote in votes)
        for bucket, entries in ranking.items():
            yield {"label": bucket, "labels": entries}, lambda _: True, alike


def _answers(measure: str, table: pa.RecordBatch, starts: IntArray) -> Sequence[Any]:
    if measure == "distance":
        numbers: list[float] = read_numbers(table, starts).tolist()
        return numbers
    if measure == "edit":
        return join_texts(table, starts)
    return read_rankings(table, starts) if measure == "order" else join_classes(table, starts)


def _lowest_agreement(batch: LabelTables, given: Submissions, spans: Mapping[str, float] | None) -> FloatArray:
    """Return each item's agreement in the field with the lowest agreement, 1 if nothing is compared."""
    lowest = np.ones(len(batch.items))
    for measured in AgreementMeter(spans=spans).compare(batch):
        if len(measured.pair):
            item = given.item[given.pairs[0][measured.pair]]
            sums, counts = (np.bincount(item, weights, len(lowest)) for weights in (measured.value, None))
            of_field = np.divide(sums, counts, out=np.ones(len(lowest)), where=counts > 0)
            lowest = np.minimum(lowest, of_field)
    return lowest


def _electorate(given: Submissions, options: ConsensusOptions, recency: list[int]) -> Electorate:
    names = given.annotators
    weights = [options.weights.get(name or "", 1.0) for name in names]
    totals = np.bincount(given.item, weights, len(given.items)).tolist()
    return Electorate(given, names, weights, recency, totals)


def _recency(given: Submissions) -> list[int]:
    """Return each submission's place in the order of changes."""
    rows = given.annotations
    ids = pc.rank(rows.column("annotation_id"), tiebreaker="first").to_numpy()
    places = np.empty(len(rows), np.int64)
    places[np.lexsort((ids, changed_at(rows)))] = np.arange(len(rows))
    recency: list[int] = places.tolist()
    return recency


def _joined(
    batch: LabelTables, before: pa.RecordBatch, taken: pa.RecordBatch, merged: list[Row], schema: pa.Schema
) -> pa.RecordBatch:
    """Return rows in the order of the items: predictions, unchanged submissions, and merged submissions."""
    parts = [
        before.filter(pc.equal(before.column("origin"), "prediction")),
        taken,
        pa.RecordBatch.from_pylist(merged, schema=schema),
    ]
    rows = pa.concat_batches([part.cast(schema) for part in parts])
    place = pc.index_in(rows.column("item_id"), value_set=batch.items.column("item_id")).to_numpy()
    return rows.take(pa.array(np.argsort(place, kind="stable")))
