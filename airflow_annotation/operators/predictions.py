"""Labels into an annotation project, for people to start from."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_annotation.callables import keep_callable
from airflow_annotation.given_labels import OpenedLabels, open_labels
from airflow_annotation.hooks.annotation import Coordinates, OnExisting, UploadMode
from airflow_annotation.project_task import AnnotationProjectTask, ProjectTaskParameters
from airflow_annotation.query_task import QueryTask
from airflow_annotation.uploads import LABELS, UntilKilled, check_max_failures, check_report

if TYPE_CHECKING:
    from airflow.sdk import Context
    from typing_extensions import Unpack


class UploadPredictionsOperator(QueryTask):
    """Give the items of an annotation project labels to start from: a model's, or those of an earlier run.

    The labels are rows of the ``labels`` table, matched to the project's items by ``item_key``. Of its columns only
    ``item_key`` and ``field`` are needed, and those that hold the label itself, for example ``label`` and ``bbox``. A
    column ``score``, 0..1, says how sure a model is. A row without a ``field`` says that nothing is in the item. A
    keypoint may have several points. In a video, ``frame`` (of the file, from 0) or ``time`` (in seconds) says when a
    row holds.

    An item that has labels of this ``model_version`` is not given them again, so that a retry goes on where the try
    before it ended. An item whose labels cannot be written does not keep the others from going in: one that the project
    does not have, a field or class that it does not ask for, coordinates outside the media, a value that cannot be
    read, a ``label_id`` that two of its labels have. ``max_failures`` says whether the task then fails.

    Returns the project's ``id``, ``uri`` and ``url``, how many items were ``uploaded``, ``skipped`` and ``failed``, and
    the first ``failures``, each with ``item_key`` and ``reason``. Give it to another operator as its ``project``.

    :param labels: the rows, as one of (templated)

        - a landed dataset: its URI or absolute path, or the output of ``AnnotationsToObjectStorageOperator``. What
          people submitted is taken, empty submissions too; skipped items and predictions are left out
        - a list of dictionaries, a DataFrame or an Arrow table, or the output of a task that returns one of these
        - a callable or the dotted path of one, which returns one of these or an iterator of dictionaries or Arrow
          batches that has each item's rows together. It is called with those keys of the task's context that it names
    :param labels_conn_id: the connection of the dataset's object store, where its URI does not name one. (templated)
    :param sql: instead of ``labels``, a query that returns the rows, ordered by ``item_key``, or the name of a file
        ``*.sql`` that has it; lists and JSON may be text. (templated)
    :param sql_conn_id: the connection of the query's database. (templated)
    :param sql_parameters: of the query, in the driver's own style. (templated)
    :param model_version: what made the labels. (templated)
    :param mode: ``predictions`` are shown to people, who make annotations of them; ``annotations`` count as made by the
        connection's user, and not as ground truth
    :param on_existing: ``skip`` items that have labels of this ``model_version``, or ``replace`` all predictions that
        the project has of it
    :param coordinates: whether ``bbox`` and ``points`` are ``relative`` (0..1 of the media's width and height) or in
        ``pixels``; by default what the dataset says, else relative
    :param max_failures: the task fails, after all other items are in, if more items than this failed; None never fails
        for failed items. (templated)
    :raises AnnotationUploadError: more than ``max_failures`` items failed; the message names the first ones
    """

    template_fields: Sequence[str] = (
        *AnnotationProjectTask.template_fields,
        "labels",
        "labels_conn_id",
        "sql",
        "sql_conn_id",
        "sql_parameters",
        "model_version",
        "max_failures",
    )
    template_fields_renderers = {"sql": "sql"}  # noqa: RUF012 - as Airflow's own operators have it

    def __init__(
        self,
        *,
        model_version: str,
        labels: Any = None,
        labels_conn_id: str | None = None,
        sql: str | None = None,
        sql_conn_id: str | None = None,
        sql_parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        mode: UploadMode = "predictions",
        on_existing: OnExisting = "skip",
        coordinates: Coordinates | None = None,
        max_failures: int | str | None = 0,
        **kwargs: Unpack[ProjectTaskParameters],
    ) -> None:
        super().__init__(**kwargs)
        self.labels = keep_callable(labels)
        self.labels_conn_id = labels_conn_id
        self.sql = sql
        self.sql_conn_id = sql_conn_id
        self.sql_parameters = sql_parameters
        self.model_version = model_version
        self.mode = mode
        self.on_existing = on_existing
        self.coordinates = coordinates
        self.max_failures = max_failures
        self._killed = threading.Event()
        check_max_failures(max_failures)
        if (labels is None) == (sql is None) or (sql is None) != (sql_conn_id is None):
            raise ValueError("Say where the labels are: pass either labels, or sql together with sql_conn_id.")
        if mode == "annotations" and on_existing == "replace":
            raise ValueError("Annotations cannot be replaced, since people may have edited them: on_existing='skip'.")

    def execute(self, context: Context) -> dict[str, Any]:
        """Upload the labels and return what became of them."""
        from airflow_annotation.datasets.label_sources import read_sql
        from airflow_annotation.hooks.sql import make_engine
        from airflow_annotation.warehouses.registry import open_warehouse

        project = self.find_project(context)
        if self.sql is not None:
            warehouse = open_warehouse(make_engine(str(self.sql_conn_id)))
            opened = OpenedLabels(read_sql(warehouse.reader, self.read_query(context), self.sql_parameters))
        else:
            opened = open_labels(self.labels, context, conn_id=self.labels_conn_id)
        report = self.hook.upload_predictions(
            project.id,
            UntilKilled(opened.submissions, self._killed),
            model_version=self.model_version,
            mode=self.mode,
            on_existing=self.on_existing,
            coordinates=self.coordinates or opened.coordinates,
        )
        check_report(report, self.max_failures, LABELS)
        return {"id": project.id, "uri": project.uri, "url": project.url, **msgspec.to_builtins(report)}

    def on_kill(self) -> None:
        """Stop after the requests that are under way."""
        self._killed.set()
