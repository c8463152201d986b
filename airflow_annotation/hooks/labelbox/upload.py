"""Media items into a Labelbox project: files to Labelbox's storage, data rows in bounded tasks, batches at the end.

While the items of one chunk are read and their files sent, another thread makes data rows of the chunk before, so that
Labelbox's tasks are waited for meanwhile. No more than two chunks and one batch's ids are held.
"""

from __future__ import annotations

import copy
import io
import itertools
import logging
import mimetypes
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from operator import length_hint
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

import msgspec

from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.hooks.annotation import MediaAccess, OnDuplicate, UploadReport
from airflow_annotation.hooks.errors import other_item_type
from airflow_annotation.hooks.labelbox.batches import Batches
from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.hooks.labelbox.data_rows import find_data_rows, rows_in_project
from airflow_annotation.hooks.labelbox.datasets import ensure_dataset
from airflow_annotation.hooks.labelbox.metadata import MetadataFields
from airflow_annotation.hooks.labelbox.progress import get_progress
from airflow_annotation.hooks.labelbox.projects import FoundProject
from airflow_annotation.hooks.labelbox.tasks import ATTEMPTS, pause, wait_for_task
from airflow_annotation.hooks.labelbox.upload_settings import UploadSettings
from airflow_annotation.hooks.progress_log import UploadProgress
from airflow_annotation.labels.errors import LabelError
from airflow_annotation.labels.labelbox.conversations import CONVERSATION, write_conversation
from airflow_annotation.labels.labelbox.keys import ITEM_KEY, MEDIA_URI, global_key_of, item_key_of
from airflow_annotation.labels.labelbox.media_types import NAMES
from airflow_annotation.labels.media_types import MEDIA_TYPES as KINDS
from airflow_annotation.labels.messages import read_messages
from airflow_annotation.media.items import MediaItem, key_hash
from airflow_annotation.media.probe import probe_media
from airflow_annotation.media.storage import open_media, shown, uri_scheme, without_connection
from airflow_annotation.media.texts import read_json

if TYPE_CHECKING:
    from labelbox import Dataset

log = logging.getLogger(__name__)

ITEMS_AT_ONCE: Final = 500
"""Items of which one task makes data rows."""

_FILES_AT_ONCE: Final = 8
_IAM_SCHEMES: Final = ("gs", "gcs", "s3", "s3a")
_DATA_TYPES: Final = ("text", "html", "conversation")
"""Kinds of media whose items can do without a file."""

_ATTACHMENTS: Final = "attachments"
_LONGEST_METADATA: Final = 4096


def upload_items(
    client: LabelboxClient,
    project: FoundProject,
    items: Iterable[MediaItem],
    *,
    media_access: MediaAccess,
    on_duplicate: OnDuplicate,
    settings: UploadSettings,
    iam_integration: str | None,
    namespace: str,
) -> UploadReport:
    """Put each item that the project does not have yet into it.

    An item's key becomes the global key of its data row. A data row that another upload made is put into the project as
    it is. Where the media came from is the row's external id; it is also in the metadata field ``media_uri`` if the
    file was uploaded, as the key is in ``item_key`` if it is too long. Of the item's own data, ``attachments`` becomes
    the row's attachments, as the SDK takes them, and each other value goes into the metadata field of its name.

    Safe to call again after any failure: dataset, data rows and batches that are there are found, and data rows that
    are in no batch get into one.

    :param client: of the organization
    :param project: the project
    :param items: may be a generator of millions
    :param media_access: ``upload`` sends the bytes; ``reference`` has Labelbox read them: web URLs, and URIs of buckets
        by way of the IAM integration; ``auto`` refers to web URLs and, with an IAM integration, to buckets, and uploads
        the rest
    :param on_duplicate: what to do with an item that the project has: ``skip`` it, or have it ``fail``
    :param settings: how the items get in
    :param iam_integration: the connection's
    :param namespace: of the global keys
    :return: counts, and the first items that failed
    :raises AnnotationError: the upload cannot go on
    """
    if on_duplicate == "allow":
        raise AnnotationError(
            "on_duplicate='allow' is not for Labelbox: global keys are unique, so that no item can be there twice. "
            "Pass 'skip' or 'fail'."
        )
    integration = settings.iam_integration or iam_integration
    upload = _Upload(
        client, project, settings, media_access, on_duplicate, iam_integration=integration, namespace=namespace
    )
    return upload.run(items)


class _Chunk(msgspec.Struct):
    """Items on their way to becoming rows of the project.

    :param rows: data rows to make, as the SDK takes them
    :param known: ids of data rows that are there already, by the item's key
    """

    rows: list[dict[str, Any]]
    known: dict[str, str]


class _Outcome(msgspec.Struct):
    """What became of a chunk, and of the batch that it filled."""

    added: int = 0
    skipped: int = 0
    failures: list[tuple[str, str]] = []


class _Upload:
    def __init__(
        self,
        client: LabelboxClient,
        project: FoundProject,
        settings: UploadSettings,
        media_access: MediaAccess,
        on_duplicate: OnDuplicate,
        *,
        iam_integration: str | None,
        namespace: str,
    ) -> None:
        self._client = client
        self._project = project
        self._settings = settings
        self._media_access = media_access
        self._on_duplicate = on_duplicate
        self._iam_integration = iam_integration
        self._namespace = namespace
        self._report = UploadReport()
        self._own_keys: set[int] = set()
        self._batches = Batches(
            client,
            project.id,
            name=settings.batch,
            priority=settings.priority,
            consensus_settings=settings.consensus_settings,
        )
        self._dataset: Dataset | None = None
        self._metadata = MetadataFields(client)
        self._unbatched: dict[str, str] = {}

    def run(self, items: Iterable[MediaItem]) -> UploadReport:
        progress = UploadProgress(length_hint(items, 0))
        is_empty = not get_progress(self._client, self._project.id).total
        wanted = (item for item in items if self._is_wanted(item))
        making: Future[_Outcome] | None = None
        with (
            ThreadPoolExecutor(_FILES_AT_ONCE, thread_name_prefix="send-media") as files,
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

    def _is_wanted(self, item: MediaItem) -> bool:
        key = key_hash(item.item_key)
        if key in self._own_keys:
            self._duplicate(item.item_key)
            return False
        self._own_keys.add(key)
        return True

    def _duplicate(self, item_key: str) -> None:
        if self._on_duplicate == "skip":
            self._report.skipped += 1
        else:
            self._report.fail(item_key, f"The project already has an item {item_key!r}.")

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
                    self._duplicate(item.item_key)
                elif row_id is not None:
                    chunk.known[item.item_key] = row_id
                else:
                    sending.append((item, files.submit(self._row, item, global_key)))
            for item, future in sending:
                self._add_row(chunk, item, future)
            yield chunk

    def _add_row(self, chunk: _Chunk, item: MediaItem, sending: Future[dict[str, Any]]) -> None:
        try:
            chunk.rows.append(sending.result())
        except MediaError as error:
            # Names of files need not be valid Unicode; what is reported goes through JSON.
            self._report.fail(item.item_key.encode(errors="backslashreplace").decode(), str(error))

    def _row(self, item: MediaItem, global_key: str) -> dict[str, Any]:
        """Return an item as a data row, its file sent if need be."""
        word = self._project.allowed_media_type or ""
        project_type = NAMES.get(word, word.lower())
        content: bytes | None = None
        if item.pages:
            raise MediaError(
                f"Item {item.item_key!r} has {len(item.pages)} images, and a data row of Labelbox shows one. Make "
                "a PDF of them for a project of documents, or upload each image as an item."
            )
        if item.is_row:
            content, item = self._take_data(item, project_type)
        name = _name(item)
        if not item.media_type:
            item = msgspec.structs.replace(item, media_type=project_type)
        if item.media_type != project_type:
            raise other_item_type(name, item.media_type, [project_type])
        if item.media and project_type == "conversation":
            content = _conversation(item, read_json(item.media))
        metadata, attachments = self._data(item)
        if item_key_of(global_key, self._namespace) != item.item_key:
            metadata[ITEM_KEY] = item.item_key
        reference = None if content is not None else self._reference(item.media)
        if reference != item.media and not item.is_row:
            metadata[MEDIA_URI] = without_connection(item.media)
        try:
            self._metadata.check(metadata)
        except ValueError as error:
            raise MediaError(f"The data of {name} do not fit Labelbox's metadata fields: {error}") from error
        row = {
            "row_data": reference or (self._send(item) if content is None else self._send_data(item, content)),
            "global_key": global_key,
            "external_id": name,
            "media_type": word,
            "metadata_fields": [{"name": name, "value": value} for name, value in metadata.items()],
            "attachments": attachments,
        }
        return {name: value for name, value in row.items() if value}

    def _take_data(self, item: MediaItem, project_type: str) -> tuple[bytes, MediaItem]:
        """Return the content of an item without a file, and the item with what else it has."""
        given = item.data.get(project_type)
        if project_type not in _DATA_TYPES or not given:
            kinds = ", ".join(map(repr, _DATA_TYPES))
            raise MediaError(
                f"Item {item.item_key!r} has no file, and nothing under the name of its kind of media ({kinds}). This "
                f"project is for {project_type}."
            )
        rest = {name: value for name, value in item.data.items() if name != project_type}
        if project_type == "conversation":
            content = _conversation(item, given)
        elif isinstance(given, str):
            content = given.encode()
        else:
            raise MediaError(f"The {project_type} of item {item.item_key!r} is no text.")
        return content, msgspec.structs.replace(item, data=rest, media_type=project_type)

    def _send_data(self, item: MediaItem, content: bytes) -> str:
        """Send a text as a file: the SDK would take one that is the path of a file of the worker for that file."""
        mime_type = KINDS[item.media_type].mime_types[0]
        name = f"{key_hash(item.item_key):016x}{mimetypes.guess_extension(mime_type) or ''}"
        return self._client.upload(io.BytesIO(content), name=name, mime_type=mime_type, size=len(content))

    def _data(self, item: MediaItem) -> tuple[dict[str, Any], list[dict[str, str]]]:
        """Return the metadata and the attachments of an item."""
        attachments = item.data.get(_ATTACHMENTS) or []
        if not isinstance(attachments, list) or not all(
            isinstance(one, dict) and {"type", "value"} <= one.keys() for one in attachments
        ):
            raise MediaError(f"The attachments of {_name(item)} are no list of dictionaries with type, value and name.")
        metadata = {name: value for name, value in item.data.items() if name != _ATTACHMENTS and value is not None}
        for name, value in metadata.items():
            if name in {ITEM_KEY, MEDIA_URI}:
                raise MediaError(f"Data key {name!r} of {_name(item)} is taken by the upload: rename it.")
            if not isinstance(value, (str, int, float)) or isinstance(value, bool):
                metadata[name] = msgspec.json.encode(value, enc_hook=str).decode()
            if len(str(metadata[name])) > _LONGEST_METADATA:
                raise MediaError(
                    f"The value of {name!r} of {_name(item)} is longer than the {_LONGEST_METADATA} characters "
                    "that a metadata field of Labelbox takes."
                )
        return metadata, attachments

    def _reference(self, media: str) -> str | None:
        """Return what Labelbox reads the media by; None to send the file."""
        scheme = uri_scheme(media)
        if self._media_access == "upload":
            return None
        if scheme in {"http", "https"}:
            return media
        if scheme in _IAM_SCHEMES and self._iam_integration:
            return _bucket_url(media)
        if self._media_access == "reference":
            raise MediaError(
                f"Labelbox cannot read {shown(media)} by itself: it is not on the web, or in a bucket (gs://, s3://) "
                "with the connection's iam_integration to read it. Use media_access='upload'."
            )
        return None

    def _send(self, item: MediaItem) -> str:
        with open_media(item.media) as file:
            name = shown(item.media)
            probe = probe_media(file, name, item.media_type)
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            return self._client.upload(
                file, name=PurePosixPath(name).name or "media", mime_type=probe.mime_type, size=size
            )

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
        """Make data rows; after a failure that leaves it open, find those that were made, and make the rest."""
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
        """Have Labelbox make data rows, and return why it did not make some, by global key."""
        if self._dataset is None:
            self._dataset = ensure_dataset(self._client, self._settings.dataset, self._iam_integration)
        with self._client.using_sdk():
            # The SDK changes what it is given.
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
        """Put the first data rows that wait for it into the project."""
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


def _name(item: MediaItem) -> str:
    """Return what errors call an item, and its external id."""
    return shown(item.media) if item.media else item.item_key


def _conversation(item: MediaItem, document: Any) -> bytes:
    """Return the messages of a conversation as Labelbox reads them; its own documents as they are."""
    try:
        messages = read_messages(document)
    except LabelError as error:
        raise MediaError(f"{_name(item)} is no conversation. {error}") from error
    is_own = isinstance(document, dict) and str(document.get("type", "")).startswith(CONVERSATION)
    return msgspec.json.encode(document if is_own else write_conversation(messages))


def _bucket_url(uri: str) -> str:
    """Return the form of a bucket's URI that Labelbox reads: it takes S3's as web addresses only."""
    uri = without_connection(uri)
    parts = urlsplit(uri)
    key = uri.partition("://")[2].partition("/")[2]
    if parts.scheme in {"s3", "s3a"}:
        return f"https://{parts.netloc}.s3.amazonaws.com/{quote(key)}"
    return f"gs://{parts.netloc}/{key}"
