"""Operators that make and delete annotation projects."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from airflow_annotation.arguments import as_text, is_templated
from airflow_annotation.callables import keep_callable
from airflow_annotation.exceptions import AnnotationError, AnnotationProjectNotFoundError
from airflow_annotation.given_labels import open_labels
from airflow_annotation.hooks.annotation import IfExists, project_id_of
from airflow_annotation.hooks.media_types import check_media
from airflow_annotation.labels.errors import LabelSchemaError
from airflow_annotation.labels.media_types import ProjectMedia
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.schema_completion import complete_schema
from airflow_annotation.project_task import (
    AnnotationProjectTask,
    AnnotationTask,
    ProjectTaskParameters,
    TaskParameters,
    default_run_key,
)

if TYPE_CHECKING:
    from airflow.sdk import BaseOperatorLink, Context, XComArg
    from typing_extensions import Unpack

SHORTEST_TITLE = 3
"""Characters. Label Studio takes no shorter title."""


class CreateAnnotationProjectOperator(AnnotationTask):
    """Make the project of an annotation run in the labeling tool, or find it if it exists already.

    Exactly one of ``label_schema``, ``label_config``, ``copy_from``, ``labels`` and the short form ``label_field`` says
    what to label. The exception is ``labels``, which may also be combined with ``label_schema`` or ``label_field``;
    these may then leave out what the labels tell. What is known by then is checked when the DAG is parsed.

    A retried or cleared task finds the project that it made. A mapped task makes a project for each map index. If a DAG
    has several of these operators, give their runs different ``run_key`` values.

    Returns the project as a small dictionary with ``id``, ``title``, ``url``, ``uri``, ``tool``, ``run_key``,
    ``created`` and ``created_at``.

    :param title: the project's title, 3 characters or more; by default, the DAG's id and the run's date. (templated)
    :param label_schema: what to label, as :class:`~airflow_annotation.labels.schema.LabelSchema`, as its dictionary, or
        as JSON text. (templated)
    :param label_config: what to label, in the tool's own form: for Label Studio, the labeling config's XML. (templated)
    :param copy_from: a project that asks for the same already: its id, or what this operator returned for it.
        (templated)
    :param labels: labels to correct, as ``labels`` of
        :class:`~airflow_annotation.operators.predictions.UploadPredictionsOperator`. Fields, types, classes and
        attributes come from the landed dataset, else from the labels themselves. With a ``label_schema``, fields may
        leave out what the labels tell, as in ``{"objects": {}, "weather": {"type": "text"}}``; the schema may also have
        new fields. (templated)
    :param label_field: short form for a schema of one field: its name. (templated)
    :param label_type: short form: the field's type, for example ``detections``; by default the type that ``labels``
        have. (templated)
    :param classes: the classes to choose from, in the short form, or in all fields of ``label_schema`` that have no
        classes of their own. (templated)
    :param mask_targets: short form, for ``segmentation``: the class of each pixel value. (templated)
    :param media_type: the items' kind of media, for a ``label_schema`` or the short form: ``image``, ``images``
        (several in an item), ``video``, ``audio``, ``text``, ``html``, ``pdf``, ``time_series``, ``conversation`` or
        ``rows``, if the tool supports it; by default what the schema requires, else ``image``. (templated)
    :param frame_rate: frame rate of videos, in frames per second. Label Studio's player uses one rate for all videos of
        a project, 24 by default; Labelbox knows the rate of each file. (templated)
    :param columns: columns of time series: the column of the time, then those of the values; by default ``time`` and
        ``value``. (templated)
    :param description: what the project is about. (templated)
    :param project_settings: the tool's own settings of a project. An unknown setting is an error that lists the known
        ones. (templated)
    :param if_exists: what to do if the run has its project already: ``reuse`` it as it is, ``fail``, or ``update`` it
        to the arguments
    :param run_key: the key of the annotation run; by default ``<dag_id>/<run_id>`` and, in a mapped task,
        ``/<map_index>``. (templated)
    :param annotation_conn_id: the connection of the labeling tool; its type decides which tool it is. (templated)
    :raises ValueError: an argument is invalid
    :raises AnnotationError: the labeling tool cannot be reached or refuses the project
    """

    template_fields: Sequence[str] = (
        *AnnotationTask.template_fields,
        "title",
        "label_schema",
        "label_config",
        "copy_from",
        "labels",
        "label_field",
        "label_type",
        "classes",
        "mask_targets",
        "media_type",
        "frame_rate",
        "columns",
        "description",
        "project_settings",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "label_schema": "json",
        "label_config": "html",
        "project_settings": "json",
    }

    def __init__(
        self,
        *,
        title: str | None = None,
        label_schema: LabelSchema | Mapping[str, Any] | str | XComArg | None = None,
        label_config: str | None = None,
        copy_from: str | int | Mapping[str, Any] | XComArg | None = None,
        labels: Any = None,
        label_field: str | None = None,
        label_type: str | None = None,
        classes: Sequence[str] | None = None,
        mask_targets: Mapping[int | str, str] | None = None,
        media_type: str | None = None,
        frame_rate: float | str | None = None,
        columns: Sequence[str] | None = None,
        description: str = "",
        project_settings: Mapping[str, Any] | None = None,
        if_exists: IfExists = "reuse",
        **kwargs: Unpack[TaskParameters],
    ) -> None:
        super().__init__(**kwargs)
        self.title = title
        self.label_schema: Any = label_schema.to_dict() if isinstance(label_schema, LabelSchema) else label_schema
        self.label_config = label_config
        self.copy_from: Any = copy_from
        self.labels = keep_callable(labels)
        self.label_field = label_field
        self.label_type = label_type
        self.classes = classes
        self.mask_targets = mask_targets
        self.media_type = media_type
        self.frame_rate = frame_rate
        self.columns = columns
        self.description = description
        self.project_settings = project_settings
        self.if_exists = if_exists
        self._check_what_to_label()
        if not is_templated(title):
            self._check_title(title)
        if not any(map(is_templated, (self.label_schema, label_field, label_type, classes, mask_targets))):
            self._check_media(self._schema())
        self._check_run_key()

    def execute(self, context: Context) -> dict[str, Any]:
        """Make the project, or find it."""
        self._check_title(self.title)
        media = self._media()
        known = None if self.labels is None else open_labels(self.labels, context).find_schema()
        project = self.hook.create_project(
            title=self.title or self._default_title(context),
            run_key=self.run_key or default_run_key(context),
            label_schema=self._schema(known, rendered=True),
            label_config=self.label_config,
            copy_from=None if self.copy_from is None else project_id_of(self.copy_from),
            media_type=media.media_type,
            frame_rate=media.frame_rate,
            columns=media.columns,
            description=self.description,
            settings=dict(self.project_settings or {}),
            if_exists=self.if_exists,
        )
        self.remember_project(context, project)
        return dict(msgspec.to_builtins(project))

    def _check_what_to_label(self) -> None:
        short_form: dict[str, Any] = {"label_type": self.label_type, "mask_targets": self.mask_targets}
        if self.label_schema is None:
            short_form["classes"] = self.classes
        if self.label_field is None:
            for name, value in short_form.items():
                if value is not None:
                    raise ValueError(f"{name} describes label_field, which is missing.")
        elif self.label_type is None and self.labels is None:
            raise ValueError(f"label_field {self.label_field!r} needs its label_type, for example 'detections'.")
        ways = ("label_schema", "label_config", "copy_from", "labels", "label_field")
        given = [name for name in ways if getattr(self, name) is not None]
        if len(given) != 1 and set(given) not in ({"labels", "label_schema"}, {"labels", "label_field"}):
            raise ValueError(
                f"Say what to label by exactly one of {', '.join(ways)}; got {' and '.join(given) or 'none'}."
            )

    def _check_title(self, title: str | None) -> None:
        if title is not None and len(" ".join(title.split())) < SHORTEST_TITLE:
            raise ValueError(f"The title {title!r} is too short: give {SHORTEST_TITLE} characters or more.")

    def _check_run_key(self) -> None:
        """Refuse two operators with one run: they would share a project silently, even if titles and schemas differ."""
        if self.run_key is not None or not self.has_dag():  # type: ignore[no-untyped-call] # Airflow's is untyped
            return
        # While Airflow makes this task of a mapped one, it is the mapped one that is in the DAG.
        mapped = _has_map_index(self.dag.get_task(self.task_id))
        for task in self.dag.tasks:
            if task.task_id != self.task_id and _makes_default_run(task) and _has_map_index(task) == mapped:
                raise ValueError(
                    f"Tasks {task.task_id!r} and {self.task_id!r} both make the project of this DAG's annotation run. "
                    "Give them a run_key each, and project=<task>.output to the tasks after them."
                )

    def _media(self) -> ProjectMedia:
        """Return what the items are.

        :raises ValueError: the frame rate is not a number above 0
        """
        try:
            rate = None if self.frame_rate is None else float(self.frame_rate)
        except ValueError:
            rate = 0.0
        if rate is not None and not 0 < rate < math.inf:
            raise ValueError(f"frame_rate is {self.frame_rate!r}: pass frames per second, above 0.")
        return ProjectMedia(media_type=self.media_type, frame_rate=rate, columns=tuple(self.columns or ()))

    def _check_media(self, schema: LabelSchema | None) -> None:
        """Check what is known of the media when the DAG is parsed.

        :raises ValueError: no tool has this kind of media, or no tool can ask for this schema on it
        """
        if any(map(is_templated, (self.media_type, self.frame_rate, self.columns, self.annotation_conn_id))):
            return
        media = self._media()
        if schema is None:
            if self.label_schema is None and self.labels is None and (media.frame_rate or media.columns):
                raise ValueError("frame_rate and columns are of a project that is made of a label_schema.")
            return
        check_media(schema, media, self.annotation_conn_id)

    def _schema(self, known: LabelSchema | None = None, *, rendered: bool = False) -> LabelSchema | None:
        """Return the schema that the arguments describe, or None if they say what to label in another way.

        :param known: schema of ``labels``
        :param rendered: whether templates have been rendered
        :raises LabelSchemaError: they describe no valid schema; the message says what is wrong, by field name
        """
        if self.labels is not None and not rendered:
            return None
        if self.label_field is not None:
            classes = self.classes if isinstance(self.classes, str) else list(self.classes or ())
            field = {"type": self.label_type, "classes": classes, "mask_targets": self.mask_targets}
            given = {name: value for name, value in field.items() if value}
            return complete_schema({self.label_field: as_text(given) if rendered else given}, known=known)
        if self.label_schema is None:
            return known
        schema: Any = self.label_schema
        if isinstance(schema, LabelSchema):
            schema = schema.to_dict()
        elif not isinstance(schema, str):
            schema = as_text(schema) if rendered else schema
        else:
            try:
                schema = json.loads(schema)
            except json.JSONDecodeError as error:
                raise LabelSchemaError(f"label_schema is text that is not JSON: {error}.") from error
        return complete_schema(schema, known=known, classes=self.classes or ())

    def _default_title(self, context: Context) -> str:
        run_after = context["dag_run"].run_after
        map_index = context["ti"].map_index
        mapped = "" if map_index is None or map_index < 0 else f" #{map_index}"
        return f"{self.dag_id} {run_after:%Y-%m-%d %H:%M}{mapped}"


class DeleteAnnotationProjectOperator(AnnotationProjectTask):
    """Delete a project and all its content from the labeling tool. If it is gone already, the task succeeds.

    It can also be a teardown: ``DeleteAnnotationProjectOperator(...).as_teardown(setups=create)``.

    Returns whether there was a project to delete.

    :param delete_unlanded: delete the project even if all landings before this task are of parts of it (``items=``).
        By default this is an error, because labels outside these parts would be lost
    :param project: the project: its id, or what ``CreateAnnotationProjectOperator`` returned. (templated)
    :param run_key: the key of the annotation run that has the project, if ``project`` is not given; without either, the
        run that belongs to this DAG run. (templated)
    :param annotation_conn_id: the connection of the labeling tool; its type decides which tool it is. (templated)
    """

    operator_extra_links: Collection[BaseOperatorLink] = ()

    def __init__(self, *, delete_unlanded: bool = False, **kwargs: Unpack[ProjectTaskParameters]) -> None:
        kwargs.setdefault("multiple_outputs", False)
        super().__init__(**kwargs)
        self.delete_unlanded = delete_unlanded

    def execute(self, context: Context) -> bool:
        """Delete the project."""
        if not self.delete_unlanded:
            self._check_landings()
        try:
            project = self.hook.resolve_project(self.project, self.run_keys(context))
        except AnnotationProjectNotFoundError as error:
            self.log.info("Nothing to delete. %s", error)
            return False
        deleted = self.hook.delete_project(project.id)
        self.log.info("%s project %s (%s)", "Deleted" if deleted else "Already gone:", project.title, project.uri)
        return deleted

    def _check_landings(self) -> None:
        """Check that not all landings before this task are of parts."""
        from airflow_annotation.landing.parts import lands_part

        if not self.has_dag():  # type: ignore[no-untyped-call] # Airflow's is untyped
            return
        before = self.dag.get_task(self.task_id).get_flat_relatives(upstream=True)
        landings = {task.task_id: of_part for task in before if (of_part := lands_part(task)) is not None}
        if landings and all(landings.values()):
            raise AnnotationError(
                f"Task {self.task_id!r} would delete what has not landed: {', '.join(map(repr, sorted(landings)))} "
                "before it land parts of the project. Land all of it, too, or pass delete_unlanded=True."
            )


def _has_map_index(task: Any) -> bool:
    """Return whether a task of a DAG is mapped, by itself or in a group."""
    return bool(task.is_mapped) or task.get_closest_mapped_task_group() is not None


def _makes_default_run(task: Any) -> bool:
    """Return whether a task of a DAG makes a project without a ``run_key`` of its own."""
    if not task.is_mapped:
        return isinstance(task, CreateAnnotationProjectOperator) and task.run_key is None
    if not issubclass(task.operator_class, CreateAnnotationProjectOperator):
        return False
    over = task.expand_input.value  # lists by argument, or a list of arguments, or what another task returns
    named = [over] if isinstance(over, Mapping) else over if isinstance(over, Sequence) else ["run_key"]
    return task.partial_kwargs.get("run_key") is None and not any("run_key" in arguments for arguments in named)
