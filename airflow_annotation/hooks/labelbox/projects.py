"""Projects in Labelbox, and the annotation runs that they belong to.

Labelbox itself is the registry of runs, as :mod:`~airflow_annotation.hooks.run_marker` says. Its API finds projects
only by their whole name or description.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any, Final, TypeVar

import httpx
import msgspec

from airflow_annotation.arguments import as_text
from airflow_annotation.exceptions import (
    AnnotationError,
    AnnotationProjectNotFoundError,
    AnnotationRequestError,
)
from airflow_annotation.hooks.errors import other_media_type, project_not_found
from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.hooks.labelbox.errors import TOOL, missing_project
from airflow_annotation.hooks.settings import check_settings
from airflow_annotation.hooks.tool_hook import ProjectMaker
from airflow_annotation.labels.labelbox.media_types import ASKED, MEDIA_TYPES, NAMES
from airflow_annotation.labels.media_types import ProjectMedia, find_media_type
from airflow_annotation.labels.schema import LabelSchema

T = TypeVar("T")

log = logging.getLogger(__name__)

QUALITY_MODES: Final = ("benchmark", "consensus")

PROJECT_SETTINGS: Final = ("quality_mode", "index_fields", "model_assisted_labeling")
"""Settings that a caller may give.

``quality_mode`` is one of :data:`QUALITY_MODES` or
a list of both. ``index_fields`` names fields of the label schema that are asked for each frame.
``model_assisted_labeling`` shows predictions to labelers.
"""

_PAGE_SIZE: Final = 100
_FIELDS: Final = (
    "id name description createdAt allowedMediaType isBenchmarkEnabled isConsensusEnabled ontology { id normalized }"
)
_LAST_CHANGE: Final = "query LastChange($id: ID!) { project(where: {id: $id}) { lastActivityTime } }"
_LISTED: Final = "id name description createdAt"


class FoundProject(msgspec.Struct, rename="camel"):
    """A project as Labelbox describes it. Fields that a list does not have are None."""

    id: str
    title: str = msgspec.field(name="name")
    created_at: datetime
    description: str | None = None
    allowed_media_type: str | None = None
    is_benchmark_enabled: bool | None = None
    is_consensus_enabled: bool | None = None
    ontology: dict[str, Any] | None = None

    @property
    def age(self) -> tuple[datetime, str]:
        """When it was made. The id gives two projects of the same time an order."""
        return self.created_at, self.id


class _Activity(msgspec.Struct, rename="camel"):
    last_activity_time: datetime | None


class ProjectSettings(msgspec.Struct, frozen=True):
    """Checked settings of a project.

    :param quality_modes: some of :data:`QUALITY_MODES`; empty for Labelbox's own choice
    :param index_fields: fields that are asked for each frame
    :param model_assisted_labeling: whether labelers see predictions; None if the caller does not say
    """

    quality_modes: tuple[str, ...] = ()
    index_fields: tuple[str, ...] = ()
    model_assisted_labeling: bool | None = None


def read_settings(settings: Mapping[str, Any]) -> ProjectSettings:
    """Check the project settings that a caller gave.

    :raises AnnotationError: a name is not one of :data:`PROJECT_SETTINGS`, or Labelbox does not know a value
    """
    check_settings(settings, PROJECT_SETTINGS, "Labelbox has no project setting")
    modes = settings.get("quality_mode") or ()
    modes = tuple(str(mode).lower() for mode in ([modes] if isinstance(modes, str) else modes))
    if not set(modes) <= set(QUALITY_MODES):
        raise AnnotationError(f"quality_mode is {settings['quality_mode']!r}: pass {' or '.join(QUALITY_MODES)}.")
    assisted = settings.get("model_assisted_labeling")
    if not isinstance(assisted, bool | None):
        raise AnnotationError(f"model_assisted_labeling is {assisted!r}: pass true or false.")
    fields = as_text(settings.get("index_fields")) or ()  # Airflow may render a name as a number
    return ProjectSettings(
        quality_modes=modes,
        index_fields=(fields,) if isinstance(fields, str) else tuple(fields),
        model_assisted_labeling=assisted,
    )


def read_project(client: LabelboxClient, project_id: str) -> FoundProject:
    """Return the project with this id.

    :raises AnnotationProjectNotFoundError: there is no such project
    """
    document = f"query ReadProject($id: ID!) {{ project(where: {{id: $id}}) {{ {_FIELDS} }} }}"
    return _query_project(client, project_id, document, FoundProject)


def get_last_change(client: LabelboxClient, project_id: str) -> datetime | None:
    """Ask when the project was last worked on."""
    return _query_project(client, project_id, _LAST_CHANGE, _Activity).last_activity_time


def _query_project(client: LabelboxClient, project_id: str, document: str, type_: type[T]) -> T:
    with missing_project(client.app_url, project_id):
        project: T | None = client.query(document, "project", type_ | None, id=project_id)
    if project is None:
        raise project_not_found(TOOL, client.app_url, project_id)
    return project


def is_as_made(client: LabelboxClient, project_id: str, first_id: str) -> bool:
    """Return whether a project has the texts and media type of the first one, and the same ontology or none."""
    try:
        other, first = read_project(client, project_id), read_project(client, first_id)
    except AnnotationProjectNotFoundError:  # Somebody else deleted it.
        return False
    return (
        (other.title, other.description) == (first.title, first.description)
        and other.allowed_media_type == first.allowed_media_type
        and (other.ontology is None or other.ontology == first.ontology)
    )


def change_project(client: LabelboxClient, project_id: str, **fields: str) -> FoundProject:
    """Change some fields of a project."""
    with client.using_sdk() as sdk:
        sdk.get_project(project_id).update(**fields)
    return read_project(client, project_id)


def delete_project(client: LabelboxClient, project_id: str) -> bool:
    """Delete a project; its data rows stay in their datasets. Return False if it was gone already."""
    try:
        with client.using_sdk() as sdk:
            sdk.get_project(project_id).delete()
    except AnnotationRequestError as error:
        if error.status_code == httpx.codes.NOT_FOUND:
            return False
        raise
    return True


class Maker(ProjectMaker[FoundProject]):
    """Makes projects with an ontology and settings.

    :param client: client of the organization
    :param label_schema: label schema of the project
    :param ontology_id: id of an existing ontology, instead of a label schema
    :param copy_from: id of the project whose ontology and settings are used, instead of a label schema
    :param settings: settings by name, see :func:`read_settings`
    :param media: media of the project's items
    :raises AnnotationError: a setting or the kind of media is not one of Labelbox's
    :raises LabelSchemaError: Labelbox has no such kind of media, or cannot ask the schema's questions about it
    """

    def __init__(
        self,
        client: LabelboxClient,
        label_schema: LabelSchema | None,
        ontology_id: str | None,
        copy_from: str | None,
        *,
        settings: Mapping[str, Any],
        media: ProjectMedia,
    ) -> None:
        self._client = client
        self._label_schema = label_schema
        self._asked_ontology_id = ontology_id
        self._copy_from = copy_from
        self._asked = read_settings(settings)
        media_type = media.media_type
        if label_schema is not None:
            media_type = find_media_type(label_schema, media, ASKED, TOOL)
        elif media_type is not None and media_type not in MEDIA_TYPES:
            raise AnnotationError(f"media_type is {media_type!r}: Labelbox projects are for {', '.join(MEDIA_TYPES)}.")
        self._media_type = None if media_type is None else MEDIA_TYPES[media_type]

    def make(self, title: str, description: str) -> FoundProject:
        """Make a project, without its ontology."""
        settings, media_type, _ = self._labeling
        with self._client.using_sdk() as sdk:
            from labelbox import MediaType
            from labelbox.schema.quality_mode import QualityMode

            chosen = {QualityMode(mode.upper()) for mode in settings.quality_modes}
            made = sdk.create_project(
                name=title,
                media_type=MediaType(media_type),
                description=description,
                quality_modes=chosen or set(QualityMode),
            )
            return FoundProject(id=made.uid, title=title, created_at=made.created_at, description=description)

    def complete(self, made: FoundProject) -> None:
        """Connect the ontology to a project that has none: the try that made the project may have been interrupted."""
        settings, _, ontology_id = self._labeling
        if read_project(self._client, made.id).ontology is None:
            self._connect(made.id, ontology_id)
        if settings.model_assisted_labeling is not None:
            with self._client.using_sdk() as sdk:
                sdk.get_project(made.id).enable_model_assisted_labeling(settings.model_assisted_labeling)

    def keep(self, found: FoundProject) -> None:
        """Connect the ontology if there is none. Log a warning if there is another one than the one that is asked for.

        :raises AnnotationError: the project is for another kind of media
        """
        current = read_project(self._client, found.id)
        self._check_media_type(current)
        _, _, ontology_id = self._labeling
        ontology = current.ontology
        if ontology is None:
            self._connect(found.id, ontology_id)
        elif ontology["id"] != ontology_id:
            log.warning(
                "Project %s has another ontology than the one given, and keeps it. "
                "Pass if_exists='update' to change it.",
                found.id,
            )

    def update(self, found: FoundProject, title: str, description: str | None) -> FoundProject:
        """Give a project another title and ontology.

        :raises AnnotationError: another kind of media or quality mode is asked for, which no project can change
        """
        current = read_project(self._client, found.id)
        self._check_media_type(current)
        settings, _, ontology_id = self._labeling
        has = (bool(current.is_benchmark_enabled), bool(current.is_consensus_enabled))
        if settings.quality_modes and tuple(mode in settings.quality_modes for mode in QUALITY_MODES) != has:
            raise AnnotationError(f"The quality mode of project {found.id} cannot be changed.")
        changes = {"name": title} | ({} if description is None else {"description": description})
        with self._client.using_sdk() as sdk:
            sdk.get_project(found.id).update(**changes)
        if (current.ontology or {}).get("id") != ontology_id:
            self._connect(found.id, ontology_id)
        self.complete(found)
        return read_project(self._client, found.id)

    def _check_media_type(self, found: FoundProject) -> None:
        has = found.allowed_media_type or ""
        if self._media_type not in {None, has}:
            raise other_media_type(found.id, NAMES.get(has, has), NAMES[str(self._media_type)])

    def _connect(self, project_id: str, ontology_id: str) -> None:
        with self._client.using_sdk() as sdk:
            try:
                sdk.get_project(project_id).connect_ontology(sdk.get_ontology(ontology_id))
            except ValueError as error:
                raise AnnotationError(
                    f"Ontology {ontology_id} cannot be connected to project {project_id}: {error}"
                ) from error

    @cached_property
    def _labeling(self) -> tuple[ProjectSettings, str | None, str]:
        """Settings, Labelbox's name of the kind of media, and the ontology's id. Makes an ontology if there is none."""
        from airflow_annotation.hooks.labelbox.ontologies import check_ontology, ensure_ontology

        settings = self._asked
        if self._copy_from is not None:
            template = read_project(self._client, self._copy_from)
            if template.ontology is None:
                raise AnnotationError(f"Project {self._copy_from} has no ontology to copy.")
            modes = (template.is_benchmark_enabled, template.is_consensus_enabled)
            copied = tuple(mode for mode, enabled in zip(QUALITY_MODES, modes, strict=True) if enabled)
            settings = msgspec.structs.replace(settings, quality_modes=settings.quality_modes or copied)
            return settings, self._media_type or template.allowed_media_type, str(template.ontology["id"])
        if self._asked_ontology_id is not None:
            made_for = check_ontology(self._client, self._asked_ontology_id)
            return settings, self._media_type or made_for or MEDIA_TYPES["image"], self._asked_ontology_id
        assert self._label_schema is not None
        assert self._media_type is not None
        ontology_id = ensure_ontology(
            self._client, self._label_schema, media_type=self._media_type, index_fields=settings.index_fields
        )
        return settings, self._media_type, ontology_id


def list_projects(client: LabelboxClient, description: str = "") -> Iterator[FoundProject]:
    """Yield all projects, or those with exactly this description."""
    parameters, conditions, variables = "", "{deleted: false}", {}
    if description:
        parameters = "($description: String!)"
        conditions = "{AND: [{description: $description}, {deleted: false}]}"
        variables = {"description": description}
    for skip in itertools.count(0, _PAGE_SIZE):
        document = (
            f"query ListProjects{parameters} "
            f"{{ projects(where: {conditions} skip: {skip} first: {_PAGE_SIZE}) {{ {_LISTED} }} }}"
        )
        page = client.query(document, "projects", list[FoundProject], **variables)
        yield from page
        if len(page) < _PAGE_SIZE:
            return
