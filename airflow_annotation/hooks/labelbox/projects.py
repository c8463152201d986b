"""Projects in Labelbox, and the annotation runs that they belong to.

Labelbox itself is the registry of runs, as :mod:`~airflow_annotation.hooks.run_marker` says. Its API finds projects by
their whole name or description only.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import httpx
import msgspec

from airflow_annotation.exceptions import (
    AnnotationConnectionError,
    AnnotationError,
    AnnotationProjectNotFound,
    AnnotationRequestError,
)
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.errors import project_not_found
from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.hooks.labelbox.errors import TOOL, missing_project
from airflow_annotation.hooks.labelbox.progress import get_progress
from airflow_annotation.hooks.run_marker import (
    check_settings,
    read_run_key,
    rename_title,
    run_description,
    run_mark,
    run_title,
)

if TYPE_CHECKING:
    import labelbox

log = logging.getLogger(__name__)

MEDIA_TYPES: Final = {
    "image": "IMAGE",
    "video": "VIDEO",
    "audio": "AUDIO",
    "text": "TEXT",
    "html": "HTML",
    "pdf": "PDF",
    "conversational": "CONVERSATIONAL",
    "tms_geo": "TMS_GEO",
    "tms_simple": "TMS_SIMPLE",
}
"""Labelbox's word for a media type."""

QUALITY_MODES: Final = ("benchmark", "consensus")

PROJECT_SETTINGS: Final = ("media_type", "quality_mode", "index_fields", "model_assisted_labeling")
"""Settings that a caller may give.

``media_type`` is one of :data:`MEDIA_TYPES`, ``image`` by default. ``quality_mode`` is one of :data:`QUALITY_MODES` or
a list of both. ``index_fields`` names fields of the label schema that are asked of each frame.
``model_assisted_labeling`` shows predictions to labelers.
"""

_LONGEST_TITLE: Final = 200
_PAGE_SIZE: Final = 100
_FIELDS: Final = (
    "id name description createdAt allowedMediaType isBenchmarkEnabled isConsensusEnabled ontology { id normalized }"
)
_LAST_CHANGE: Final = "query LastChange($id: ID!) { project(where: {id: $id}) { lastActivityTime } }"
_LISTED: Final = "id name description createdAt"


class FoundProject(msgspec.Struct, rename="camel"):
    """A project as Labelbox describes it. What a list leaves out is None."""

    id: str
    name: str
    created_at: str
    description: str | None = None
    allowed_media_type: str | None = None
    is_benchmark_enabled: bool | None = None
    is_consensus_enabled: bool | None = None
    ontology: dict[str, Any] | None = None


class _Activity(msgspec.Struct, rename="camel"):
    last_activity_time: datetime | None


class ProjectSettings(msgspec.Struct, frozen=True):
    """Checked settings of a project.

    :param media_type: Labelbox's word for it; None where the caller did not say
    :param quality_modes: some of :data:`QUALITY_MODES`; empty for Labelbox's own choice
    :param index_fields: fields that are asked of each frame
    :param model_assisted_labeling: None where the caller did not say
    """

    media_type: str | None = None
    quality_modes: tuple[str, ...] = ()
    index_fields: tuple[str, ...] = ()
    model_assisted_labeling: bool | None = None


def read_settings(settings: Mapping[str, Any]) -> ProjectSettings:
    """Check the project settings that a caller gave.

    :raises AnnotationError: a name is none of :data:`PROJECT_SETTINGS`, or a value is none that Labelbox knows
    """
    check_settings(settings, PROJECT_SETTINGS, "Labelbox has no project setting")
    media_type = settings.get("media_type")
    if media_type is not None and str(media_type).lower() not in MEDIA_TYPES:
        raise AnnotationError(f"media_type is {media_type!r}: Labelbox projects are for {', '.join(MEDIA_TYPES)}.")
    modes = settings.get("quality_mode") or ()
    modes = tuple(str(mode).lower() for mode in ([modes] if isinstance(modes, str) else modes))
    if not set(modes) <= set(QUALITY_MODES):
        raise AnnotationError(f"quality_mode is {settings['quality_mode']!r}: pass {' or '.join(QUALITY_MODES)}.")
    assisted = settings.get("model_assisted_labeling")
    if not isinstance(assisted, bool | None):
        raise AnnotationError(f"model_assisted_labeling is {assisted!r}: pass true or false.")
    fields = settings.get("index_fields") or ()
    return ProjectSettings(
        media_type=MEDIA_TYPES[str(media_type).lower()] if media_type is not None else None,
        quality_modes=modes,
        index_fields=(fields,) if isinstance(fields, str) else tuple(fields),
        model_assisted_labeling=assisted,
    )


def project_uri(app_url: str, project_id: str) -> str:
    """Return the asset URI of a project.

    :param app_url: where people label
    """
    app = httpx.URL(app_url)
    return f"labelbox://{app.netloc.decode()}{app.path.rstrip('/')}/projects/{project_id}"


def project_of(client: LabelboxClient, found: FoundProject, run_key: str | None = None) -> AnnotationProject:
    """Return a project of Labelbox as it travels through XCom."""
    return AnnotationProject(
        id=found.id,
        title=found.name,
        url=f"{client.app_url}/projects/{found.id}",
        uri=project_uri(client.app_url, found.id),
        tool="labelbox",
        run_key=run_key or read_run_key(found.description),
        created_at=msgspec.convert(found.created_at, datetime, strict=False),
    )


def read_project(client: LabelboxClient, project_id: str) -> FoundProject:
    """Return the project with this id.

    :raises AnnotationProjectNotFound: there is none
    """
    document = f"query ReadProject($id: ID!) {{ project(where: {{id: $id}}) {{ {_FIELDS} }} }}"
    with missing_project(client.app_url, project_id):
        project = client.query(document, "project", FoundProject | None, id=project_id)
    if project is None:
        raise project_not_found(TOOL, client.app_url, project_id)
    return project


def get_last_change(client: LabelboxClient, project_id: str) -> datetime | None:
    """Ask when the project was last worked on."""
    with missing_project(client.app_url, project_id):
        project = client.query(_LAST_CHANGE, "project", _Activity | None, id=project_id)
    if project is None:
        raise project_not_found(TOOL, client.app_url, project_id)
    return project.last_activity_time


def find_project(client: LabelboxClient, run_key: str) -> FoundProject | None:
    """Return the run's project, the oldest if there are several, or None.

    One request where the project's description is as this provider wrote it, and nobody added anything; else all
    projects are looked through.
    """
    found = [one for one in _list(client, description=run_description("", run_key)) if _belongs(one, run_key)]
    return _oldest(found) if found else find_projects(client, [run_key]).get(run_key)


def find_projects(client: LabelboxClient, run_keys: Collection[str]) -> dict[str, FoundProject]:
    """Return the projects of those of the runs that have one, by key, looking through all projects once."""
    found: dict[str, list[FoundProject]] = {}
    for listed in _list(client):
        for run_key in run_keys:
            if _belongs(listed, run_key):
                found.setdefault(run_key, []).append(listed)
    return {run_key: _oldest(projects) for run_key, projects in found.items()}


def list_runs(client: LabelboxClient, prefix: str = "") -> Iterator[AnnotationProject]:
    """Yield the projects whose run's key starts with ``prefix``."""
    for listed in _list(client):
        run_key = read_run_key(listed.description)
        if run_key is not None and run_key.startswith(prefix):
            yield project_of(client, listed, run_key)


def create_project(
    client: LabelboxClient,
    *,
    title: str,
    run_key: str,
    description: str,
    settings: ProjectSettings,
    ontology_id: str,
) -> AnnotationProject:
    """Make the project of a run. Of two that are made at once, the older one stays.

    :param title: for people
    :param run_key: of the run, which has no project yet
    :param description: for people
    :param settings: with a media type
    :param ontology_id: what is to be labeled
    """
    try:
        made_id = _create(client, title, run_key, description, settings)
    except AnnotationConnectionError as error:
        # The answer may be lost although the project is there.
        lost = find_project(client, run_key)
        if lost is None:
            raise
        log.warning("%s The project is there nevertheless.", error)
        made_id = lost.id
    first = find_project(client, run_key)
    if first is not None and first.id != made_id:
        log.info("Project %s of the run %r was made at the same time; project %s goes.", first.id, run_key, made_id)
        if get_progress(client, made_id).total == 0:
            delete_project(client, made_id)
        complete_project(client, first.id, ontology_id)
        return project_of(client, first, run_key)
    complete_project(client, made_id, ontology_id, settings)
    return msgspec.structs.replace(project_of(client, read_project(client, made_id), run_key), created=True)


def complete_project(
    client: LabelboxClient, project_id: str, ontology_id: str, settings: ProjectSettings | None = None
) -> None:
    """Connect the ontology to a project that has none: the try that made it may have ended half way."""
    if read_project(client, project_id).ontology is None:
        with client.using_sdk() as sdk:
            _connect(sdk, project_id, ontology_id)
    if settings is not None and settings.model_assisted_labeling is not None:
        with client.using_sdk() as sdk:
            sdk.get_project(project_id).enable_model_assisted_labeling(settings.model_assisted_labeling)


def update_project(
    client: LabelboxClient,
    found: FoundProject,
    *,
    title: str,
    run_key: str,
    description: str,
    settings: ProjectSettings,
    ontology_id: str,
) -> AnnotationProject:
    """Give the project of a run another title and ontology; the description stays if none is given.

    :raises AnnotationError: the settings ask for another media type or quality mode, which no project can change
    """
    current = read_project(client, found.id)
    if settings.media_type not in {None, current.allowed_media_type}:
        raise AnnotationError(f"Project {found.id} is for {current.allowed_media_type}, which cannot be changed.")
    has = (bool(current.is_benchmark_enabled), bool(current.is_consensus_enabled))
    if settings.quality_modes and tuple(mode in settings.quality_modes for mode in QUALITY_MODES) != has:
        raise AnnotationError(f"The quality mode of project {found.id} cannot be changed.")
    changes = {"name": run_title(title, run_key, longest=_LONGEST_TITLE)}
    if description:
        changes["description"] = run_description(description, run_key)
    with client.using_sdk() as sdk:
        sdk.get_project(found.id).update(**changes)
        if (current.ontology or {}).get("id") != ontology_id:
            _connect(sdk, found.id, ontology_id)
    complete_project(client, found.id, ontology_id, settings)
    return project_of(client, read_project(client, found.id), run_key)


def rename_run(client: LabelboxClient, run_key: str, new_run_key: str) -> AnnotationProject:
    """Give a run another key.

    :raises AnnotationProjectNotFound: there is no such run
    :raises AnnotationError: the new key is another run's
    """
    project = find_project(client, run_key)
    if project is None:
        raise AnnotationProjectNotFound(f"No annotation project has the run_key {run_key!r}.")
    if new_run_key == run_key:
        return project_of(client, project, run_key)
    other = find_project(client, new_run_key)
    if other is not None:
        raise AnnotationError(f"The run_key {new_run_key!r} is taken by project {other.id} ({other.name!r}).")
    with client.using_sdk() as sdk:
        sdk.get_project(project.id).update(
            name=rename_title(project.name, run_key, new_run_key, longest=_LONGEST_TITLE),
            description=run_description(project.description or "", new_run_key),
        )
    return project_of(client, read_project(client, project.id), new_run_key)


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


def _create(client: LabelboxClient, title: str, run_key: str, description: str, settings: ProjectSettings) -> str:
    with client.using_sdk() as sdk:
        from labelbox import MediaType
        from labelbox.schema.quality_mode import QualityMode

        chosen = {QualityMode(mode.upper()) for mode in settings.quality_modes}
        made = sdk.create_project(
            name=run_title(title, run_key, longest=_LONGEST_TITLE),
            media_type=MediaType(settings.media_type),
            description=run_description(description, run_key),
            quality_modes=chosen or set(QualityMode),
        )
        return str(made.uid)


def _connect(sdk: labelbox.Client, project_id: str, ontology_id: str) -> None:
    try:
        sdk.get_project(project_id).connect_ontology(sdk.get_ontology(ontology_id))
    except ValueError as error:
        raise AnnotationError(f"Ontology {ontology_id} cannot be connected to project {project_id}: {error}") from error


def _oldest(projects: Sequence[FoundProject]) -> FoundProject:
    return min(projects, key=lambda one: (one.created_at, one.id))


def _belongs(project: FoundProject, run_key: str) -> bool:
    said = read_run_key(project.description)
    # A title keeps its meaning when somebody rewrites the description, unless that names another run.
    return said == run_key or (said is None and project.name.endswith(run_mark(run_key)))


def _list(client: LabelboxClient, description: str | None = None) -> Iterator[FoundProject]:
    parameters, conditions, variables = "", "{deleted: false}", {}
    if description is not None:
        parameters = "($description: String!)"
        conditions = "{AND: [{description: $description}, {deleted: false}]}"
        variables = {"description": description}
    skip = 0
    while True:
        document = (
            f"query ListProjects{parameters} "
            f"{{ projects(where: {conditions} skip: {skip} first: {_PAGE_SIZE}) {{ {_LISTED} }} }}"
        )
        page = client.query(document, "projects", list[FoundProject], **variables)
        yield from page
        if len(page) < _PAGE_SIZE:
            return
        skip += _PAGE_SIZE
