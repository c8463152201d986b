"""What every transfer of annotations has in common: reading a project, and shaping its columns."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.annotation import AnnotationChoice, AnnotationProject, AnnotatorNames
from airflow_annotation.labels.geometry import labels_to_pixels
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.labels.video import Frames
from airflow_annotation.project_task import AnnotationProjectTask
from airflow_annotation.transfers.media import MediaTask

if TYPE_CHECKING:
    from airflow.sdk import Context

Coordinates = Literal["relative", "pixels"]

PROGRESS_INTERVAL: Final = 30.0
"""Seconds between two lines of progress in the log."""


class AnnotationsTransfer(AnnotationProjectTask, MediaTask):
    """Base of the transfers: reads the whole project as label tables, and lands them in :meth:`land`.

    Parameters for media are those of :class:`~airflow_annotation.transfers.media.MediaTask`.

    :param annotations: ``all`` submissions, the ``latest`` of each item, or those marked ``ground_truth``; every item
        is landed in any case
    :param coordinates: ``relative`` (0..1 of the media's width and height) or ``pixels``, for ``bbox`` and ``points``;
        pixels need the size of every item that has such labels
    :param field_mapping: new names of fields, by the name in the label schema; fields may be merged. (templated)
    :param include_predictions: also land the models' predictions
    :param annotators: name people by their ``email``, or by the tool's opaque ``id``
    :param frames: of objects in videos, land the ``keyframes`` that people set, or ``all`` frames in which they are
        shown, those between interpolated as the tool does
    :param keep_raw: keep the tool's own record of every label in ``labels.raw``
    """

    template_fields: Sequence[str] = (
        *AnnotationProjectTask.template_fields,
        *MediaTask.template_fields,
        "field_mapping",
    )

    _stopped = False

    def __init__(
        self,
        *,
        annotations: AnnotationChoice = "all",
        coordinates: Coordinates = "relative",
        field_mapping: dict[str, str] | None = None,
        include_predictions: bool = False,
        annotators: AnnotatorNames = "email",
        frames: Frames = "keyframes",
        keep_raw: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value, choices in (
            ("annotations", annotations, get_args(AnnotationChoice)),
            ("coordinates", coordinates, get_args(Coordinates)),
            ("annotators", annotators, get_args(AnnotatorNames)),
            ("frames", frames, get_args(Frames)),
        ):
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}.")
        self.annotations = annotations
        self.coordinates = coordinates
        self.field_mapping = field_mapping
        self.include_predictions = include_predictions
        self.annotators = annotators
        self.frames = frames
        self.keep_raw = keep_raw

    @abstractmethod
    def land(
        self, project: AnnotationProject, label_schema: LabelSchema, batches: Iterable[LabelTables]
    ) -> dict[str, Any]:
        """Write the project's rows, all or nothing, and return where they are: ``rows`` by table, and what else helps.

        :param project: the project
        :param label_schema: its schema as it is in the tool
        :param batches: the whole project, read while they are consumed
        """

    def execute(self, context: Context) -> dict[str, Any]:
        """Land the project and return a small dict: its URI, where it landed, rows by table, schema digest, seconds."""
        started = time.monotonic()
        project = self.find_project(context)
        label_schema = self.hook.get_label_schema(project.id)
        mapping = _check_field_mapping(self.field_mapping, label_schema)
        batches = self.with_media(self._read_batches(project, mapping), self.hook.media_request)
        landed = self.land(project, label_schema, batches)
        seconds = round(time.monotonic() - started, 3)
        self.log.info("Landed %s in %.1f s: %s", project.uri, seconds, landed["rows"])
        return {
            "project": project.uri,
            **landed,
            **self.landed_media,
            "label_schema_digest": label_schema.digest(),
            "seconds": seconds,
        }

    @property
    def settings(self) -> dict[str, Any]:
        """What decides which rows a landing has, and how they look; kept with the landed data."""
        return {
            "annotations": self.annotations,
            "coordinates": self.coordinates,
            "field_mapping": self.field_mapping or {},
            "include_predictions": self.include_predictions,
            "annotators": self.annotators,
            "frames": self.frames,
            "keep_raw": self.keep_raw,
        }

    def on_kill(self) -> None:
        """Stop at the next batch; the last landing stays as it is."""
        self._stopped = True
        super().on_kill()

    def check_not_stopped(self) -> None:
        """End a landing that Airflow has asked to stop.

        :raises AnnotationError: it has
        """
        if self._stopped:
            raise AnnotationError(f"The landing was stopped (task {self.task_id}); the last landing is as it was.")

    def _read_batches(self, project: AnnotationProject, mapping: dict[str, str]) -> Iterator[LabelTables]:
        batches = self.hook.read_tables(
            project.id,
            annotations=self.annotations,
            include_predictions=self.include_predictions,
            annotators=self.annotators,
            frames=self.frames,
            keep_raw=self.keep_raw,
        )
        started = logged = time.monotonic()
        done = 0
        for batch in batches:
            self.check_not_stopped()
            labels = batch.labels
            if mapping:
                labels = _rename_fields(labels, mapping)
            if self.coordinates == "pixels":
                labels = labels_to_pixels(labels, batch.items)
            yield batch._replace(labels=labels)
            done += batch.items.num_rows
            if (now := time.monotonic()) - logged >= PROGRESS_INTERVAL:
                total = self.hook.get_progress(project.id).total
                self.log.info("Read %d of %d items, %.0f a second", done, total, done / (now - started))
                logged = now


def _check_field_mapping(mapping: dict[str, str] | None, label_schema: LabelSchema) -> dict[str, str]:
    if not mapping:
        return {}
    if not isinstance(mapping, dict) or not all(isinstance(name, str) and name for name in mapping.values()):
        raise AnnotationError(f"field_mapping must be a dictionary of new names by field, not {mapping!r}.")
    if unknown := sorted(set(mapping) - set(label_schema.fields)):
        raise AnnotationError(
            f"field_mapping names {', '.join(map(repr, unknown))}, but the project's label schema has only "
            f"{', '.join(map(repr, label_schema.fields))}."
        )
    return mapping


def _rename_fields(labels: pa.RecordBatch, mapping: dict[str, str]) -> pa.RecordBatch:
    index = labels.schema.get_field_index("field")
    fields = labels.column(index)
    place = pc.index_in(fields, value_set=pa.array(mapping.keys(), pa.string()))
    renamed = pc.coalesce(pc.take(pa.array(mapping.values(), pa.string()), place), fields)
    return labels.set_column(index, labels.schema.field(index), renamed)
