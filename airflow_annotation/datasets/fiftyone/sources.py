"""Read samples and labels of FiftyOne's datasets to upload them to a labeling tool."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from airflow_annotation.datasets.fiftyone.opening import View, open_dataset, open_media_view, parts_of
from airflow_annotation.datasets.fiftyone.values import (
    FRAMES,
    field_class,
    image_size,
    mask_targets,
    to_document,
    values_of,
)
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.errors import LabelRowError
from airflow_annotation.labels.fiftyone.documents import CLASS_OF_FIELD
from airflow_annotation.labels.fiftyone.rows import INDEX, Asked, rows_of
from airflow_annotation.labels.submissions import Row

TRACK: Final = "track-"
"""Prefix of the ids of tracks in the tool, before FiftyOne's number of the track."""


@dataclass(frozen=True, eq=False)
class FiftyOneMedia:
    """Rows for ``UploadMediaOperator(media=…)``: see :func:`fiftyone_media`. Reads when it is called or iterated."""

    dataset: Any
    view: View | None
    media_field: str
    fields: Sequence[str]

    def __call__(self) -> Iterator[Row]:
        """Read the dataset."""
        return iter(self)

    def __iter__(self) -> Iterator[Row]:
        view = open_media_view(open_dataset(self.dataset), self.view)
        metadata = ["width", "height"]
        if view.media_type == "video":
            metadata = ["frame_width", "frame_height", "total_frame_count", "frame_rate"]
        keys = ["item_key", "media", "width", "height", "frame_count", "frame_rate"]
        names = ["id", self.media_field, *(f"metadata.{name}" for name in metadata)]
        for part in parts_of(view):
            values = part.values([*names, *self.fields])
            for row in zip(*values, strict=True):
                yield dict(zip([*keys[: len(names)], *self.fields], row, strict=True))


@dataclass(frozen=True, eq=False)
class FiftyOneLabels:
    """Rows for ``UploadPredictionsOperator(labels=…)``: see :func:`fiftyone_labels`. Reads when called or iterated."""

    dataset: Any
    fields: Mapping[str, str]
    view: View | None
    label_types: Mapping[str, str]
    attributes: Collection[str]

    def __call__(self) -> Iterator[Row]:
        """Read the dataset."""
        return iter(self)

    def __iter__(self) -> Iterator[Row]:
        dataset = open_dataset(self.dataset)
        view = open_media_view(dataset, self.view)
        _check_fields(dataset, self.fields)
        needs_size = any(field_class(dataset, name) == "Segmentation" for name in self.fields)
        needs_size |= "instances" in self.label_types.values()
        for part in parts_of(view):
            for sample in part.select_fields([*self.fields]).iter_samples(progress=False):
                yield from self._rows(dataset, sample, image_size(sample) if needs_size else None)

    def _rows(self, dataset: Any, sample: Any, size: tuple[int, int] | None) -> Iterator[Row]:
        rows: list[Row] = []
        empty = True
        for name, field in self.fields.items():
            asked = Asked(
                label_type=self.label_types.get(name),
                attributes=self.attributes,
                size=size,
                mask_targets=mask_targets(dataset, name),
            )
            for value, more in values_of(sample, name):
                empty &= value is None
                try:
                    rows += [_of_track({**row, **more}) for row in rows_of(to_document(value), field, asked)]
                except LabelRowError as error:
                    raise AnnotationError(f"Sample {sample.id} ({sample.filepath}), {name!r}: {error}") from error
        for row in rows:
            yield {"item_key": sample.id, **row}
        if not rows and not empty:
            yield {"item_key": sample.id}  # the sample was searched, and nothing was found


def fiftyone_media(
    dataset: Any, *, view: View | None = None, media_field: str = "filepath", fields: Sequence[str] = ()
) -> FiftyOneMedia:
    """Return the samples of a FiftyOne dataset as media for ``UploadMediaOperator``; the sample's id is the item key.

    Nothing is read before the task runs. The dataset is read in parts.

    :param dataset: the dataset's name, or in a task the dataset
    :param view: the part of the dataset to upload: the name of a saved view, a function that takes the dataset and
        returns a view, the dotted path of one, or in a task a view
    :param media_field: the field that holds the file
    :param fields: other fields to upload as the item's data
    """
    return FiftyOneMedia(dataset, view, media_field, tuple(fields))


def fiftyone_labels(
    dataset: Any,
    fields: str | Sequence[str] | Mapping[str, str],
    *,
    view: View | None = None,
    label_types: Mapping[str, str] | None = None,
    attributes: Collection[str] = (),
) -> FiftyOneLabels:
    """Return labels of a FiftyOne dataset for ``UploadPredictionsOperator``, for people to add to, edit and delete.

    The ids of labels are uploaded if the tool keeps ids. A sample whose fields hold no label counts as one in which
    nothing was found, unless all these fields are None. Nothing is read before the task runs, and the dataset is read
    in parts.

    :param dataset: the dataset's name, or in a task the dataset
    :param fields: the field of the labels, or several; or a dictionary of the project's fields by those of FiftyOne. A
        field of a video's frames is named as ``frames.detections``, and is called ``detections`` in the project
    :param view: view, as for :func:`fiftyone_media`. If it filters labels, only the remaining ones are uploaded
    :param label_types: the types of the project's fields by those of FiftyOne, if the class does not say it:
        ``instances`` for detections to upload as masks, ``polygons`` or ``polylines`` for all polylines of a field
    :param attributes: names of the attributes to upload; the project's label schema has to ask for them
    :raises ValueError: there is no field, or a type does not exist
    """
    names = [fields] if isinstance(fields, str) else fields
    by_name = dict(names) if isinstance(names, Mapping) else {name: name.removeprefix(FRAMES) for name in names}
    if not by_name:
        raise ValueError("fiftyone_labels: name at least one field.")
    types = dict(label_types or {})
    for name, type_ in types.items():
        if name not in by_name or type_ not in CLASS_OF_FIELD:
            raise ValueError(
                f"label_types={{{name!r}: {type_!r}}}: it takes fields that go ({', '.join(by_name)}), and their types "
                f"({', '.join(CLASS_OF_FIELD)})."
            )
    return FiftyOneLabels(dataset, by_name, view, types, frozenset(attributes))


def _of_track(row: Row) -> Row:
    """Return a row whose label id is that of its track, so that a track is one label of the tool."""
    index = row.pop(INDEX, None)
    if index is not None and "is_keyframe" in row:
        row |= {"label_id": f"{TRACK}{index}", "track_id": f"{TRACK}{index}"}
    return row


def _check_fields(dataset: Any, names: Iterable[str]) -> None:
    """Check that a dataset has some fields.

    :raises AnnotationError: a field does not exist
    """
    for name in names:
        if field_class(dataset, name) is None:
            fields = [*dataset.get_field_schema()]
            fields += [f"{FRAMES}{field}" for field in (dataset.get_frame_field_schema() or ())]
            raise AnnotationError(
                f"FiftyOne's dataset {dataset.name!r} has no field {name!r}. It has: {', '.join(fields)}."
            )
