"""The hook of the connection type ``label_studio``."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

import httpx
import msgspec
import pyarrow as pa

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.annotation import (
    AnnotationProject,
    AssignmentReport,
    Coordinates,
    MediaAccess,
    OnDuplicate,
    OnExisting,
    RequeueReport,
    UploadMode,
    UploadReport,
)
from airflow_annotation.hooks.connection_fields import (
    read_bool,
    read_concurrency,
    read_extra,
    read_object,
    read_timeout,
)
from airflow_annotation.hooks.label_studio import item_changes, item_states, media_files, progress, projects
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.label_studio.item_filters import TaskFilter
from airflow_annotation.hooks.ports import ItemChanges
from airflow_annotation.hooks.storages import Storage, StorageSync
from airflow_annotation.hooks.tool_hook import ProgressReader, ToolHook
from airflow_annotation.labels.item_filter import ItemFilter
from airflow_annotation.labels.label_studio.config import label_config_from_schema, label_schema_from_config
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.objects import ASKED
from airflow_annotation.labels.label_studio.task_data import find_item_key
from airflow_annotation.labels.media_types import ProjectMedia, find_media_type
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.submissions import Submission
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.media.access import same_origin
from airflow_annotation.media.items import MediaItem
from airflow_annotation.transport.metering import RequestMeter
from airflow_annotation.transport.pacing import RequestPace

if TYPE_CHECKING:
    from airflow.sdk import Connection
    from label_studio_sdk import LabelStudio

_IDS_AT_ONCE: Final = 100_000


class _Version(msgspec.Struct):
    release: str


class _User(msgspec.Struct):
    email: str


class LabelStudioHook(ToolHook[LabelStudioClient, projects.FoundProject]):
    """Works with projects on a Label Studio server.

    The connection's host is the server's URL, with or without a scheme and a path prefix. Its password is the API key,
    a legacy token or a personal access token. For a host without a scheme, requests use ``https``, unless it is this
    machine or the schema field says ``http``. Extras:

    - ``verify_ssl``: whether to check the server's certificate (default true)
    - ``ca_bundle``: path of the trusted certificates
    - ``timeout``: seconds to wait for an answer (default 60)
    - ``headers``: JSON object, for a proxy in front of the server
    - ``local_files_document_root``: the server's ``LOCAL_FILES_DOCUMENT_ROOT``, if workers see the same files there
    - ``polls_per_minute``: polling requests per minute that a triggerer may send for the connection (default 60)
    - ``concurrency``: requests that may run at once while a project is read or sent (default 4; fewer while the server
      is slow)

    :param label_studio_conn_id: the connection
    """

    conn_name_attr = "label_studio_conn_id"
    default_conn_name = "label_studio_default"
    conn_type = "label_studio"
    hook_name = "Label Studio"
    tool: ClassVar[str] = "label_studio"
    title_lengths: ClassVar[tuple[int, int]] = (3, 50)
    progress_reader: ClassVar[ProgressReader] = progress
    projects_a_request: ClassVar[int] = progress.PROJECTS_A_REQUEST

    def __init__(self, label_studio_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.label_studio_conn_id = label_studio_conn_id
        self._configs: dict[str, LabelingConfig] = {}
        self._media_configs: dict[str, LabelingConfig] = {}

    def make_client(self, *, attempts: int) -> LabelStudioClient:
        """Return a client as the connection describes it."""
        return client_from_connection(self.connection, attempts=attempts, pace=self.pace)

    def get_conn(self) -> LabelStudio:
        """Return Label Studio's SDK with the connection's key and retries, for everything without a method here."""
        return self.client.sdk

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the connection works, and which server and user it reaches, or what is wrong with it."""
        try:
            # Somebody waits for the answer: fewer tries, and shorter ones.
            client = self.make_client(attempts=1)
            version = client.read("GET", "/api/version", _Version, timeout=10)
            user = client.read("GET", "/api/current-user/whoami", _User, timeout=10)
        except AnnotationError as error:
            return False, str(error)
        return True, f"Label Studio {version.release} at {client.url}, as {user.email}"

    def project_maker(
        self,
        label_schema: LabelSchema | None,
        label_config: str | None,
        copy_from: str | None,
        settings: dict[str, Any],
        media: ProjectMedia,
    ) -> projects.Maker:
        """Return the project maker; see :data:`~airflow_annotation.hooks.label_studio.projects.PROJECT_SETTINGS`."""
        if label_schema is not None:
            media_type = find_media_type(label_schema, media, ASKED, self.hook_name)
            media = msgspec.structs.replace(media, media_type=media_type)
            label_config = label_config_from_schema(label_schema, **msgspec.structs.asdict(media))
        return projects.Maker(self.client, label_config, copy_from, settings, media.media_type)

    def list_projects(self, *, title: str = "", description: str = "") -> Iterator[projects.FoundProject]:  # noqa: ARG002 - titles are searched
        """Yield all projects, or those with a text in their title, by id."""
        return projects.list_projects(self.client, title)

    def read_project(self, project_id: str) -> projects.FoundProject:
        """Return the project with this id."""
        return projects.read_project(self.client, project_id)

    def change_project(self, found: projects.FoundProject, *, title: str, description: str) -> projects.FoundProject:
        """Give a project another title and description."""
        return projects.change_project(self.client, str(found.id), {"title": title, "description": description})

    def is_as_made(self, project: projects.FoundProject, first: projects.FoundProject) -> bool:
        """Return whether a project is still as the first request made it."""
        return projects.is_as_made(self.client, str(project.id), str(first.id))

    def delete_project(self, project_id: str) -> bool:
        """Delete a project and all its content. Return False if it was gone already."""
        return projects.delete_project(self.client, project_id)

    def get_label_schema(self, project_id: str) -> LabelSchema:
        """Read the label schema back from the project's labeling config."""
        config = self._configs[project_id] = self._read_config(project_id)
        return label_schema_from_config(config)

    def get_media_types(self, project_id: str) -> tuple[str, ...]:
        """Return the kinds of media that the project's labeling config shows, in its order."""
        return tuple(dict.fromkeys(media.media_type for media in self._read_config(project_id).main_objects))

    def upload_items(
        self,
        project_id: str,
        items: Iterable[MediaItem],
        *,
        media_access: MediaAccess = "auto",
        on_duplicate: OnDuplicate = "skip",
        overlap: int | None = None,
        upload_settings: Mapping[str, Any] | None = None,
    ) -> UploadReport:
        """Create a task for each media item that the project does not have. See :meth:`AnnotationHook.upload_items`.

        :param overlap: number of people who label each item. It is a setting of the project (``maximum_annotations``),
            which also applies to its existing tasks
        :param upload_settings: must be empty, since Label Studio has no upload settings
        """
        if upload_settings:
            raise AnnotationError(f"Label Studio has no upload settings. Leave out {', '.join(upload_settings)}.")
        from airflow_annotation.hooks.label_studio.upload import ItemUpload

        if overlap is not None:
            projects.set_overlap(self.client, project_id, overlap)
        upload = ItemUpload(
            self.client,
            project_id,
            media_access=media_access,
            on_duplicate=on_duplicate,
            local_files_document_root=read_extra(self.connection).get("local_files_document_root"),
        )
        return upload.run(items)

    def upload_predictions(
        self,
        project_id: str,
        submissions: Iterable[Submission],
        *,
        model_version: str,
        mode: UploadMode = "predictions",
        on_existing: OnExisting = "skip",
        coordinates: Coordinates = "relative",
    ) -> UploadReport:
        """Give the project's tasks predictions, or annotations. See :meth:`AnnotationHook.upload_predictions`."""
        from airflow_annotation.hooks.label_studio.predictions import PredictionUpload

        upload = PredictionUpload(
            self.client,
            project_id,
            model_version=model_version,
            mode=mode,
            on_existing=on_existing,
            coordinates=coordinates,
            mask_budget=self.mask_budget,
        )
        return upload.run(submissions)

    def requeue_items(
        self,
        project_id: str,
        item_keys: Iterable[str] | None = None,
        *,
        request: str,
        item_ids: Iterable[str] | None = None,
    ) -> RequeueReport:
        """Open finished tasks for one person more, and clear skips. See :meth:`AnnotationHook.requeue_items`.

        A skip without labels is deleted. One with labels becomes a draft of the connection's user.
        """
        from airflow_annotation.hooks.label_studio.requeue import requeue_items

        return requeue_items(self.client, project_id, item_keys, request=request, item_ids=item_ids)

    def assign_items(
        self, project_id: str, annotators: Sequence[str], *, overlap: int = 1, item_keys: Iterable[str] | None = None
    ) -> AssignmentReport:
        """Give each person a tab of the data manager with their tasks. See :meth:`AnnotationHook.assign_items`.

        The tasks' data name the assigned people. Label Studio's open edition does not stop people from labeling others'
        tasks.
        """
        from airflow_annotation.hooks.label_studio.assign import assign_items

        return assign_items(self.client, project_id, annotators, overlap=overlap, item_keys=item_keys)

    def sync_storage(self, project_id: str, storage: Storage) -> StorageSync:
        """Let Label Studio make tasks of a bucket's objects, or write annotations. See :meth:`Storages.sync_storage`.

        Settings are the API's own, such as ``regex_filter``. In a new import storage, each file is an item, and
        subfolders are read too: ``use_blob_urls`` and ``recursive_scan`` are True unless other values are given.
        """
        from airflow_annotation.hooks.label_studio.storages import ProjectStorage

        return ProjectStorage(self.client, project_id, storage).sync()

    def get_storage_sync(self, project_id: str, storage_id: str) -> StorageSync:
        """Ask for the progress of the newest sync of a storage. See :meth:`Storages.get_storage_sync`."""
        from airflow_annotation.hooks.label_studio.storages import read_sync

        return read_sync(self.client, project_id, storage_id)

    def media_request(self, media_uri: str) -> tuple[str, Mapping[str, str]]:
        """Return the URL of media that the server itself holds, and its key; other URIs unchanged."""
        return self.client.media_request(media_uri)

    @property
    def media_roots(self) -> Sequence[str]:
        """The folder that the server serves as local files, as the connection names it."""
        root = read_extra(self.connection).get("local_files_document_root")
        return (root,) if root else ()

    def is_own_url(self, url: str) -> bool:
        """Return whether a URL is of the connection's server."""
        return same_origin(url, self.client.url)

    def find_media(self, project_id: str, item_id: str, target: str = "") -> tuple[str, Mapping[str, str]] | None:
        """Return the URL of an item's media as the server shows them, and the key if the server itself holds them."""
        config = None
        if target:
            if project_id not in self._media_configs:  # an item may have hundreds of images
                self._media_configs[project_id] = self._read_config(project_id)
            config = self._media_configs[project_id]
        return media_files.find_media(self.client, project_id, item_id, target, config)

    def list_last_labeled(self, project_id: str, count: int, *, min_annotations: int = 1) -> list[str]:
        """Return the ids of the labeled items that were changed last, in one request. Skips do not count here."""
        return item_states.list_last_labeled(self.client, project_id, count, min_annotations)

    def read_tables(
        self,
        project: AnnotationProject,
        options: ReadOptions = ReadOptions(),
        item_ids: Iterable[str] | None = None,
    ) -> Iterator[LabelTables]:
        """Yield the project as batches of whole items. See :meth:`AnnotationHook.read_tables`."""
        from airflow_annotation.hooks.label_studio.export import read_tables

        config = self._configs.pop(project.id, None)
        return read_tables(
            self.client,
            project,
            config or self._read_config(project.id),
            options,
            mask_budget=self.mask_budget,
            item_ids=None if item_ids is None else map(int, item_ids),
        )

    def list_item_states(
        self, project_id: str, *, include_predictions: bool = False, items: ItemFilter | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the state of every task, without its labels. See :meth:`AnnotationHook.list_item_states`."""
        fitting = None
        if items is not None:
            config = self._configs.get(project_id) or self._read_config(project_id)
            fitting = TaskFilter(self.client, project_id, items, partial(find_item_key, config=config))
        return item_states.list_item_states(
            self.client, project_id, include_predictions=include_predictions, items=fitting
        )

    def list_item_ids(self, project_id: str) -> Iterator[pa.Array]:
        """Yield the ids of all tasks. If most ids in their range are the project's, yield the whole range."""
        from airflow_annotation.hooks.label_studio.export import list_ids

        ids = list_ids(self.client, project_id)
        while some := list(itertools.islice(ids, _IDS_AT_ONCE)):
            yield pa.array(map(str, some), pa.string())

    def mark_changes(self, project_id: str) -> dict[str, Any] | None:
        """Return a mark of now for :meth:`list_changes`. See :meth:`AnnotationHook.mark_changes`."""
        return item_changes.mark_changes(self.client, project_id)

    def list_changes(
        self,
        project_id: str,
        before: Mapping[str, Any],
        now: Mapping[str, Any],
        *,
        include_predictions: bool = False,
    ) -> ItemChanges | None:
        """List the tasks that were changed since. See :meth:`AnnotationHook.list_changes`."""
        return item_changes.list_changes(self.client, project_id, before, now, include_predictions=include_predictions)

    def get_last_change(self, project_id: str) -> datetime | None:
        """Ask when a task was last changed. See :meth:`AnnotationHook.get_last_change`."""
        return item_states.get_last_change(self.client, project_id)

    def list_changed_items(self, project_id: str, since: datetime) -> list[str]:
        """Return the ids of the tasks that were changed at this time or later. See :class:`AnnotationHook`."""
        return item_states.list_changed_items(self.client, project_id, since)

    def _read_config(self, project_id: str) -> LabelingConfig:
        return LabelingConfig(projects.get_label_config(self.client, project_id))


def client_from_connection(
    connection: Connection, *, attempts: int = 5, pace: RequestPace | None = None
) -> LabelStudioClient:
    """Return the client that an Airflow connection of type ``label_studio`` describes.

    :param connection: a connection of any origin: the form, the command line, an environment variable, a URI
    :param attempts: maximum number of retries of a failed request
    :param pace: limit of requests per minute; None for no limit
    :raises AnnotationError: the connection does not describe a client; the message says which field is wrong
    """
    extra = read_extra(connection)
    headers = extra.get("headers") or {}
    if isinstance(headers, str):
        headers = read_object(headers, "extra field headers")
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise AnnotationError("The connection's extra field headers is not a JSON object of strings.")
    return LabelStudioClient(
        url=_url(connection),
        api_key=connection.password or "",
        verify=extra.get("ca_bundle") or read_bool(extra, "verify_ssl", default=True),
        timeout=read_timeout(extra),
        headers=headers,
        attempts=attempts,
        pace=pace,
        meter=RequestMeter(connection.conn_id, "label_studio"),
        concurrency=read_concurrency(extra),
    )


def _url(connection: Connection) -> str:
    host = (connection.host or "").strip()
    if not host:
        raise AnnotationError("The connection has no host: put the URL of the Label Studio there.")
    # Airflow's URI form of a connection has room for a scheme or a path in its schema field.
    schema = (connection.schema or "").strip().strip("/")
    scheme = schema.lower() if schema.lower() in {"http", "https"} else ""
    try:
        url = httpx.URL(host if "://" in host else f"{scheme or 'https'}://{host}")
        if "://" not in host and not scheme and url.host in {"localhost", "127.0.0.1", "::1"}:
            url = url.copy_with(scheme="http")
        if connection.port and url.port is None:
            url = url.copy_with(port=connection.port)
        if schema and not scheme:
            url = url.copy_with(path=f"{url.path.rstrip('/')}/{schema}")
    except httpx.InvalidURL as error:
        raise AnnotationError(f"The connection's host is not a URL: {error}.") from error
    return str(url.copy_with(query=None, fragment=None))
