"""Upload items into a Labelbox project: files to Labelbox's storage, data rows in bounded tasks, batches at the end.

While the items of a chunk are read and their files are sent, another thread makes data rows of the previous chunk. So
the upload goes on while Labelbox's tasks run. Only two chunks and the ids of one batch are held in memory.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from operator import length_hint
from typing import TYPE_CHECKING, Any, Final

import msgspec

from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.hooks.annotation import MediaAccess, OnDuplicate, UploadReport
from airflow_annotation.hooks.item_upload import WantedItems
from airflow_annotation.hooks.labelbox.batches import Batches
from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.hooks.labelbox.data_rows import find_data_rows, rows_in_project
from airflow_annotation.hooks.labelbox.datasets import ensure_dataset
from airflow_annotation.hooks.labelbox.progress import get_progress
from airflow_annotation.hooks.labelbox.projects import FoundProject
from airflow_annotation.hooks.labelbox.row_maker import RowMaker
from airflow_annotation.hooks.labelbox.tasks import ATTEMPTS, pause, wait_for_task
from airflow_annotation.hooks.labelbox.upload_settings import UploadSettings
from airflow_annotation.hooks.progress_log import UploadProgress
from airflow_annotation.labels.labelbox.keys import ITEM_KEY, global_key_of, item_key_of
from airflow_annotation.media.items import MediaItem

if TYPE_CHECKING:
    from labelbox import Dataset

ITEMS_AT_ONCE: Final = 500
"""Number of items in a chunk, whose data rows one task makes."""


class _Chunk(msgspec.Struct):
    """Items that will become data rows of the project.

    :param rows: data rows to make, in the SDK's form
    :param known: ids of data rows that exist already, by the item's key
    """

    rows: list[dict[str, Any]]
    known: dict[str, str]


class _Outcome(msgspec.Struct):
    """The results of a chunk, and of the batches that it filled."""

    added: int = 0
    skipped: int = 0
    failures: list[tuple[str, str]] = []


class ItemUpload:
    """Adds each item to the project that the project does not have yet.

    An item's key becomes the global key of its data row. If it is too long, the metadata field ``item_key`` has it. A
    data row that another upload made is put into the project unchanged. The media's URI is the data row's external id.
    The metadata field ``media_uri`` has the URI too, unless Labelbox reads the media by this URI itself. Of the item's
    own data, ``attachments``, in the SDK's form, becomes the data row's attachments. Each other value goes into the
    metadata field of its name.

    Safe to run again after any failure: the upload finds its dataset, data rows and batches, and puts data rows that
    are in no batch into one.

    :param client: client of the organization
    :param project: the project
    :param settings: settings of the upload
    :param media_access: ``upload`` sends the files. ``reference`` lets Labelbox read them: web URLs, and by the IAM
        integration URIs of buckets. ``auto`` refers to web URLs and, with an IAM integration, to buckets, and uploads
        the rest
    :param on_duplicate: what to do with an item that the project has already: ``skip`` it, or let it ``fail``
    :param iam_integration: name or id of the connection's IAM integration; the upload settings may name another
    :param namespace: namespace of the global keys
    :raises AnnotationError: ``on_duplicate`` is ``allow``, which Labelbox cannot do
    """

    def __init__(
        self,
        client: LabelboxClient,
        project: FoundProject,
        settings: UploadSettings,
        *,
        media_access: MediaAccess,
        on_duplicate: OnDuplicate,
        iam_integration: str | None,
        namespace: str,
    ) -> None:
        if on_duplicate == "allow":
            raise AnnotationError(
                "on_duplicate='allow' is not for Labelbox: global keys are unique, so that no item can be there twice. "
                "Pass 'skip' or 'fail'."
            )
        self._client = client
        self._project = project
        self._settings = settings
        self._iam_integration = settings.iam_integration or iam_integration
        self._namespace = namespace
        self._rows = RowMaker(client, project, media_access, iam_integration=self._iam_integration, namespace=namespace)
        self._report = UploadReport()
        self._wanted = WantedItems(on_duplicate, self._report)
        self._batches = Batches(client, project.id, settings)
        self._dataset: Dataset | None = None
        self._unbatched: dict[str, str] = {}

    def run(self, items: Iterable[MediaItem]) -> UploadReport:
        """Upload items, and return counts and the first items that failed.

        :param items: the items; may be a generator of millions
        :raises AnnotationError: the upload cannot continue
        """
        progress = UploadProgress(length_hint(items, 0))
        is_empty = not get_progress(self._client, self._project.id).total
        wanted = (item for item in items if self._wanted.take(item.item_key))
        making: Future[_Outcome] | None = None
        with (
            ThreadPoolExecutor(self._client.concurrency, thread_name_prefix="send-media") as files,
            ThreadPoolExecutor(1, thread_name_prefix="make-data-rows") as maker,
        ):
            for chunk in self._prepared(wanted, files, is_empty=is_empty):
                if making is not None:
                    self._count(making.result())
                    progress.log(self._report)
                making = maker.submit(self._make, chunk)
            if making is not None:
                self._count(making.result())
            self._count(self._batch(len(self._unbatched)))
        progress.log(self._report, last=True)
        return self._report

    def _count(self, outcome: _Outcome) -> None:
        self._report.uploaded += outcome.added
        self._report.skipped += outcome.skipped
        for item_key, reason in outcome.failures:
            self._report.fail(item_key, reason)

    # Reading and sending files

    def _prepared(self, items: Iterator[MediaItem], files: ThreadPoolExecutor, *, is_empty: bool) -> Iterator[_Chunk]:
        while read := list(itertools.islice(items, ITEMS_AT_ONCE)):
            by_key = {global_key_of(item.item_key, self._namespace): item for item in read}
            found = find_data_rows(self._client, list(by_key))
            inside = set() if is_empty else rows_in_project(self._client, self._project.id, found.values())
            chunk = _Chunk(rows=[], known={})
            sending: list[tuple[MediaItem, Future[dict[str, Any]]]] = []
            for global_key, item in by_key.items():
                row_id = found.get(global_key)
                if row_id in inside:
                    self._wanted.refuse(item.item_key)
                elif row_id is not None:
                    chunk.known[item.item_key] = row_id
                else:
                    sending.append((item, files.submit(self._rows.make, item, global_key)))
            for item, future in sending:
                self._add_row(chunk, item, future)
            yield chunk

    def _add_row(self, chunk: _Chunk, item: MediaItem, sending: Future[dict[str, Any]]) -> None:
        try:
            chunk.rows.append(sending.result())
        except MediaError as error:
            self._report.fail(item.item_key, str(error))

    # Making data rows, and batches of them

    def _make(self, chunk: _Chunk) -> _Outcome:
        outcome = _Outcome()
        for item_key, row_id in chunk.known.items():
            self._unbatched[row_id] = item_key
        self._make_rows(chunk.rows, outcome)
        while len(self._unbatched) >= self._settings.batch_size:
            batched = self._batch(self._settings.batch_size)
            outcome.added += batched.added
            outcome.skipped += batched.skipped
            outcome.failures += batched.failures
        return outcome

    def _make_rows(self, rows: list[dict[str, Any]], outcome: _Outcome) -> None:
        """Make data rows. If it is unclear after a failure which were made, find these, and make the rest."""
        reasons: dict[str, str] = {}
        for attempt in range(1, ATTEMPTS + 1):
            if not rows:
                return
            try:
                reasons = self._create(rows)
            except AnnotationError as error:
                if not error.is_transient:
                    raise
                pause(attempt, error, "Looking which data rows were made, then making the rest.")
            made = find_data_rows(self._client, [row["global_key"] for row in rows])
            for row in rows:
                if row["global_key"] in made:
                    self._unbatched[made[row["global_key"]]] = self._item_key(row)
            rows = [row for row in rows if row["global_key"] not in made]
            if reasons:
                break
        outcome.failures += [(self._item_key(row), self._reason(row, reasons)) for row in rows]

    def _create(self, rows: list[dict[str, Any]]) -> dict[str, str]:
        """Let Labelbox make data rows. Return the reasons for those that it did not make, by global key."""
        if self._dataset is None:
            self._dataset = ensure_dataset(self._client, self._settings.dataset, self._iam_integration)
        with self._client.using_sdk():
            # Pass a copy, since the SDK changes its argument.
            task = self._dataset.create_data_rows(copy.deepcopy(rows))
        wait_for_task(self._client, task.uid, f"the making of {len(rows)} data rows")
        with self._client.using_sdk():
            errors = task.errors or []
        return {row["globalKey"]: error["message"] for error in errors for row in error["failedDataRows"]}

    def _item_key(self, row: dict[str, Any]) -> str:
        fields = {field["name"]: field["value"] for field in row.get("metadata_fields", ())}
        return str(fields.get(ITEM_KEY) or item_key_of(row["global_key"], self._namespace))

    def _reason(self, row: dict[str, Any], reasons: Mapping[str, str]) -> str:
        said = reasons.get(row["global_key"], "no reason given")
        if "duplicate global key" in said.lower():
            said += " (a data row that was deleted holds it for a while; use another global_key_namespace, or wait)"
        return f"Labelbox did not take {row['external_id']}: {said}."

    def _batch(self, size: int) -> _Outcome:
        """Put the first of the data rows that are in no batch into the project.

        :param size: maximum number of data rows
        """
        row_ids = list(itertools.islice(self._unbatched, size))
        if not row_ids:
            return _Outcome()
        batched = self._batches.add(row_ids)
        item_keys = {row_id: self._unbatched.pop(row_id) for row_id in row_ids}
        failures = [
            (item_keys[row_id], f"Labelbox cannot process the media of item {item_keys[row_id]!r}, data row {row_id}.")
            for row_id in row_ids
            if row_id in batched.failed
        ]
        return _Outcome(added=batched.added, skipped=len(row_ids) - batched.added - len(failures), failures=failures)
