"""The hook of the connection type ``labelbox``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec
import pyarrow as pa
from asgiref.sync import sync_to_async

from airflow_annotation.exceptions import AnnotationError, AnnotationProjectNotFound
from airflow_annotation.hooks.annotation import (
    AnnotationHook,
    AnnotationProgress,
    AnnotationProject,
    Coordinates,
    IfExists,
    MediaAccess,
    OnDuplicate,
    OnExisting,
    UploadMode,
    UploadReport,
)
from airflow_annotation.hooks.connection_fields import (
    connection_form_behaviour,
    connection_form_widgets,
    read_extra,
    read_polls_per_minute,
    read_timeout,
)
from airflow_annotation.hooks.labelbox import progress, projects
from airflow_annotation.hooks.labelbox.client import LabelboxClient, checked_url
from airflow_annotation.labels.labelbox.ontology import label_schema_from_ontology
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.submissions import Submission
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.media.items import MediaItem
from airflow_annotation.transport.pacing import RequestPace

if TYPE_CHECKING:
    import labelbox
    from airflow.sdk import Connection

CLOUD: Final = "https://api.labelbox.com"
"""Labelbox's own API, where a connection has no host."""

_WHO: Final = "query WhoAmI { organization { name } user { email } }"


class _Organization(msgspec.Struct):
    name: str


class _User(msgspec.Struct):
    email: str


class _Who(msgspec.Struct):
    organization: _Organization
    user: _User


class LabelboxHook(AnnotationHook):
    """Works with projects in Labelbox.

    The connection's password is the API key. Its host is the API's address, for the EU, on premises or a local server;
    Labelbox's own by default. Extras: ``endpoint`` (GraphQL API, by default ``/graphql`` at the host),
    ``rest_endpoint`` (``/api/v1`` at the host), ``app_url`` (what people open; the host with ``app.`` for ``api.``),
    ``iam_integration`` (name or id of the integration by which Labelbox reads buckets), ``global_key_namespace`` (kept
    in front of item keys, since global keys are unique in the organisation), ``timeout`` (seconds, default 60),
    ``polls_per_minute`` (requests that waiting in a triggerer may cost, default 60).

    :param labelbox_conn_id: the connection
    """

    conn_name_attr = "labelbox_conn_id"
    default_conn_name = "labelbox_default"
    conn_type = "labelbox"
    hook_name = "Labelbox"
    tool: ClassVar[str] = "labelbox"
    projects_a_request: ClassVar[int] = progress.PROJECTS_A_REQUEST

    def __init__(self, labelbox_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.labelbox_conn_id = labelbox_conn_id
        self._found: dict[str, projects.FoundProject] = {}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the extra fields of the form, for Airflow 3.1. Later ones read the provider's metadata."""
        return connection_form_widgets(cls.conn_type)

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return labels and placeholders of the connection's form, for Airflow 3.1."""
        return connection_form_behaviour(cls.conn_type)

    @cached_property
    def client(self) -> LabelboxClient:
        """The client that the connection describes.

        :raises AnnotationError: the connection describes none
        """
        return client_from_connection(self.connection, attempts=self.attempts, pace=self.pace)

    @property
    def _namespace(self) -> str:
        return str(read_extra(self.connection).get("global_key_namespace") or "")

    @property
    def polls_per_minute(self) -> float:  # type: ignore[override]  # the base class has the default
        """How many requests a minute waiting in a triggerer may cost.

        :raises AnnotationError: the connection's extra field is no such number
        """
        return read_polls_per_minute(read_extra(self.connection))

    def get_conn(self) -> labelbox.Client:
        """Return Labelbox's SDK with the connection's key, for all that has no method here."""
        return self.client.sdk

    def test_connection(self) -> tuple[bool, str]:
        """Say which organisation and which user the connection reaches, or what is wrong with it."""
        try:
            # Somebody waits for it: fewer tries.
            client = client_from_connection(self.connection, attempts=1)
            who = client.query(_WHO, "", _Who)
        except AnnotationError as error:
            return False, str(error)
        return True, f"{who.organization.name} at {client.app_url}, as {who.user.email}"

    def create_project(
        self,
        *,
        title: str,
        run_key: str,
        label_schema: LabelSchema | None = None,
        label_config: str | None = None,
        copy_from: str | None = None,
        description: str = "",
        settings: dict[str, Any] | None = None,
        if_exists: IfExists = "reuse",
    ) -> AnnotationProject:
        """Make the project of a run, or find it. See :meth:`AnnotationHook.create_project`.

        :param label_config: the id of an ontology
        :param settings: see :data:`~airflow_annotation.hooks.labelbox.projects.PROJECT_SETTINGS`
        :param if_exists: ``reuse`` the run's project as it is, ``fail``, or ``update`` its title and ontology
        """
        if sum(source is not None for source in (label_schema, label_config, copy_from)) != 1:
            raise AnnotationError("Pass exactly one of label_schema, label_config and copy_from.")
        title = " ".join(title.split())
        if not run_key.strip() or not title:
            raise AnnotationError(f"The {'title' if run_key.strip() else 'run_key'} is empty.")
        checked = projects.read_settings(settings or {})
        found = projects.find_project(self.client, run_key)
        if found is not None and if_exists == "fail":
            project = projects.project_of(self.client, found, run_key)
            raise AnnotationError(f"The run {run_key!r} has a project already: {project.url} ({project.title!r}).")
        checked, ontology_id = self._what_to_label(checked, label_schema, label_config, copy_from)
        if found is not None and if_exists == "update":
            return projects.update_project(
                self.client,
                found,
                title=title,
                run_key=run_key,
                description=description,
                settings=checked,
                ontology_id=ontology_id,
            )
        if found is not None:
            self._keep(found, ontology_id)
            return projects.project_of(self.client, found, run_key)
        return projects.create_project(
            self.client,
            title=title,
            run_key=run_key,
            description=description,
            settings=checked,
            ontology_id=ontology_id,
        )

    def get_project(self, project_id: str) -> AnnotationProject:
        """Return the project with this id."""
        return projects.project_of(self.client, projects.read_project(self.client, project_id))

    def project_uri(self, project_id: str) -> str:
        """Return the asset URI of the project with this id: ``labelbox://host/projects/ck…``."""
        return projects.project_uri(self.client.app_url, project_id)

    def find_project(self, run_key: str) -> AnnotationProject | None:
        """Return the run's project, the oldest if two were made at once, or None."""
        found = projects.find_project(self.client, run_key)
        return None if found is None else projects.project_of(self.client, found, run_key)

    def find_projects(self, run_keys: Collection[str]) -> dict[str, AnnotationProject]:
        """Return the projects of those of the runs that have one, by key, looking through all projects once."""
        found = projects.find_projects(self.client, run_keys)
        return {run_key: projects.project_of(self.client, project, run_key) for run_key, project in found.items()}

    def list_runs(self, prefix: str = "") -> Iterator[AnnotationProject]:
        """Yield the projects that belong to a run whose key starts with ``prefix``."""
        return projects.list_runs(self.client, prefix)

    def rename_run(self, run_key: str, new_run_key: str) -> AnnotationProject:
        """Give a run another key. Its project stays as it is, but for the hash in its title."""
        return projects.rename_run(self.client, run_key, new_run_key)

    def delete_project(self, project_id: str, *, delete_data_rows: bool = False) -> bool:
        """Delete a project with its labels. Return False if it was gone already.

        :param project_id: the project
        :param delete_data_rows: delete its data rows, too, from their datasets and from all other projects; by default
            they stay in the catalog
        """
        if delete_data_rows:
            from airflow_annotation.hooks.labelbox.data_rows import delete_project_rows

            delete_project_rows(self.client, project_id)
        return projects.delete_project(self.client, project_id)

    def get_label_schema(self, project_id: str) -> LabelSchema:
        """Read the label schema back from the project's ontology."""
        found = self._found[project_id] = projects.read_project(self.client, project_id)
        return label_schema_from_ontology(found.ontology["normalized"] if found.ontology else {})

    def upload_items(
        self,
        project_id: str,
        items: Iterable[MediaItem],
        *,
        media_access: MediaAccess = "auto",
        on_duplicate: OnDuplicate = "skip",
        upload_settings: Mapping[str, Any] | None = None,
    ) -> UploadReport:
        """Put each media item that the project does not have into it. See :meth:`AnnotationHook.upload_items`.

        :param on_duplicate: ``skip`` or ``fail``: global keys are unique, so that no item can be there twice
        :param upload_settings: see :class:`~airflow_annotation.hooks.labelbox.upload_settings.UploadSettings`
        """
        from airflow_annotation.hooks.labelbox.upload import upload_items
        from airflow_annotation.hooks.labelbox.upload_settings import read_upload_settings

        project = projects.read_project(self.client, project_id)
        return upload_items(
            self.client,
            project,
            items,
            media_access=media_access,
            on_duplicate=on_duplicate,
            settings=read_upload_settings(upload_settings or {}, project),
            iam_integration=read_extra(self.connection).get("iam_integration"),
            namespace=self._namespace,
        )

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
        from airflow_annotation.hooks.labelbox.predictions import upload_predictions

        return upload_predictions(
            self.client,
            projects.read_project(self.client, project_id),
            submissions,
            model_version=model_version,
            mode=mode,
            on_existing=on_existing,
            coordinates=coordinates,
            namespace=self._namespace,
        )

    def get_progress(self, project_id: str) -> AnnotationProgress:
        """Ask how far the labeling is. See :func:`~airflow_annotation.hooks.labelbox.progress.get_progress`."""
        return progress.get_progress(self.client, project_id)

    async def aget_progress(self, project_id: str) -> AnnotationProgress:
        """Like :meth:`get_progress`, for triggers."""
        # Reading the connection blocks, which an event loop must not.
        client = await sync_to_async(lambda: self.client)()
        return await progress.aget_progress(client, project_id)

    async def aget_progress_of(
        self, project_ids: Collection[str]
    ) -> dict[str, AnnotationProgress | AnnotationProjectNotFound]:
        """Ask for several projects at once. See :meth:`AnnotationHook.aget_progress_of`."""
        client = await sync_to_async(lambda: self.client)()
        return await progress.aget_progress_of(client, project_ids)

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
            found or projects.read_project(self.client, project.id),
            project,
            options,
            mask_budget=self.mask_budget,
            namespace=self._namespace,
            item_ids=item_ids,
        )

    def list_item_states(
        self,
        project_id: str,
        *,
        include_predictions: bool = False,  # noqa: ARG002 - they are new ones when they change
    ) -> Iterator[pa.RecordBatch]:
        """Yield the state of every data row, without labels. See :meth:`AnnotationHook.list_item_states`."""
        from airflow_annotation.hooks.labelbox.item_states import list_item_states

        return list_item_states(self.client, project_id)

    def get_last_change(self, project_id: str) -> datetime | None:
        """Ask when the project was last worked on. See :meth:`AnnotationHook.get_last_change`."""
        return projects.get_last_change(self.client, project_id)

    def _what_to_label(
        self,
        settings: projects.ProjectSettings,
        label_schema: LabelSchema | None,
        label_config: str | None,
        copy_from: str | None,
    ) -> tuple[projects.ProjectSettings, str]:
        """Return settings with a media type, and the id of the ontology, which is made if need be."""
        from airflow_annotation.hooks.labelbox.ontologies import check_ontology, ensure_ontology

        if copy_from is not None:
            template = projects.read_project(self.client, copy_from)
            if template.ontology is None:
                raise AnnotationError(f"Project {copy_from} has no ontology to copy.")
            modes = (template.is_benchmark_enabled, template.is_consensus_enabled)
            copied = tuple(mode for mode, enabled in zip(projects.QUALITY_MODES, modes, strict=True) if enabled)
            settings = msgspec.structs.replace(
                settings,
                media_type=settings.media_type or template.allowed_media_type,
                quality_modes=settings.quality_modes or copied,
            )
            return settings, str(template.ontology["id"])
        if label_config is not None:
            made_for = check_ontology(self.client, label_config)
            media_type = settings.media_type or made_for or "IMAGE"
            return msgspec.structs.replace(settings, media_type=media_type), label_config
        assert label_schema is not None
        settings = msgspec.structs.replace(settings, media_type=settings.media_type or "IMAGE")
        ontology_id = ensure_ontology(
            self.client, label_schema, media_type=settings.media_type or "IMAGE", index_fields=settings.index_fields
        )
        return settings, ontology_id

    def _keep(self, found: projects.FoundProject, ontology_id: str) -> None:
        ontology = projects.read_project(self.client, found.id).ontology
        if ontology is None:
            projects.complete_project(self.client, found.id, ontology_id)
        elif ontology["id"] != ontology_id:
            self.log.warning(
                "Project %s has another ontology than the one given, and keeps it. "
                "Pass if_exists='update' to change it.",
                found.id,
            )


def client_from_connection(
    connection: Connection, *, attempts: int = 5, pace: RequestPace | None = None
) -> LabelboxClient:
    """Return the client that an Airflow connection of type ``labelbox`` describes.

    :param connection: of any origin: the form, the command line, an environment variable, a URI
    :param attempts: how often a failed request is repeated at most
    :param pace: how many requests may go out a minute; None for no limit
    :raises AnnotationError: it describes none; the message says which field is wrong
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
    )


def _host(connection: Connection) -> str:
    host = (connection.host or "").strip() or CLOUD
    # Airflow's URI form of a connection has room for a scheme in its schema field only.
    scheme = (connection.schema or "").strip() or "https"
    url = checked_url(host if "://" in host else f"{scheme}://{host}", "host")
    if connection.port and url.count(":") == 1:
        url = f"{url}:{connection.port}"
    return url.removesuffix("/graphql")
