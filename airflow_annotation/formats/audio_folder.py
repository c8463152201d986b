"""A folder of sounds with their transcripts: https://huggingface.co/docs/datasets/audio_dataset#audiofolder.

::

    <split>/metadata.jsonl    one sound in each line
    <split>/<name>            place of the sounds
    examples.parquet          which line is of which item

``datasets.load_dataset("audiofolder", data_dir=...)`` reads it once the sounds are there; ``include_media="files"``
puts them there. Its columns are ``transcription``, ``item_key``, each other answer about the whole sound (null for
none), and, if segments are labeled, ``segments``: a list with ``start`` and ``end`` in seconds, ``label`` and ``text``.

The transcription is the answer to the only field of text, or to the one that ``transcription`` names. If there is no
answer, it is the text of the segments, in the order of their start. A sound that has neither is left out and counted.
With ``annotations="all"``, a sound appears once for each submission.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats.dataset_context import DatasetContext
from airflow_annotation.formats.dataset_options import DatasetOptions
from airflow_annotation.formats.examples import Example, MakeExamples
from airflow_annotation.formats.image_names import ImageNames
from airflow_annotation.formats.labeled_items import (
    ANSWER_TYPES,
    LabeledItem,
    Submission,
    answer_fields,
    check_columns,
    label_types,
    read_answers,
)
from airflow_annotation.formats.texts import SPAN
from airflow_annotation.labels.submissions import attributes_of

TYPES: Final = frozenset({SPAN}) | ANSWER_TYPES
_AUDIO: Final = "audio"
_TRANSCRIPTION: Final = "transcription"
_SEGMENTS: Final = "segments"
_COLUMNS: Final = ("file_name", _TRANSCRIPTION, "item_key", _SEGMENTS, "annotation_id")


class AudioFolderOptions(DatasetOptions, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options of an audio folder.

    :param transcription: the field with the transcripts, or the attribute of segments; by default the only one of text
    """

    transcription: str | None = None


def media_path(item: LabeledItem, context: DatasetContext) -> str:
    """Return the place of a sound in the dataset.

    :raises AnnotationError: the item is no sound
    """
    if item.media_type != _AUDIO or item.media_uri is None:
        what = f"is of type {item.media_type}" if item.media_type != _AUDIO else "has no file"
        raise AnnotationError(f"Item {item.item_key!r} {what}, and an audio folder is of sounds.")
    names = ImageNames(find_suffix=None if context.media is None else context.media.find_suffix)
    return f"{item.split}/{names.item_name(item.item_id, item.item_key, item.media_uri)}"


def start(context: DatasetContext) -> MakeExamples:
    """Return a function that makes the line of a sound.

    :raises AnnotationError: it is not clear which field has the transcripts, or a field has the name of another column
    """
    options: AudioFolderOptions = context.options
    answers = answer_fields(context.schema, options)
    texts = [name for name, type_ in answers.items() if type_ == "text"]
    if options.transcription is None and len(texts) > 1:
        raise AnnotationError(
            f"The fields {', '.join(map(repr, texts))} are of text: say which one has the transcripts with "
            'dataset_options={"transcription": …}.'
        )
    field = options.transcription or next(iter(texts), None)
    attributes = {name for one in context.schema.fields.values() for name in one.attributes}
    if texts and field not in {*context.schema.fields, *attributes}:
        raise AnnotationError(
            f"dataset_options names the transcription {field!r}, which is no field of the label schema and no "
            f"attribute of one. Fields of text: {', '.join(map(repr, texts))}."
        )
    if field is not None:
        answers[field] = "text"
    check_columns([name for name in answers if name != field], _COLUMNS)
    has_segments = any(SPAN in label_types(one) for one in context.schema.fields.values())

    def make(item: LabeledItem, submission: Submission) -> Iterator[Example]:
        given = read_answers(submission, answers, context.left_out)
        transcription = given.pop(field, None) if field is not None else None
        segments = _segments(submission, options.transcription, context)
        if transcription is None:
            transcription = " ".join(segment["text"] for segment in segments if segment["text"]) or None
        if transcription is None and submission.annotation_id is not None:
            context.left_out["sounds without a transcription"] += 1
            return
        record = {"file_name": media_path(item, context).removeprefix(f"{item.split}/"), _TRANSCRIPTION: transcription}
        record |= {"item_key": item.item_key, **given}
        if has_segments:
            record[_SEGMENTS] = segments
        yield Example(msgspec.json.encode(record).decode() + "\n", (transcription is not None) + len(segments))

    return make


def _segments(submission: Submission, attribute: str | None, context: DatasetContext) -> list[dict[str, Any]]:
    """Return the labeled parts of a sound in the order of their start."""
    segments = []
    for row in submission.labels:
        if row["type"] != SPAN:
            continue
        if row["time"] is None or row["time_end"] is None:
            context.left_out["segments whose time is not known"] += 1
            continue
        text = _said(attributes_of(row), attribute)
        for label in row["labels"] or [row["label"]]:
            segments.append({"start": row["time"], "end": row["time_end"], "label": label, "text": text})
            text = None  # the text is used once, even if the segment has several classes
    return sorted(segments, key=lambda segment: (segment["start"], segment["end"]))


def _said(attributes: dict[str, Any], attribute: str | None) -> str | None:
    """Return the text of a segment: that of the attribute, or the only text among its attributes."""
    texts = {
        name: "\n".join(value) if isinstance(value, list) else value
        for name, value in attributes.items()
        if isinstance(value, str) or (isinstance(value, list) and all(isinstance(line, str) for line in value))
    }
    if attribute is not None:
        return texts.get(attribute)
    return next(iter(texts.values())) if len(texts) == 1 else None
