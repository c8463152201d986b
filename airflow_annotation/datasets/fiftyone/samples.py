"""Put the labels of items into FiftyOne's samples."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from airflow_annotation.datasets.fiftyone.fields import TargetField
from airflow_annotation.datasets.fiftyone.sources import TRACK
from airflow_annotation.datasets.fiftyone.values import FRAMES, from_document, to_document
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.errors import LabelRowError
from airflow_annotation.labels.fiftyone.merge import Deletions, Merged, Place, can_hold, known_ids, merge_field
from airflow_annotation.labels.submissions import Row
from airflow_annotation.labels.tables import NOT_SUBMITTED, LabelTables

Known = Mapping[str, set[str]]
"""Ids of the labels that the tool has or had, by field."""


class _Said(NamedTuple):
    """The labels of a field: those of the last submission, those of predictions, and the ids of those known before."""

    rows: list[Row]
    given: list[Row]
    known: set[str]


class ItemLabels(NamedTuple):
    """The labels of an item in the tool.

    :param item: the item's row in ``items``
    :param is_labeled: whether the item has a submission
    :param rows: labels of the last submission
    :param given: labels of predictions, which people started from
    """

    item: Row
    is_labeled: bool
    rows: list[Row]
    given: list[Row]

    @property
    def path(self) -> str:
        """Path of the file, as FiftyOne has it."""
        return str(self.item["media_uri"] or "").removeprefix("file://")

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height in pixels."""
        width, height = self.item["width"], self.item["height"]
        return (width, height) if width and height else None


def item_labels(batch: LabelTables) -> Iterator[ItemLabels]:
    """Yield the items of a batch. If an item has several submissions, the last one counts."""
    submissions: dict[str, Row] = {}
    for row in batch.annotations.to_pylist():
        if row["origin"] != "prediction" and row["status"] not in NOT_SUBMITTED:
            last = submissions.get(row["item_id"])
            if last is None or (row["updated_at"] and last["updated_at"] and row["updated_at"] >= last["updated_at"]):
                submissions[row["item_id"]] = row
    rows: defaultdict[str, list[Row]] = defaultdict(list)
    given: defaultdict[str, list[Row]] = defaultdict(list)
    for row in batch.labels.to_pylist():
        own = submissions.get(row["item_id"])
        if row["origin"] == "prediction":
            given[row["item_id"]].append(row)
        elif own is not None and row["annotation_id"] == own["annotation_id"]:
            rows[row["item_id"]].append(row)
    for item in batch.items.to_pylist():
        item_id = item["item_id"]
        yield ItemLabels(item, item_id in submissions, rows[item_id], given[item_id])


@dataclass
class SampleMerger:
    """Puts the labels of items into samples.

    :param project: URI of the project
    :param targets: fields for the labels
    :param deletions: which labels to delete if the submission does not have them
    :param by_field: whether each field's labels are a prediction of their own; people started from one of these
    :param changes: numbers of labels, by what happened to them
    :param left_out: numbers of labels that FiftyOne has no place for, by reason
    """

    project: str
    targets: Sequence[TargetField]
    deletions: Deletions
    by_field: bool
    changes: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    def merge(self, sample: Any, item: ItemLabels, known: Known) -> dict[str, set[str]]:
        """Change a sample without saving it, and return the ids of the submission's labels by field.

        :param known: ids of the labels that the tool has or had, by field
        :raises AnnotationError: a label has something that FiftyOne cannot hold
        """
        ids: dict[str, set[str]] = {}
        held = 0
        predictions = {row["annotation_id"] for row in item.given}
        for target in self.targets:
            rows, given = (
                [row for row in those if row["field"] == target.field and can_hold(target.class_, row["type"])]
                for those in (item.rows, item.given)
            )
            held += len(rows)
            if self.by_field and item.is_labeled and not rows and len(predictions) > 1:
                given = []  # the person may not have seen these labels
            try:
                merge = self._merge_frames if target.of_frames else self._merge_sample
                ids[target.name] = merge(sample, item, target, _Said(rows, given, known.get(target.name, set())))
            except LabelRowError as error:
                raise AnnotationError(f"Item {item.item['item_key']!r}, field {target.name!r}: {error}") from error
        for row in item.rows if held < len(item.rows) else ():
            if not any(row["field"] == one.field and can_hold(one.class_, row["type"]) for one in self.targets):
                self.left_out[f"labels of type {row['type']}"] += 1
        return ids

    def _merge_sample(self, sample: Any, item: ItemLabels, target: TargetField, said: _Said) -> set[str]:
        value = sample[target.name]
        place = self._place(item, target)
        document = to_document(value)
        merged = self._merge_document(document, said, place)
        if merged.value != document:
            sample[target.name] = from_document(merged.value, value)
        return set(merged.ids)

    def _merge_frames(self, sample: Any, item: ItemLabels, target: TargetField, said: _Said) -> set[str]:
        name = target.name.removeprefix(FRAMES)
        by_frame: dict[int, tuple[list[Row], list[Row]]] = {}
        for number, those in enumerate((said.rows, said.given)):
            for row in those:
                if row["frame"] is None:
                    self.left_out["labels of videos without a frame, since the file's frame rate is not known"] += 1
                    continue
                by_frame.setdefault(row["frame"], ([], []))[number].append(row)
        documents = {
            number - 1: (frame, to_document(frame[name]))
            for number, frame in sample.frames.items()
            if frame.has_field(name)
        }
        indices = _indices([*said.rows, *said.given], [document for _, document in documents.values()])
        ids: set[str] = set()
        for number in sorted(by_frame.keys() | documents.keys()):
            rows_there, given_there = by_frame.get(number, ([], []))
            frame, document = documents.get(number, (None, None))
            if document is None and not rows_there:
                continue
            place = self._place(item, target, number, indices)
            merged = self._merge_document(document, _Said(rows_there, given_there, said.known), place)
            if merged.value != document:
                frame = sample.frames[number + 1] if frame is None else frame
                frame[name] = from_document(merged.value, frame[name] if document is not None else None)
            ids |= merged.ids
        return ids

    def _merge_document(self, document: Any, said: _Said, place: Place) -> Merged:
        known = said.known | known_ids(document, said.given, place)
        merged = merge_field(document, said.rows, place, given=said.given, known=known, deletions=self.deletions)
        self.changes += merged.changes
        return merged

    def _place(
        self, item: ItemLabels, target: TargetField, frame: int | None = None, indices: Mapping[str, int] | None = None
    ) -> Place:
        scope = (self.project, item.item["item_id"], target.name, *(() if frame is None else (str(frame),)))
        return Place(
            class_=target.class_,
            scope=scope,
            size=item.size,
            mask_targets=target.targets,
            attributes=target.attributes,
            indices=indices or {},
        )


def _indices(rows: Sequence[Row], documents: Sequence[Any]) -> dict[str, int]:
    """Return FiftyOne's number of each track: the one with which it was uploaded, or the next free one."""
    taken = {
        element["index"]
        for document in documents
        if document is not None
        for element in document.get("detections") or document.get("polylines") or document.get("keypoints") or ()
        if element.get("index") is not None
    }
    indices: dict[str, int] = {}
    tracks = dict.fromkeys(row["track_id"] for row in rows if row["track_id"] is not None)
    for track in tracks:
        number = track.removeprefix(TRACK)
        if track.startswith(TRACK) and number.isdecimal():
            indices[track] = int(number)
    taken |= set(indices.values())
    following = max(taken, default=0) + 1
    for track in tracks:
        if track not in indices:
            indices[track] = following
            following += 1
    return indices
