"""The hook of the connection type ``labelbox``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

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
    read_concurrency,
    read_extra,
    read_timeout,
)
from airflow_annotation.hooks.labelbox import progress, projects
from airflow_annotation.hooks.labelbox.client import CONCURRENCY, LabelboxClient, checked_url
from airflow_annotation.hooks.ports import ItemChanges
from airflow_annotation.hooks.storages import Storage, StorageSync
from airflow_annotation.hooks.tool_hook import ProgressReader, ToolHook
from airflow_annotation.labels.item_filter import ItemFilter
from airflow_annotation.labels.labelbox.media_types import NAMES
from airflow_annotation.labels.labelbox.ontology import label_schema_from_ontology
from airflow_annotation.labels.media_types import ProjectMedia
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.submissions import Submission
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.media.items import MediaItem
from airflow_annotation.transport.metering import RequestMeter
from airflow_annotation.transport.pacing import RequestPace

if TYPE_CHECKING:
    import labelbox
    from airflow.sdk import Connection

CLOUD: Final = "https://api.labelbox.com"
"""Labelbox's own API, for a connection without a host."""

_WHO: Final = "query WhoAmI { organization { name } user { email } }"


class _Organization(msgspec.Struct):
    name: str


class _User(msgspec.Struct):
    email: str


class _Who(msgspec.Struct):
    organization: _Organization
    user: _User


class LabelboxHook(ToolHook[LabelboxClient, projects.FoundProject]):
    """Works with projects in Labelbox.

    The connection's password is the API key. Its host is the API's address, for the EU, on premises or a local server;
    by default Labelbox's own. Extras:

    - ``endpoint``: GraphQL API (default ``/graphql`` at the host)
    - ``rest_endpoint``: REST API (default ``/api/v1`` at the host)
    - ``app_url``: address that people open (default the host with ``app.`` for ``api.``)
    - ``iam_integration``: name or id of the integration by which Labelbox reads buckets
    - ``global_key_namespace``: prefix of item keys, since global keys are unique in the organization
    - ``timeout``: seconds to wait for an answer (default 60)
    - ``polls_per_minute``: polling requests per minute that a triggerer may send for the connection (default 60)
    - ``concurrency``: masks and files that may be read or sent at once for a project (default 16)

    :param labelbox_conn_id: the connection
    """

    conn_name_attr = "labelbox_conn_id"
    default_conn_name = "labelbox_default"
    conn_type = "labelbox"
    hook_name = "Labelbox"
    tool: ClassVar[str] = "labelbox"
    title_lengths: ClassVar[tuple[int, int]] = (1, 200)
    progress_reader: ClassVar[ProgressReader] = progress
    projects_a_request: ClassVar[int] = progress.PROJECTS_A_REQUEST

    def __init__(self, labelbox_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.labelbox_conn_id = labelbox_conn_id
        self._found: dict[str, projects.FoundProject] = {}

    @property
    def _namespace(self) -> str:
        return str(read_extra(self.connection).get("global_key_namespace") or "")

    def make_client(self, *, attempts: int) -> LabelboxClient:
        """Return a client as the connection describes it."""
        return client_from_connection(self.connection, attempts=attempts, pace=self.pace)

    def get_conn(self) -> labelbox.Client:
        """Return Labelbox's SDK with the connection's key, for everything without a method here."""
        return self.client.sdk

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the connection works, and which organization and user it reaches, or what is wrong with it."""
        try:
            # Somebody waits for the answer: fewer tries.
            client = self.make_client(attempts=1)
            who = client.query(_WHO, "", _Who)
        except AnnotationError as error:
            return False, str(error)
        return True, f"{who.organization.name} at {client.app_url}, as {who.user.email}"

    def project_maker(
        self,
        label_schema: LabelSchema | None,
        label_config: str | None,
        copy_from: str | None,
        settings: dict[str, Any],
        media: ProjectMedia,
    ) -> projects.Maker:
        """Return the project maker; see :data:`~airflow_annotation.hooks.labelbox.projects.PROJECT_SETTINGS`.

        :param label_config: the id of an ontology
        """
        return projects.Maker(self.client, label_schema, label_config, copy_from, settings=settings, media=media)

    def list_projects(self, *, title: str = "", description: str = "") -> Iterator[projects.FoundProject]:  # noqa: ARG002 - descriptions are searched
        """Yield all projects, or those with exactly this description."""
        return projects.list_projects(self.client, description)

    def read_project(self, project_id: str) -> projects.FoundProject:
        """Return the project with this id."""
        return projects.read_project(self.client, project_id)

    def change_project(self, found: projects.FoundProject, *, title: str, description: str) -> projects.FoundProject:
        """Give a project another title and description."""
        return projects.change_project(self.client, found.id, name=title, description=description)

    def is_as_made(self, project: projects.FoundProject, first: projects.FoundProject) -> bool:
        """Return whether a project is still as the first request made it."""
        return projects.is_as_made(self.client, project.id, first.id)

    def delete_project(self, project_id: str, *, delete_data_rows: bool = False) -> bool:
        """Delete a project with its labels. Return False if it was gone already.

        :param project_id: the project
        :param delete_data_rows: also delete its data rows, from their datasets and from all other projects; by default
            they stay in the catalog
        """
        if delete_data_rows:
            from airflow_annotation.hooks.labelbox.data_rows import delete_project_rows

            delete_project_rows(self.client, project_id)
        return projects.delete_project(self.client, project_id)

    def is_own_url(self, url: str) -> bool:
        """Return whether a URL is of Labelbox itself, as the connection names it."""
        return self.client.is_own(url)

    def find_media(self, project_id: str, item_id: str, target: str = "") -> tuple[str, Mapping[str, str]] | None:
        """Return Labelbox's URL of an item's media: that of its own copy, without the key, if it has one.

        This works only for a data row of the project, because people who may see one project may not see all data rows
        of the organization.
        """
        from airflow_annotation.hooks.labelbox.data_rows import rows_in_project

        if not rows_in_project(self.client, project_id, [item_id]):
            return None
        return self.find_own_copy(project_id, item_id, target)

    def find_own_copy(
        self,
        project_id: str,  # noqa: ARG002 - what other tools ask for
        item_id: str,
        target: str = "",
    ) -> tuple[str, Mapping[str, str]] | None:
        """Like :meth:`find_media`, without the export that says whether the data row is in the project."""
        from airflow_annotation.hooks.labelbox.data_rows import find_row_url

        url = None if target else find_row_url(self.client, item_id)  # a data row has one medium, without a name
        return (url, {}) if url else None

    def get_label_schema(self, project_id: str) -> LabelSchema:
        """Read the label schema back from the project's ontology."""
        found = self._found[project_id] = self.read_project(project_id)
        return label_schema_from_ontology(found.ontology["normalized"] if found.ontology else {})

    def get_media_types(self, project_id: str) -> tuple[str, ...]:
        """Return the kind of media that the project is for."""
        word = self.read_project(project_id).allowed_media_type or ""
        return (NAMES.get(word, word.lower()),)

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
        """Add each media item that the project does not have to it. See :meth:`AnnotationHook.upload_items`.

        :param on_duplicate: ``skip`` or ``fail``: global keys are unique, so no item can be there twice
        :param overlap: number of people who label each item that this upload adds, by the consensus settings of their
            batch
        :param upload_settings: see :class:`~airflow_annotation.hooks.labelbox.upload_settings.UploadSettings`
        """
        from airflow_annotation.hooks.labelbox.upload import ItemUpload
        from airflow_annotation.hooks.labelbox.upload_settings import read_upload_settings

        project = self.read_project(project_id)
        upload = ItemUpload(
            self.client,
            project,
            read_upload_settings(upload_settings or {}, project, overlap),
            media_access=media_access,
            on_duplicate=on_duplicate,
            iam_integration=read_extra(self.connection).get("iam_integration"),
            namespace=self._namespace,
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
        """Give the project's data rows predictions, or annotations. See :meth:`AnnotationHook.upload_predictions`."""
        from airflow_annotation.hooks.labelbox.predictions import PredictionUpload

        upload = PredictionUpload(
            self.client,
            self.read_project(project_id),
            model_version=model_version,
            mode=mode,
            on_existing=on_existing,
            coordinates=coordinates,
            mask_budget=self.mask_budget,
            namespace=self._namespace,
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
        """Move labeled data rows to the rework task, and clear skips. See :meth:`AnnotationHook.requeue_items`.

        A skip without labels is deleted, which puts its data row back into the labeling queue. Labels stay, so that
        people can change them: Labelbox fixes how many labels a data row gets when its batch is made.
        """
        from airflow_annotation.hooks.labelbox.requeue import requeue_items

        return requeue_items(
            self.client, project_id, item_keys, request=request, item_ids=item_ids, namespace=self._namespace
        )

    def assign_items(
        self, project_id: str, annotators: Sequence[str], *, overlap: int = 1, item_keys: Iterable[str] | None = None
    ) -> AssignmentReport:
        """Reserve data rows of the labeling queue for people. See :meth:`AnnotationHook.assign_items`.

        :param overlap: must be 1, since Labelbox reserves a data row for one person
        """
        from airflow_annotation.hooks.labelbox.assign import assign_items

        return assign_items(
            self.client, project_id, annotators, overlap=overlap, item_keys=item_keys, namespace=self._namespace
        )

    def sync_storage(self, project_id: str, storage: Storage) -> StorageSync:
        """Put the objects of a bucket into a project by reference. See :meth:`Storages.sync_storage`.

        Labelbox has no syncs: the worker lists the bucket, and Labelbox reads the objects by its IAM integration.
        Settings are those of an upload.
        """
        from airflow_annotation.hooks.labelbox.storages import sync_storage

        integration = read_extra(self.connection).get("iam_integration")
        return sync_storage(self, self.client, project_id, storage, iam_integration=integration)

    def read_tables(
        self,
        project: AnnotationProject,
        options: ReadOptions = ReadOptions(),
        item_ids: Iterable[str] | None = None,
    ) -> Iterator[LabelTables]:
        """Yield the project as batches of whole items. See :meth:`AnnotationHook.read_tables`."""
        from airflow_annotation.hooks.labelbox.export import read_tables

        found = self._found.pop(project.id, None)
        return read_tables(
            self.client,
            found or self.read_project(project.id),
            project,
            options,
            mask_budget=self.mask_budget,
            namespace=self._namespace,
            item_ids=item_ids,
        )

    def list_item_ids(self, project_id: str) -> Iterator[pa.Array]:
        """Yield the ids of all data rows: an export names each once."""
        for batch in self.list_item_states(project_id):
            yield batch.column("item_id")

    def list_item_states(
        self,
        project_id: str,
        *,
        include_predictions: bool = False,  # noqa: ARG002 - they are new ones when they change
        items: ItemFilter | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the state of every data row, without labels. See :meth:`AnnotationHook.list_item_states`."""
        from airflow_annotation.hooks.labelbox.item_filters import RowFilter
        from airflow_annotation.hooks.labelbox.item_states import list_item_states

        fitting = None if items is None else RowFilter(self.client, project_id, items, namespace=self._namespace)
        return list_item_states(self.client, project_id, fitting)

    def mark_changes(self, project_id: str) -> dict[str, Any] | None:  # noqa: ARG002 - what other tools ask for
        """Return a mark of now for :meth:`list_changes`. See :meth:`AnnotationHook.mark_changes`."""
        from airflow_annotation.hooks.labelbox.item_changes import mark_changes

        return mark_changes(self.client)

    def list_changes(
        self, project_id: str, before: Mapping[str, Any], now: Mapping[str, Any], *, include_predictions: bool = False
    ) -> ItemChanges | None:
        """List the data rows with activity since. See :meth:`AnnotationHook.list_changes`."""
        from airflow_annotation.hooks.labelbox.item_changes import list_changes

        return list_changes(self.client, project_id, before, now, include_predictions=include_predictions)

    def get_last_change(self, project_id: str) -> datetime | None:
        """Ask when the project was last changed. See :meth:`AnnotationHook.get_last_change`."""
        return projects.get_last_change(self.client, project_id)


def client_from_connection(
    connection: Connection, *, attempts: int = 5, pace: RequestPace | None = None
) -> LabelboxClient:
    """Return the client that an Airflow connection of type ``labelbox`` describes.

    :param connection: a connection of any origin: the form, the command line, an environment variable, a URI
    :param attempts: maximum number of retries of a failed request
    :param pace: limit of requests per minute; None for no limit
    :raises AnnotationError: the connection does not describe a client; the message says which field is wrong
    """
    extra = read_extra(connection)
    host = _host(connection)
    app = extra.get("app_url") or host.replace("://api.", "://app.", 1)
    return LabelboxClient(
        api_key=connection.password or "",
        endpoint=checked_url(extra.get("endpoint") or f"{host}/graphql", "extra field endpoint"),
        rest_endpoint=checked_url(extra.get("rest_endpoint") or f"{host}/api/v1", "extra field rest_endpoint"),
        app_url=checked_url(app, "extra field app_url"),
        timeout=read_timeout(extra),
        attempts=attempts,
        pace=pace,
        meter=RequestMeter(connection.conn_id, "labelbox"),
        concurrency=read_concurrency(extra, default=CONCURRENCY),
    )


def _host(connection: Connection) -> str:
    host = (connection.host or "").strip() or CLOUD
    # Airflow's URI form of a connection has room for a scheme in its schema field only.
    scheme = (connection.schema or "").strip() or "https"
    url = checked_url(host if "://" in host else f"{scheme}://{host}", "host")
    if connection.port and url.count(":") == 1:
        url = f"{url}:{connection.port}"
    return url.removesuffix("/graphql")
