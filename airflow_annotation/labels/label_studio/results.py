"""Converts rows of the ``labels`` table to Label Studio's result records, to upload predictions and annotations.

:mod:`airflow_annotation.labels.label_studio.regions` converts in the other direction.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from airflow_annotation.labels.errors import UnwritableLabelError
from airflow_annotation.labels.label_studio.answer_values import NOTE, SENT_AT, split_path
from airflow_annotation.labels.label_studio.controls import Control, LabelingConfig, Relations
from airflow_annotation.labels.label_studio.media_objects import DEFAULT_FRAME_RATE
from airflow_annotation.labels.label_studio.paragraphs import units_of
from airflow_annotation.labels.label_studio.rankings import ranking_of
from airflow_annotation.labels.label_studio.tags import SHAPES, TAGS, tags_of
from airflow_annotation.labels.label_studio.tracks import (
    Group,
    find_tool_frame,
    group_rows,
    path_sequence_of,
    ranges_of,
    sequence_of,
    shared_attributes,
)
from airflow_annotation.labels.media import FindSize, split_target
from airflow_annotation.labels.submissions import SCORE, attributes_of, check_inside, row_name
from airflow_annotation.labels.types import DEFAULT_RATING, DIRECTION, LABEL_TYPES, OTHER, PLACE_ATTRIBUTES

Row = Mapping[str, Any]
Record = dict[str, Any]


def results_from_labels(
    rows: Iterable[Row],
    config: LabelingConfig,
    *,
    find_size: FindSize = lambda _: (None, None),
    duration: float | None = None,
    data: Mapping[str, Any] | None = None,
) -> list[Record]:
    """Return the result of one annotation or prediction.

    The ids of regions are the rows' ``label_id``, so that labels keep their ids when they land again. The rows of one
    object in a video become one region, whose id is their ``track_id``.

    :param rows: rows of one annotation in their order, as dictionaries by column; columns may be missing
    :param config: labeling config of the project to which they go
    :param find_size: function that returns the size in pixels of the media that a label's ``target`` names, which Label
        Studio expects with shapes
    :param duration: duration of a video in seconds, until which an object is shown if it does not disappear before
    :param data: the item's dialogues with characters of two units of UTF-16, by data key
    :raises UnwritableLabelError: the config has no control for a field or does not have a class, or coordinates are
        outside the media
    """
    item = _Item(find_size, duration, data or {})
    return [record for group in group_rows(rows, config) for record in _Writer(group, config, item).records()]


class _Item(NamedTuple):
    """Properties of the labels' item.

    :param find_size: function that returns the size in pixels of the media that a label's ``target`` names
    :param duration: duration of its media, in seconds
    :param data: its dialogues with characters of two units of UTF-16, by data key
    """

    find_size: FindSize
    duration: float | None
    data: Mapping[str, Any]


class _Writer:
    """Writes the rows of one record.

    :param group: the rows
    :param config: the labeling config
    :param item: the item
    """

    def __init__(self, group: Group, config: LabelingConfig, item: _Item) -> None:
        self._item = item
        self._group = group
        self._row = row = group.rows[0]
        self._config = config
        if row.get("mask_size"):
            height, width = row["mask_size"]
        else:
            width, height = item.find_size(row.get("target"))
        self._size = {"original_width": width, "original_height": height} if width and height else {}
        self._aspect = width / height if width and height else 1.0
        self._where = row_name(row)

    def records(self) -> Iterator[Record]:
        """Yield the row's records: its own, those of its attributes, and its class's if that is a separate record."""
        type_ = self._row["type"]
        attributes = attributes_of(self._row)
        if self._group.in_video:
            yield from self._video(tags_of(type_, in_video=True))
        elif type_ == OTHER:
            yield msgspec.json.decode(self._row["raw"])
        elif type_ == "relation":
            yield self._relation(attributes)
        elif type_ == "ranking":
            yield self._ranking(attributes)
        elif tags := tags_of(type_):
            if LABEL_TYPES[type_].is_shape:
                yield from self._shape(tags, attributes)
                return
            control = self._control(tags)
            yield self._record(control, self._answer(control), attributes)
            yield from self._attributes(control, attributes)
        else:
            raise UnwritableLabelError(f"{self._where} is of type {type_}, which cannot be written to Label Studio.")

    def _relation(self, attributes: Mapping[str, Any]) -> Record:
        if self._config.relations is not None:
            self._check_classes(self._config.relations)
        record: Record = {
            "type": "relation",
            "from_id": self._row["from_label_id"],
            "to_id": self._row["to_label_id"],
            "direction": attributes.get(DIRECTION, "right"),
        }
        return {**record, "labels": self._classes()} if self._classes() else record

    def _ranking(self, attributes: Mapping[str, Any]) -> Record:
        control = self._control(tags_of(self._row["type"]))
        buckets = [row.get("label") for row in self._group.rows]
        for bucket in buckets:
            if bucket is not None and bucket not in control.classes:
                raise UnwritableLabelError(f"{self._where} has the bucket {bucket!r}, which the project does not have.")
        if len(set(buckets)) < len(buckets):
            raise UnwritableLabelError(f"{self._where} has several rows for one bucket, or for what is in none.")
        ranker = ranking_of(self._group.rows, control.name, has_buckets=bool(control.classes))
        record = self._record(control, {control.tag: ranker}, attributes)
        record.pop("parentID", None)
        return record

    def _video(self, tags: Sequence[str]) -> Iterator[Record]:
        control = self._control(tags)
        attributes = shared_attributes(self._group.rows)
        if attributes is None or any(_classes(row) != _classes(self._row) for row in self._group.rows):
            raise UnwritableLabelError(
                f"{self._where} has other classes or attributes in other frames of {self._group.record_id!r}; in Label "
                "Studio they are the same in all frames."
            )
        rate = self._tool_frame_rate(control)
        rows = [(self._tool_frame(row, rate), row) for row in self._group.rows]
        if control.tag == "timelinelabels":
            value: Record = {"ranges": ranges_of(rows, rate)}
        elif control.tag == "videorectangle":
            for row in self._group.rows:
                self._check_inside(row["bbox"])
            value = sequence_of(rows, rate, self._item.duration)
        else:
            for point in itertools.chain.from_iterable(row["points"] for row in self._group.rows):
                self._check_inside(point)
            value = path_sequence_of(rows, rate, self._item.duration)
        self._check_classes(self._config.controls.get(control.field, control))
        # The editor reads the classes of a vector under the tag's name, and the server checks those under "labels".
        keys = {"timelinelabels": ("timelinelabels",), "videovectorlabels": ("videovectorlabels", "labels")}
        classes = dict.fromkeys(keys.get(control.tag, ("labels",)), self._classes()) if self._classes() else {}
        yield self._record(control, {**value, **classes}, attributes)
        yield from self._attributes(control, attributes)

    def _tool_frame_rate(self, control: Control) -> float:
        media = self._config.find_object(self._row.get("target") or self._config.first_target(control))
        if media is None:
            return DEFAULT_FRAME_RATE
        if media.has_frame_rate_in_data:
            raise UnwritableLabelError(
                f"{self._where} cannot be written while the project takes the frameRate of its Video tag from each "
                "task's data. Write the frame rate into the labeling config."
            )
        return media.find_frame_rate({})

    def _tool_frame(self, row: Row, rate: float) -> int:
        frame = find_tool_frame(row, rate)
        if frame is None or frame < 1:
            raise UnwritableLabelError(
                f"{row_name(row)} does not say in which frame it is. Give it time, in seconds from 0. A frame of the "
                "file says it only where the file's frame_rate is known: upload the video with it."
            )
        return frame

    def _shape(self, tags: Sequence[str], attributes: Mapping[str, Any]) -> Iterator[Record]:
        control = self._control(tags)
        value = self._geometry(control.tag.removesuffix("labels"))
        if control.tag.endswith("labels"):
            self._check_classes(control)
            yield self._record(control, {**value, control.tag: self._classes()}, attributes)
        else:
            yield self._record(control, value, attributes)
            labels = self._config.controls.get(control.field)
            if labels is not None and labels.tag == "labels" and self._classes():
                self._check_classes(labels)
                yield self._record(labels, {**value, "labels": self._classes()}, {})
        yield from self._attributes(control, attributes)

    def _attributes(self, control: Control, attributes: Mapping[str, Any]) -> Iterator[Record]:
        for name, answer in attributes.items():
            asked = self._find_question(control, name)
            if asked is not None:
                yield self._record(asked, _answer_value(asked, answer if isinstance(answer, list) else [answer]), {})
            elif name not in _own_attributes(control):
                raise UnwritableLabelError(f"{self._where} has the attribute {name!r}, which the project does not ask.")

    def _record(self, control: Control, value: Record, attributes: Mapping[str, Any]) -> Record:
        # The editor writes that a pair is about itself, which the server refuses in predictions.
        own = None if control.tag == "pairwise" else self._row.get("target")
        target = own or self._config.first_target(control)
        to_name, page = split_target(target)
        record: Record = {
            "id": self._group.record_id,
            "type": TAGS[control.tag].record or control.tag if control.tag in TAGS else control.tag,
            "from_name": self._config.repeated_name(control.name, to_name),
            "to_name": to_name,
            "value": value,
            **(self._size if control.is_shape or "x" in value else {}),
        }
        if page is not None and "pageIndex" not in value:
            record["item_index"] = page
        if self._row.get("parent_label_id") is not None:
            record["parentID"] = self._row["parent_label_id"]
        if self._row.get("label_origin") is not None:
            record["origin"] = self._row["label_origin"]
        if NOTE in attributes and self._find_question(control, NOTE) is None:
            record["meta"] = {"text": [str(attributes[NOTE])]}
        if "score" in attributes:
            record["score"] = attributes["score"]
        return record

    def _find_question(self, control: Control, name: str) -> Control | None:
        return next(
            (
                other
                for other in self._config.controls.values()
                if (other.attribute == name or (other.tag == "labels" and other.field == name))
                and (not other.asked_for or control.field in other.asked_for)
            ),
            None,
        )

    def _control(self, tags: Sequence[str]) -> Control:
        candidates = [
            control
            for control in self._config.controls.values()
            if control.field == self._row["field"] and control.attribute is None and control.tag in tags
        ]
        if not candidates:
            known = sorted({one.field for one in self._config.controls.values() if one.attribute is None})
            raise UnwritableLabelError(
                f"{self._where}: the project has no such field for labels of type {self._row['type']}. "
                f"Its fields: {', '.join(known) or 'none'}."
            )
        return min(candidates, key=lambda control: tags.index(control.tag))

    def _classes(self) -> list[str]:
        return _classes(self._row)

    def _check_classes(self, control: Control | Relations) -> None:
        for class_ in self._classes():
            if control.classes and class_ not in control.classes:
                raise UnwritableLabelError(f"{self._where} has the class {class_!r}, which the project does not have.")

    def _check_rating(self, control: Control) -> None:
        best = control.attributes.get("maxrating", "")
        most, number = int(best) if best.isdecimal() else DEFAULT_RATING, self._row["number"]
        if not (0 <= number <= most and float(number).is_integer()):
            raise UnwritableLabelError(
                f"{self._where} has the rating {number}: the project takes whole numbers up to {most}."
            )

    def _answer(self, control: Control) -> Record:
        row = self._row
        if row["type"] in ("scalar", "rating"):
            if control.tag == "rating":
                self._check_rating(control)
            return _answer_value(control, [row["number"]])
        if control.tag == "chat":
            said = {"role": row.get("label"), "content": row["text"]}
            sent_at = attributes_of(row).get(SENT_AT)
            return {"chatmessage": said if sent_at is None else {**said, SENT_AT: sent_at}}
        if self._row["type"] == "pairwise":
            if row["label"] not in ("left", "right"):
                raise UnwritableLabelError(f"{self._where} has the label {row['label']!r}: a pair has left and right.")
            return {"selected": row["label"]}
        if self._row["type"] == "text":
            return _answer_value(control, row.get("labels") or [row["text"]])
        self._check_classes(control)
        if self._row["type"] != "span":
            return _answer_value(control, self._classes())
        return {**self._place(control, attributes_of(row)), **_answer_value(control, self._classes())}

    def _place(self, control: Control, attributes: Mapping[str, Any]) -> Record:
        """Return the place of a span: characters or times, and the tool's own terms if the row has them."""
        row = self._row
        if row.get("time") is not None or control.tag == "timeserieslabels":
            start, end = row.get("time"), row.get("time_end", row.get("time"))
            if start is None:
                start, end = _ends(attributes, self._where)
            place: Record = {"start": start, "end": end}
            if control.tag == "timeserieslabels":
                place["instant"] = start == end
            return place | ({"channel": attributes["channel"]} if "channel" in attributes else {})
        characters = {"start": row.get("span_start"), "end": row.get("span_end")}
        if None in characters.values() and not attributes:
            raise UnwritableLabelError(f"{self._where} does not say where it is: give it span_start and span_end.")
        text = {} if row.get("text") is None else {"text": row["text"]}
        if control.tag != "paragraphlabels" and "start" not in attributes:
            return {**characters, **text}
        start, end = _ends(attributes, self._where)
        place = {"start": start, "end": end, **text}
        if "startOffset" in attributes:
            offsets = {name: attributes.get(name) for name in ("startOffset", "endOffset")}
            whole = {} if control.tag == "paragraphlabels" else {"globalOffsets": characters}
            return {**place, **offsets, **whole}
        units = {
            f"{side}Offset": offset if offset is None else units_of(self._paragraph(control, paragraph), offset)
            for (side, offset), paragraph in zip(characters.items(), (start, end), strict=True)
        }
        return {**place, **units}

    def _paragraph(self, control: Control, number: object) -> str:
        media = self._config.find_object(self._row.get("target") or self._config.first_target(control))
        return media.find_paragraph(self._item.data, number) if media is not None else ""

    def _geometry(self, shape: str) -> Record:
        for numbers in (self._row.get("bbox"), *(self._row.get("points") or ())):
            if numbers is not None:
                self._check_inside(numbers)
        value = SHAPES[shape].value
        if value is None or value.write is None:
            raise UnwritableLabelError(f"{self._where} cannot be drawn with {shape} outside of a video.")
        return value.write(self._row, self._aspect)

    def _check_inside(self, numbers: Sequence[float]) -> None:
        """Refuse coordinates outside the media. A rotated box may reach out of it."""
        check_inside(numbers, self._row, may_reach_out=any(row.get("rotation") for row in self._group.rows))


def _own_attributes(control: Control) -> tuple[str, ...]:
    """Return the attributes of a control's labels that no question asks for."""
    places = PLACE_ATTRIBUTES if control.tag.endswith("labels") or control.tag == "taxonomy" else ()
    return (SCORE, NOTE, *places, *((SENT_AT,) if control.tag == "chat" else ()))


def _classes(row: Row) -> list[str]:
    return list(row.get("labels") or ([row["label"]] if row.get("label") is not None else []))


def _ends(attributes: Mapping[str, Any], where: str) -> tuple[Any, Any]:
    """Return the elements or times in which a span starts and ends."""
    if "start" not in attributes:
        raise UnwritableLabelError(
            f"{where} does not say in which paragraph or at which time it is: give it attributes start and end."
        )
    return attributes["start"], attributes.get("end", attributes["start"])


def _answer_value(control: Control, answer: Sequence[Any]) -> Record:
    if control.tag in ("number", "rating", "datetime"):
        return {control.tag: answer[0]}
    if control.tag == "taxonomy":
        return {"taxonomy": [split_path(str(class_)) for class_ in answer]}
    return {{"textarea": "text"}.get(control.tag, control.tag): list(answer)}
