"""A whole annotation cycle in one call: this provider's tasks, one after the other."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import TaskGroup, chain

from airflow_annotation.arguments import checked_argument, parsing
from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.operators.predictions import UploadPredictionsOperator
from airflow_annotation.operators.project import CreateAnnotationProjectOperator, DeleteAnnotationProjectOperator
from airflow_annotation.sensors.annotation import AnnotationSensor

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, XComArg

    from airflow_annotation.labels.schema import LabelSchema

Landing = tuple[Callable[..., Any], Mapping[str, Any]]
"""The class of a transfer, and its arguments."""


def annotation_cycle(
    group_id: str,
    *,
    media: Any = None,
    label_schema: LabelSchema | Mapping[str, Any] | str | XComArg | None = None,
    media_type: str | None = None,
    land: Sequence[Landing] = (),
    create: Mapping[str, Any] | None = None,
    upload: Mapping[str, Any] | None = None,
    predictions: Mapping[str, Any] | None = None,
    wait: Mapping[str, Any] | None = None,
    delete: bool | Mapping[str, Any] = False,
    **arguments: Any,
) -> TaskGroup:
    """Return a group of tasks that makes a project, uploads items, waits for labels and lands them.

    ::

        annotation_cycle(
            "cars",
            media="gs://my-bucket/street/*.jpg",
            label_schema={"objects": {"type": "detections", "classes": ["car", "person"]}},
            wait={"min_completed": 0.95, "deferrable": True},
            land=[(AnnotationsToSqlOperator, {"sql_conn_id": "warehouse"})],
        )

    The tasks are ``create``, ``upload``, ``predict``, ``wait``, one for each landing, and ``delete``. They run one
    after the other; only the landings run in parallel. They are the unchanged operators of this provider: each takes
    all its arguments as a dictionary, and finds the project of the DAG run, or of its map index in a mapped task group.
    If a DAG has several cycles, each needs a ``run_key``. ``group.get_child_by_label("create")`` returns a task of the
    group.

    :param group_id: id of the group
    :param media: ``media`` of :class:`UploadMediaOperator`; without it and ``upload``, nothing is uploaded
    :param label_schema: ``label_schema`` of :class:`CreateAnnotationProjectOperator`
    :param media_type: ``media_type`` of :class:`CreateAnnotationProjectOperator`, such as ``video`` or ``text``
    :param land: list of landings, each the class of a transfer and its arguments. Without a ``task_id``, a landing gets
        its class's name: ``annotations_to_sql``. Sharded ones are ``(partial(land_in_shards, AnnotationsToSqlOperator),
        {...})``
    :param create: more arguments of :class:`CreateAnnotationProjectOperator`
    :param upload: more arguments of :class:`UploadMediaOperator`
    :param predictions: arguments of :class:`UploadPredictionsOperator`; without it there is no such task
    :param wait: arguments of :class:`AnnotationSensor`
    :param delete: arguments of :class:`DeleteAnnotationProjectOperator`, or True for none: delete the project when all
        landings have succeeded. The task is not a teardown: if a landing fails, the project stays
    :param arguments: arguments of all tasks: ``annotation_conn_id``, ``run_key``, ``retries``, …; a task's own
        arguments take precedence
    :raises ValueError: an argument is wrong; the message names it, and the group or the task
    """
    with parsing(group_id, what="Task group"):
        _check(group_id, land, delete, {"create": create, "upload": upload, "predictions": predictions, "wait": wait})
        asked = {"label_schema": label_schema, "media_type": media_type}
        of_create = {**{name: value for name, value in asked.items() if value is not None}, **(create or {})}
        of_upload = {**({} if media is None else {"media": media}), **(upload or {})}
    with TaskGroup(group_id) as group:

        def make(make_task: Callable[..., Any], task_id: str, own: Mapping[str, Any]) -> Any:
            named = {} if "group_id" in own else {"task_id": task_id}
            return make_task(**{**named, **arguments, **own})

        steps: list[BaseOperator] = [make(CreateAnnotationProjectOperator, "create", of_create)]
        if of_upload:
            steps.append(make(UploadMediaOperator, "upload", of_upload))
        if predictions is not None:
            steps.append(make(UploadPredictionsOperator, "predict", predictions))
        steps.append(make(AnnotationSensor, "wait", wait or {}))
        landings = [make(transfer, _task_id(transfer), own) for transfer, own in land]
        own_delete = delete if isinstance(delete, Mapping) else {}
        last = [] if delete is False else [make(DeleteAnnotationProjectOperator, "delete", own_delete)]
        chain(*steps, *([landings] if landings else []), *last)
    return group


def _check(group_id: Any, land: Any, delete: Any, tasks: Mapping[str, Any]) -> None:
    """Check the arguments of the group itself, not those of its tasks.

    :raises ValueError: an argument has the wrong type, or labels would be deleted that nothing lands
    """
    checked_argument("group_id", group_id, "str")
    checked_argument("land", land, "Sequence")
    checked_argument("delete", delete, "bool | Mapping")
    for name, value in tasks.items():
        checked_argument(name, value, "Mapping | None")
    for landing in land:
        if not (isinstance(landing, tuple) and len(landing) == 2 and callable(landing[0])):
            raise ValueError(f"land takes pairs of a transfer's class and its arguments, not {landing!r}.")
        checked_argument("land", landing[1], "Mapping")
    if delete is not False and not land:
        raise ValueError("delete without land would delete labels that nothing has landed.")


def _task_id(transfer: Callable[..., Any]) -> str:
    """Return the name of a transfer in the form of task ids."""
    name = getattr(transfer, "__name__", "land").removesuffix("Operator")
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
