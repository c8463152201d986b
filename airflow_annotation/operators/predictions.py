"""Labels into an annotation project, for people to start from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_annotation.callables import keep_callable
from airflow_annotation.given_labels import OpenedLabels, open_labels
from airflow_annotation.hooks.annotation import Coordinates, OnExisting, UploadMode
from airflow_annotation.labels.submissions import read_rows, read_submissions
from airflow_annotation.upload_task import LABELS, UploadParameters, UploadTask

if TYPE_CHECKING:
    from airflow.sdk import Context
    from typing_extensions import Unpack


class UploadPredictionsOperator(UploadTask):
    """Give the items of an annotation project labels to start from: a model's, or those of an earlier run.

    The labels are rows of the ``labels`` table, matched to the project's items by ``item_key``. Only the columns
    ``item_key`` and ``field`` are required, and those that hold the label itself, for example ``label`` and ``bbox``. A
    column ``score``, 0..1, says how sure a model is. A row without a ``field`` says that the item has no labels. A
    keypoint may have several points. In a video, ``frame`` (of the file, from 0) or ``time`` (in seconds) says when a
    row applies.

    The task skips items that have labels of this ``model_version`` already, so a retry continues where the last try
    ended. If the labels of an item cannot be written, the other items still get theirs. Possible reasons are: the
    project does not have the item, or does not ask for the field or class; coordinates are outside the media; a span
    ends after its text, or an entry to rank does not exist (both in Label Studio); a value cannot be read; two labels
    of the item have the same ``label_id``. ``max_failures`` says whether the task then fails.

    Returns the project's ``id``, ``uri`` and ``url``, how many items were ``uploaded``, ``skipped`` and ``failed``, and
    the first ``failures``, each with ``item_key`` and ``reason``. Give it to another operator as its ``project``.

    :param labels: the rows, as one of (templated)

        - a landed dataset: its URI or absolute path, or the output of ``AnnotationsToObjectStorageOperator``. What
          people submitted is taken, including empty submissions; skipped items and predictions are left out
        - a list of dictionaries, a DataFrame or an Arrow table, or the output of a task that returns one of these
        - a callable or the dotted path of one. It returns one of these, or an iterator of dictionaries or Arrow batches
          that has each item's rows together. Its arguments are those keys of the task's context that it names
    :param labels_conn_id: the connection of the dataset's object store, if its URI names none. (templated)
    :param sql: instead of ``labels``, a query that returns the rows, ordered by ``item_key``, or the name of a file
        ``*.sql`` that has it; lists and JSON may be text. (templated)
    :param model_version: name of the model version that made the labels. (templated)
    :param mode: ``predictions`` are shown to people, who make annotations of them; ``annotations`` count as made by the
        connection's user, and not as ground truth
    :param on_existing: ``skip`` items that have labels of this ``model_version``, or ``replace`` all predictions of it
        in the project
    :param coordinates: whether ``bbox`` and ``points`` are ``relative`` (0..1 of the media's width and height) or in
        ``pixels``; by default what the dataset says, else relative
    :param max_failures: how many items may fail. If more fail, the task fails after all other items are in. With None,
        failed items never fail the task. (templated)
    :raises AnnotationUploadError: more than ``max_failures`` items failed; the message names the first ones
    """

    template_fields: Sequence[str] = (*UploadTask.template_fields, "labels", "labels_conn_id", "model_version")

    def __init__(
        self,
        *,
        model_version: str,
        labels: Any = None,
        labels_conn_id: str | None = None,
        mode: UploadMode = "predictions",
        on_existing: OnExisting = "skip",
        coordinates: Coordinates | None = None,
        **kwargs: Unpack[UploadParameters],
    ) -> None:
        super().__init__(**kwargs)
        self.labels = keep_callable(labels)
        self.labels_conn_id = labels_conn_id
        self.model_version = model_version
        self.mode = mode
        self.on_existing = on_existing
        self.coordinates = coordinates
        self.check_source("labels")
        if mode == "annotations" and on_existing == "replace":
            raise ValueError("Annotations cannot be replaced, since people may have edited them: on_existing='skip'.")

    def execute(self, context: Context) -> dict[str, Any]:
        """Upload the labels of the items that have no labels of this version yet."""
        project = self.find_project(context)
        if self.sql is not None:
            opened = OpenedLabels(read_submissions(read_rows(self.query_rows(context))))
        else:
            opened = open_labels(self.labels, context, conn_id=self.labels_conn_id)
        report = self.hook.upload_predictions(
            project.id,
            self.until_killed(opened.submissions),
            model_version=self.model_version,
            mode=self.mode,
            on_existing=self.on_existing,
            coordinates=self.coordinates or opened.coordinates,
        )
        return {"id": project.id, "uri": project.uri, "url": project.url, **self.checked_report(report, LABELS)}
