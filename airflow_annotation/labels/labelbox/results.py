"""Converts rows of the ``labels`` table to the lines of a Labelbox import, to upload predictions and annotations.

:mod:`airflow_annotation.labels.labelbox.export` converts in the other direction. The format is described at
https://docs.labelbox.com/reference/import-image-annotations and the pages for other media next to it, and the SDK's
``NDJsonConverter`` writes it.

Labelbox has no place for some values. ``parent_label_id``, ``visibility`` and the score of an object in a video are
left out. Labels with other such values are refused.
"""

from __future__ import annotations

import base64
import itertools
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from airflow_annotation.labels.errors import UnwritableLabelError
from airflow_annotation.labels.labelbox.answers import Answers, confidence, find_option, named, said_in
from airflow_annotation.labels.labelbox.documents import groups_of, write_page, write_ranking
from airflow_annotation.labels.labelbox.features import Ontology, Question, Tool
from airflow_annotation.labels.labelbox.kinds import QUESTIONS, TOOLS, kinds_of
from airflow_annotation.labels.labelbox.mask_files import rle_to_color_png
from airflow_annotation.labels.labelbox.tracks import Row, first_frame, last_frame, segments_of
from airflow_annotation.labels.masks import RLE
from airflow_annotation.labels.submissions import SCORE, attributes_of, check_inside, row_name
from airflow_annotation.labels.types import DIRECTION, LABEL_TYPES, LISTS_NO_CLASSES

Record = dict[str, Any]

_WHITE: Final = (255, 255, 255)
_UUIDS: Final = uuid.UUID("5a6f6f21-3d0c-5d57-8f4e-6c61626c6278")


def results_from_labels(
    rows: Iterable[Row],
    ontology: Ontology,
    *,
    global_key: str,
    width: int | None = None,
    height: int | None = None,
    in_sound: bool = False,
) -> list[Record]:
    """Return the lines of an import of one annotation or prediction.

    The same labels give the same lines, with the same ``uuid``, so a repeated import creates no duplicates.

    :param rows: rows of one annotation in their order, as dictionaries by column; columns may be missing. Rows with a
        ``frame`` and the same ``label_id`` are one object or answer in a video
    :param ontology: ontology of the project to which they go
    :param global_key: global key of the item
    :param width: width of the item's media in pixels, which shapes need
    :param height: height of the item's media in pixels
    :param in_sound: whether the item is a sound, in which Labelbox counts milliseconds
    :raises UnwritableLabelError: the ontology has no tool or question for a field or does not have a class, a row has
        several classes where Labelbox allows one, coordinates are outside the media, or Labelbox does not have such
        labels
    """
    for row in rows:
        _check_classes(row)
    writer = _Writer(ontology, global_key, width, height)
    groups: dict[Any, list[Row]] = {}
    moments: dict[str, list[Row]] = {}
    for number, row in enumerate(rows):
        if in_sound and row.get("time") is not None and kinds_of(row["type"], QUESTIONS):
            moments.setdefault(row["field"], []).append(row)
            continue
        timed = row.get("frame") is not None or row.get("tool_frame") is not None
        groups.setdefault((row["field"], row["label_id"]) if timed else number, []).append(row)
    records = [
        record for key, group in groups.items() for record in writer.write(group, in_video=isinstance(key, tuple))
    ]
    return [*records, *itertools.chain.from_iterable(map(writer.write_moments, moments.values()))]


class _Writer:
    """Writes the labels of one item.

    :param ontology: ontology of the project
    :param global_key: global key of the item
    :param width: width of the media in pixels
    :param height: height of the media in pixels
    """

    def __init__(self, ontology: Ontology, global_key: str, width: int | None, height: int | None) -> None:
        self._ontology = ontology
        self._global_key = global_key
        self._size = (width, height) if width and height else None

    def write(self, rows: Sequence[Row], *, in_video: bool) -> Iterator[Record]:
        """Yield the lines of one label: a row, or the rows of a track."""
        row = rows[0]
        type_ = row["type"]
        if kinds_of(type_, QUESTIONS):
            yield from self._write_answers(rows) if in_video else [self._write_answer(row)]
        elif not kinds_of(type_, TOOLS) or (in_video and type_ in ("span", "relation")):
            raise UnwritableLabelError(f"{row_name(row)} is of type {type_}, which cannot be written to Labelbox.")
        elif in_video:
            yield self._write_masks(rows) if "mask_counts" in LABEL_TYPES[type_].needs else self._write_track(rows)
        else:
            yield self._write_object(row)

    # Objects

    def _write_object(self, row: Row) -> Record:
        tool = self._tool(row)
        _check_untimed(row)
        if row["type"] == "relation":
            geometry = self._relationship(row)
        elif row["type"] == "ranking":
            task = write_ranking(row, tool.kind, row_name(row))
            return {**self._head(row), **named(tool), **task}
        elif row["type"] == "span":
            geometry = _entity(row)
        else:
            geometry = self._geometry(row) | write_page(row)[0]
        record = {**self._head(row), **named(tool), **geometry}
        record["classifications"] = Answers(row).of_object(tool.questions)
        return record | confidence(row)

    def _write_track(self, rows: Sequence[Row]) -> Record:
        tool = self._tool(rows[0])
        return {
            **self._head(rows[0]),
            **named(tool),
            "segments": [
                {"keyframes": [self._write_keyframe(frame, row, tool) for frame, row in segment]}
                for segment in segments_of(rows)
            ],
        }

    def _write_keyframe(self, frame: int, row: Row, tool: Tool) -> Record:
        return {"frame": frame, **self._geometry(row), "classifications": Answers(row).of_object(tool.questions)}

    def _write_masks(self, rows: Sequence[Row]) -> Record:
        tool = self._tool(rows[0])
        frames = []
        for row in rows:
            if set(attributes_of(row)) - {SCORE}:
                raise UnwritableLabelError(
                    f"{row_name(row)} has attributes, which Labelbox imports for no mask in a video."
                )
            image = base64.b64encode(rle_to_color_png(self._rle(row), _WHITE)).decode()
            frames += [{"index": frame, "imBytes": image} for frame in range(first_frame(row), last_frame(row) + 1)]
        instance = {"colorRGB": list(_WHITE), **named(tool)}
        return {**self._head(rows[0]), "masks": {"frames": frames, "instances": [instance]}}

    def _tool(self, row: Row) -> Tool:
        drawing = [tool for tool in self._ontology.tools if tool.field == row["field"]]
        if not drawing:
            known = ", ".join(sorted({tool.field for tool in self._ontology.tools})) or "none"
            raise UnwritableLabelError(
                f"{row_name(row)}: the project draws no such field. Fields that it draws: {known}."
            )
        if row.get("label") is None and len(drawing) > 1:
            raise UnwritableLabelError(f"{row_name(row)} has no class of the project's.")
        tool = next((tool for tool in drawing if row.get("label") in (tool.label, None)), None)
        if tool is None:
            raise UnwritableLabelError(
                f"{row_name(row)} has the class {row['label']!r}, which the project does not have."
            )
        if tool.kind not in kinds_of(row["type"], TOOLS):
            raise UnwritableLabelError(
                f"{row_name(row)} is of type {row['type']}, and the project draws the field with the tool {tool.kind}."
            )
        return tool

    def _geometry(self, row: Row) -> Record:
        if row.get("mask_size"):
            self._rle(row)
        write = TOOLS[kinds_of(row["type"], TOOLS)[0]].write
        if write is None:
            raise UnwritableLabelError(f"{row_name(row)} is of type {row['type']}, which is not drawn in Labelbox.")
        return write(row, lambda numbers: self._pixels(numbers, row))

    def _pixels(self, numbers: Sequence[float], row: Row) -> list[float]:
        size = write_page(row)[1] or self._size
        if size is None:
            raise UnwritableLabelError(f"{row_name(row)}: the width and height of its media in pixels are not known.")
        check_inside(numbers, row)
        return [number * side for number, side in zip(numbers, size * 2, strict=False)]

    def _rle(self, row: Row) -> RLE:
        height, width = row["mask_size"]
        if self._size is not None and self._size != (width, height):
            own = "{} x {}".format(*self._size)
            raise UnwritableLabelError(f"{row_name(row)} has a mask of {width} x {height} pixels; its media has {own}.")
        return RLE((height, width), row["mask_counts"])

    def _relationship(self, row: Row) -> Record:
        ends = {"source": row["from_label_id"], "target": row["to_label_id"]}
        kind = "bidirectional" if attributes_of(row).get(DIRECTION) == "bi" else "unidirectional"
        return {"relationship": {**{end: self._uuid(row, id_) for end, id_ in ends.items()}, "type": kind}}

    # Answers

    def _write_answer(self, row: Row) -> Record:
        _check_untimed(row)
        question = self._question(row)
        record = {**self._head(row), **named(question), "answer": Answers(row).of_row(question)}
        if row.get("target") is not None:
            record["messageId"] = row["target"]
        # A written answer has its confidence next to it, a chosen answer in each choice: see Answers.of_row.
        return record | (confidence(row) if question.kind == "text" else {})

    def _write_answers(self, rows: Sequence[Row]) -> Iterator[Record]:
        """Yield a line for each different answer, with its frames."""
        question = self._question(rows[0])
        if question.scope != "index":
            raise UnwritableLabelError(
                f"{row_name(rows[0])} is of some frames, and the project asks it of whole videos."
            )
        answers: dict[bytes, tuple[Any, list[Record]]] = {}
        for row in rows:
            answer = Answers(row).of_row(question)
            _, frames = answers.setdefault(msgspec.json.encode(answer), (answer, []))
            frames.append({"start": first_frame(row), "end": last_frame(row)})
        name = named(question)
        if question.kind == "text":
            texts = [{"value": answer, "frames": frames} for answer, frames in answers.values()]
            yield {**self._head(rows[0]), **name, "answer": texts}
            return
        for number, (answer, frames) in enumerate(answers.values()):
            head = self._head(rows[0], f"{rows[0]['label_id']}.{number}" if number else None)
            yield {**head, **name, "answer": answer, "frames": frames}

    def write_moments(self, rows: Sequence[Row]) -> Iterator[Record]:
        """Yield the lines of the answers to one question about moments of a sound, with their milliseconds."""
        question = self._question(rows[0])
        frames: dict[str, list[Record]] = {}
        for row in rows:
            if self._question(row).scope != "index":
                raise UnwritableLabelError(
                    f"{row_name(row)} is of some seconds, and the project asks it of whole sounds: make the field "
                    "timed."
                )
            if set(attributes_of(row)) - {SCORE}:
                raise UnwritableLabelError(
                    f"{row_name(row)} has attributes, which Labelbox imports for no moment of a sound."
                )
            start, end = row["time"], row["time"] if row.get("time_end") is None else row["time_end"]
            for answer in said_in(row):
                frames.setdefault(answer, []).append({"start": round(start * 1000), "end": round(end * 1000)})
        answers = [self._moment(question, answer, rows[0]) | {"frames": held} for answer, held in frames.items()]
        for number, some in enumerate([[one] for one in answers] if question.kind == "radio" else [answers]):
            head = self._head(rows[0], f"{rows[0]['label_id']}.{number}" if number else None)
            yield {**head, **named(question), "answer": some}

    def _moment(self, question: Question, answer: str, row: Row) -> Record:
        if question.kind == "text":
            return {"value": answer}
        return named(find_option(question, answer, row))

    def _question(self, row: Row) -> Question:
        question = self._ontology.questions.get(row["field"])
        if question is None:
            raise UnwritableLabelError(
                f"{row_name(row)}: the project has no such question. "
                f"Its questions: {', '.join(self._ontology.questions) or 'none'}."
            )
        if question.kind not in kinds_of(row["type"], QUESTIONS):
            raise UnwritableLabelError(
                f"{row_name(row)} is of type {row['type']}, and the project asks for it with a {question.type}."
            )
        return question

    # Names

    def _head(self, row: Row, label_id: str | None = None) -> Record:
        return {"uuid": self._uuid(row, label_id or row["label_id"]), "dataRow": {"globalKey": self._global_key}}

    def _uuid(self, row: Row, label_id: str) -> str:
        return str(uuid.uuid5(_UUIDS, "\n".join([self._global_key, row.get("annotation_id") or "", label_id])))


def _check_classes(row: Row) -> None:
    """Check that a row has only one class if Labelbox allows only one: an object has one tool, a radio one choice.

    :raises UnwritableLabelError: it has several
    """
    classes = list(dict.fromkeys(row.get("labels") or ()))
    if len(classes) > 1 and row["type"] not in ("classifications", *LISTS_NO_CLASSES):
        raise UnwritableLabelError(
            f"{row_name(row)} has the classes {', '.join(map(repr, classes))}, and Labelbox has one for a label of "
            f"type {row['type']}: make it a label of each."
        )


def _check_untimed(row: Row) -> None:
    if row.get("time") is not None:
        raise UnwritableLabelError(
            f"{row_name(row)} is of some seconds, and Labelbox counts frames: it does not know the frame rate of the "
            "item. Give it frame, from 0."
        )


def _entity(row: Row) -> Record:
    """Return a span. Labelbox's end is the last character, the table's end is the one after it."""
    if (words := groups_of(row)) is not None:
        return words
    if row.get("span_start") is None or row.get("span_end") is None:
        raise UnwritableLabelError(f"{row_name(row)} does not say where it is: give it span_start and span_end.")
    if row["span_end"] <= row["span_start"]:
        raise UnwritableLabelError(
            f"{row_name(row)} marks no character: its span_start is {row['span_start']}, "
            f"its span_end {row['span_end']}."
        )
    location = {"start": row["span_start"], "end": row["span_end"] - 1}
    message = {"messageId": row["target"]} if row.get("target") is not None else {}
    return {"location": location, **message}
