"""Converts the data rows of a Labelbox export to columns of the ``items`` table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from airflow_annotation.labels.arrays import FloatArray
from airflow_annotation.labels.columns import Columns, positive_number, string_column, time_column, whole_number
from airflow_annotation.labels.labelbox.keys import ITEM_KEY, MEDIA_URI, REQUEUED_BY, item_key_of
from airflow_annotation.labels.labelbox.records import (
    Answer,
    DataRowDetails,
    DescribedRow,
    MeasuredLabel,
    MediaAttributes,
    Object,
    Project,
    ProjectDetails,
    TypedRow,
)
from airflow_annotation.labels.media_types import MEDIA_TYPES
from airflow_annotation.labels.odd_values import OddValues
from airflow_annotation.labels.tables import ITEMS

LABELBOX: Final = "labelbox"
"""Key in ``items.data`` for Labelbox's properties of an item for which the table has no column."""

_OURS: Final = (ITEM_KEY, MEDIA_URI, REQUEUED_BY)

_MEDIA_TYPES: Final = {
    "image": "image",
    "video": "video",
    "audio": "audio",
    "text": "text",
    "application/pdf": "pdf",
    "application/vnd.apple.mpegurl": "video",
    "application/vnd.labelbox.conversational": "conversation",
    "text/html": "html",
}
"""Media types by MIME type, or by its part before the slash."""

REVIEW_STATUSES: Final = {"IN_REVIEW": "in_review", "IN_REWORK": "rework", "DONE": "done"}
"""States of Labelbox's workflow after the labeling, as in the tables' ``status``."""

_TILES: Final = re.compile(r"(?<![a-z])tms(?![a-z])")
"""Text in all types of tiled imagery: ``application/vnd.labelbox.tms``, ``x-tms-geo``, ``tms_simple``."""

_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+\Z")

_NO_DETAILS: Final = DataRowDetails()
_NO_PLACE: Final = ProjectDetails()

ProjectPart = Project[Object, Answer]


def item_sizes(rows: Sequence[TypedRow]) -> FloatArray:
    """Return width and height of each row's media in pixels, NaN if not known."""
    media = [row.media_attributes for row in rows]
    sizes = [(positive_number(one.width) or np.nan, positive_number(one.height) or np.nan) for one in media]
    return np.array(sizes, np.float64).reshape(-1, 2)


def frame_rate(row: TypedRow) -> float | None:
    """Return the frames per second of a row's media, None if not known."""
    return positive_number(row.media_attributes.frame_rate)


def item_columns(
    rows: Sequence[TypedRow],
    projects: Sequence[ProjectPart],
    item_url: str,
    media_type: str,
    namespace: str,
    *,
    odd: OddValues,
) -> Columns:
    """Convert data rows to columns, with a row for each.

    :param rows: lines of the export
    :param projects: part of each row in the project
    :param item_url: URL at which an item opens, with ``{item_id}``
    :param media_type: media type of items for which the export has none
    :param namespace: namespace of the global keys
    :param odd: counter of the values that columns cannot hold
    """
    attached = [_attached(row) if row.metadata_fields or row.attachments else {} for row in rows]
    ids = [row.data_row.id for row in rows]
    media = [row.media_attributes for row in rows]
    details = [row.data_row.details or _NO_DETAILS for row in rows]
    references = [_uri(row) for row in rows]
    uris = [_text(facts, MEDIA_URI) or uri for facts, uri in zip(attached, references, strict=True)]
    keys = [_key(row, facts, namespace) for row, facts in zip(rows, attached, strict=True)]
    types = [_media_type(one.mime_type or one.asset_type) or media_type for one in media]
    numbers: dict[str, list[Any]] = {
        "width": [whole_number(one.width, 1) for one in media],
        "height": [whole_number(one.height, 1) for one in media],
        "frame_count": [whole_number(one.frame_count) for one in media],
        "frame_rate": [positive_number(one.frame_rate) for one in media],
    }
    unfit = _unfit(media, numbers, odd)
    return {
        "item_id": pa.array(ids, pa.string()),
        "item_key": pa.array(keys, pa.string()),
        "media_uri": pa.array(uris, pa.string()),
        "media_type": string_column(types),
        **{name: pa.array(values, ITEMS.field(name).type) for name, values in numbers.items()},
        "status": string_column([_status(project) for project in projects]),
        "annotation_count": pa.array([len(project.labels) for project in projects], pa.int32()),
        "prediction_count": pa.array([_count_predictions(row) for row in rows], pa.int32()),
        "agreement": pa.array([_agreement(project) for project in projects], pa.float64()),
        "created_at": time_column([one.created_at for one in details], "created_at", odd),
        "updated_at": time_column([last_change(one) for one in details], "updated_at", odd),
        "item_url": pa.array([item_url.format(item_id=id_) for id_ in ids], pa.string()),
        "data": pa.array(
            [
                _data(
                    row, project, facts, None if reference else _Content(type_, row.data_row.row_data), unfit.get(place)
                )
                for place, (row, project, facts, reference, type_) in enumerate(
                    zip(rows, projects, attached, references, types, strict=True)
                )
            ],
            pa.string(),
        ),
    }


def find_item_key(row: DescribedRow, namespace: str = "") -> str:
    """Return the item key of a data row.

    :param row: line of the export, with its metadata and attachments
    :param namespace: namespace of the global keys
    """
    return _key(row, _attached(row), namespace)


def _key(row: DescribedRow, attached: Mapping[str, Any], namespace: str) -> str:
    global_key = row.data_row.global_key
    given = item_key_of(global_key, namespace) if global_key else row.data_row.external_id
    return _text(attached, ITEM_KEY) or given or _text(attached, MEDIA_URI) or _uri(row) or row.data_row.id


def _attached(row: DescribedRow) -> dict[str, Any]:
    """Return metadata by name, including values that this provider's uploads attached."""
    facts = {field.schema_name: field.value for field in row.metadata_fields}
    for attachment in row.attachments:
        if attachment.name in _OURS:
            facts.setdefault(attachment.name, attachment.value)
    return facts


def _uri(row: DescribedRow) -> str | None:
    """Return the URI of the media; None if the data row is the text itself."""
    row_data = row.data_row.row_data
    return row_data if row_data is not None and _URI.match(row_data) else None


def _media_type(mime_type: str | None) -> str | None:
    """Return the media type of a MIME type, or of Labelbox's own name of an asset's type."""
    name = (mime_type or "").partition(";")[0].strip().lower()
    if _TILES.search(name):
        return "tiles"
    return _MEDIA_TYPES.get(name) or _MEDIA_TYPES.get(name.partition("/")[0])


def _text(facts: Mapping[str, Any], name: str) -> str | None:
    text = facts.get(name)
    return text if isinstance(text, str) else None


def _unfit(
    media: Sequence[MediaAttributes], numbers: Mapping[str, Sequence[Any]], odd: OddValues
) -> dict[int, dict[str, Any]]:
    """Return what Labelbox says of media and no column can hold, by the place of the row.

    :param media: of each row
    :param numbers: values of the columns of the same names, None where there is none that fits
    """
    unfit: dict[int, dict[str, Any]] = {}
    for name, values in numbers.items():
        for place, value in enumerate(values):
            if value is None and (given := getattr(media[place], name)) is not None:
                odd.note(f"media_attributes.{name}")
                unfit.setdefault(place, {})[name] = given
    return unfit


def _status(project: ProjectPart) -> str:
    return item_status(project.labels, project.project_details)


def item_status(labels: Sequence[MeasuredLabel], place: ProjectDetails | None) -> str:
    """Return an item's ``status``.

    :param labels: its labels in the export
    :param place: place in the project's workflow
    """
    place = place or _NO_PLACE
    skipped = sum(label.skipped for label in labels)
    if skipped and skipped == len(labels):
        return "skipped"
    if place.workflow_status in REVIEW_STATUSES:
        return REVIEW_STATUSES[place.workflow_status]
    if not labels:
        return "unlabeled"
    return "labeled" if len(labels) - skipped >= (place.consensus_expected_label_count or 1) else "partial"


def last_change(details: DataRowDetails) -> str | None:
    """Return the time of an item's last change."""
    return details.last_activity_at or details.updated_at


def _agreement(project: ProjectPart) -> float | None:
    """Return the mean consensus score of an item's labels. Each label's score is its consensus with the others."""
    scores = [
        label.performance_details.consensus_score
        for label in project.labels
        if label.performance_details is not None and label.performance_details.consensus_score is not None
    ]
    return fmean(scores) if scores else None


def _count_predictions(row: TypedRow) -> int:
    if not row.experiments:
        return 0
    return sum(len(run.predictions) for experiment in row.experiments.values() for run in experiment.runs.values())


_OF_DATA: Final = frozenset(name for name, type_ in MEDIA_TYPES.items() if type_.is_data)
"""Kinds of media that may be in the data of an item."""


class _Content(NamedTuple):
    """An item without a file.

    :param media_type: the kind
    :param shown: content that people see
    """

    media_type: str
    shown: str | None


def _data(
    row: TypedRow,
    project: ProjectPart,
    attached: Mapping[str, Any],
    content: _Content | None,
    unfit: Mapping[str, Any] | None,
) -> str:
    """Return the shown content without a file, other data that the caller attached, and Labelbox's other properties.

    The key of a text is its kind, as in other tools.
    """
    has_key = content is not None and content.media_type in _OF_DATA
    details, place = row.data_row.details or _NO_DETAILS, project.project_details or _NO_PLACE
    facts = {
        "global_key": row.data_row.global_key,
        "external_id": row.data_row.external_id,
        "row_data": None if content is None or has_key else content.shown,
        "dataset_id": details.dataset_id,
        "dataset_name": details.dataset_name,
        "project_name": project.name,
        "ontology_id": place.ontology_id,
        "batch_id": place.batch_id,
        "batch_name": place.batch_name,
        "priority": place.priority,
        "selected_label_id": place.selected_label_id,
        "attachments": [one for one in row.attachments if one.name not in _OURS] or None,
        "media_attributes": unfit,
    }
    data = {name: value for name, value in attached.items() if name not in _OURS or not isinstance(value, str)}
    shown = {content.media_type: content.shown} if content is not None and has_key else {}
    known = {name: fact for name, fact in facts.items() if fact is not None}
    return _encoder.encode({**shown, **data, LABELBOX: known}).decode()


_encoder = msgspec.json.Encoder()
