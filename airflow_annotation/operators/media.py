"""Media into an annotation project."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from airflow_annotation.arguments import check_count, check_max_failures
from airflow_annotation.callables import KeptCallable, call_with_context, keep_callable
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.given_labels import open_labels
from airflow_annotation.hooks.annotation import MediaAccess, OnDuplicate
from airflow_annotation.media.items import MediaItem
from airflow_annotation.media.listing import list_media, list_rows
from airflow_annotation.upload_task import LABELS, MEDIA, UploadParameters, UploadTask

if TYPE_CHECKING:
    from airflow.sdk import Context
    from typing_extensions import Unpack


class UploadMediaOperator(UploadTask):
    """Upload media to an annotation project, each item once, no matter how often the task runs.

    The task skips items whose ``item_key`` is in the project already. So a retry continues where the last try ended,
    and a daily run adds only the new files of a folder. If an item cannot be uploaded (its file is missing, empty, not
    an image or too large), the others are still uploaded; ``max_failures`` says whether the task then fails.

    Returns the project's ``id``, ``uri`` and ``url``, how many items were ``uploaded``, ``skipped`` and ``failed``, and
    the first ``failures``, each with ``item_key`` and ``reason``. Give it to another operator as its ``project``.

    :param media: what to upload, as one of (templated)

        - a folder, a glob or a file, on disk or as any URI that ``ObjectStoragePath`` takes: the files of the project's
          kind of media are uploaded
        - a list of paths, URIs or dicts (``{"media": ..., "item_key": ..., "width": ..., "height": ..., any other
          data}``); a DataFrame or an Arrow table of such rows, or a file of them (``.csv``, ``.tsv``, ``.jsonl``,
          ``.parquet``, or a glob of such files)
        - the output of a task that returns one of these
        - a callable that returns one of these or an iterator of rows. Its arguments are those keys of the task's
          context that it names

        A row without ``media`` is an item without a file. It has an ``item_key`` and what the project shows, as in
        ``{"item_key": "r1", "text": "…"}``. A row whose ``media`` is a list is an item of several images, as in
        ``{"item_key": "doc1", "media": ["1.png", "2.png"]}``
    :param sql: instead of ``media``, a query that returns such rows, or the name of a file ``*.sql`` that has it. If
        several rows have the same ``item_key``, the first counts. (templated)
    :param media_field: the key or column that holds the file in the rows of ``media``. (templated)
    :param media_access: ``upload`` sends the files to the tool; with ``reference``, the tool reads them where they are;
        ``auto`` refers to what the tool is sure to reach (web URLs, files below a Label Studio's document root) and
        uploads the rest. (templated)
    :param on_duplicate: what to do with an item that the project has already, or that ``media`` names twice: ``skip``
        it, count it as a failure (``fail``), or upload it once more (``allow``). (templated)
    :param overlap: number of people who label each item; with None, what the project says, which is one by default. In
        Label Studio it is a setting of the project, for all its items; in Labelbox it applies only to the items of this
        upload. (templated)
    :param upload_settings: the tool's own settings of an upload, for Labelbox ``dataset``, ``batch``, ``priority`` and
        others (see :class:`~airflow_annotation.hooks.labelbox.upload_settings.UploadSettings`). An unknown setting is
        an error that lists the known ones. (templated)
    :param predictions: labels for people to start from, as ``labels`` of
        :class:`~airflow_annotation.operators.predictions.UploadPredictionsOperator`. They are uploaded after the media,
        and the task returns their counts under ``predictions``. (templated)
    :param model_version: name of the model version that made the predictions. (templated)
    :param max_failures: how many items may fail. If more fail, the task fails after all other items are in. With None,
        failed items never fail the task. The same limit applies to items whose predictions failed. (templated)
    :raises AnnotationUploadError: more than ``max_failures`` items failed; the message names the first ones
    """

    template_fields: Sequence[str] = (
        *UploadTask.template_fields,
        "media",
        "media_field",
        "media_access",
        "on_duplicate",
        "overlap",
        "upload_settings",
        "predictions",
        "model_version",
    )

    def __init__(
        self,
        *,
        media: Any = None,
        media_field: str = "media",
        media_access: MediaAccess = "auto",
        on_duplicate: OnDuplicate = "skip",
        overlap: int | str | None = None,
        upload_settings: Mapping[str, Any] | None = None,
        predictions: Any = None,
        model_version: str | None = None,
        **kwargs: Unpack[UploadParameters],
    ) -> None:
        super().__init__(**kwargs)
        self.media = keep_callable(media)
        self.media_field = media_field
        self.media_access = media_access
        self.on_duplicate = on_duplicate
        self.overlap = overlap
        self.upload_settings = upload_settings
        self.predictions = keep_callable(predictions)
        self.model_version = model_version
        self._check_arguments()

    def execute(self, context: Context) -> dict[str, Any]:
        """Upload the items that the project does not have yet."""
        self._check_arguments()
        project = self.find_project(context)
        items = self._list_items(context, project.id)
        report = self.hook.upload_items(
            project.id,
            self.until_killed(items),
            media_access=self.media_access,
            on_duplicate=self.on_duplicate,
            overlap=None if self.overlap is None else int(self.overlap),
            upload_settings=self.upload_settings,
        )
        result = {"id": project.id, "uri": project.uri, "url": project.url, **self.checked_report(report, MEDIA)}
        if self.predictions is None:
            return result
        opened = open_labels(self.predictions, context)
        predicted = self.hook.upload_predictions(
            project.id,
            self.until_killed(opened.submissions),
            model_version=str(self.model_version),
            coordinates=opened.coordinates,
        )
        return {**result, "predictions": self.checked_report(predicted, LABELS)}

    def _list_items(self, context: Context, project_id: str) -> Iterable[MediaItem]:
        if self.sql is None:
            media = self.media
            if isinstance(media, KeptCallable):
                media = call_with_context(media.function, cast("Mapping[str, Any]", context))
            if isinstance(media, Iterator):
                return list_rows(media, media_field=self.media_field)
            media_types = partial(self.hook.get_media_types, project_id)
            return list_media(media, media_field=self.media_field, media_types=media_types)
        return list_rows(self.query_rows(context), media_field=self.media_field)

    def _check_arguments(self) -> None:
        """Check what is known. Before templates are rendered, not all is known."""
        self.check_source("media")
        if isinstance(self.media, (str, list, tuple)) and not self.media:
            raise AnnotationError("No media: pass a folder, a glob, or a list of paths, URIs or dicts.")
        if (self.predictions is None) != (self.model_version is None):
            raise AnnotationError("Pass predictions together with the model_version that made them.")
        check_max_failures(self.max_failures)
        check_count("overlap", self.overlap)
