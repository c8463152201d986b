"""Projects of a Label Studio server, and the annotation runs that they belong to.

Label Studio itself is the registry of runs, as :mod:`~airflow_annotation.hooks.run_marker` says. Titles are what the
server can search.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import msgspec

from airflow_annotation.exceptions import AnnotationError, AnnotationProjectNotFoundError, AnnotationRequestError
from airflow_annotation.hooks.errors import other_media_type
from airflow_annotation.hooks.label_studio.actions import delete
from airflow_annotation.hooks.label_studio.client import LabelStudioClient, project_path
from airflow_annotation.hooks.settings import check_settings
from airflow_annotation.hooks.tool_hook import ProjectMaker
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.objects import SEVERAL
from airflow_annotation.labels.media_types import FILES, ROWS

log = logging.getLogger(__name__)

PROJECT_SETTINGS: Final = (
    "annotator_evaluation_enabled",
    "color",
    "control_weights",
    "enable_empty_annotation",
    "evaluate_predictions_automatically",
    "expert_instruction",
    "is_draft",
    "is_published",
    "maximum_annotations",
    "min_annotations_to_start_training",
    "model_version",
    "overlap_cohort_percentage",
    "pinned_at",
    "reveal_preannotations_interactively",
    "sampling",
    "show_annotation_history",
    "show_collab_predictions",
    "show_ground_truth_first",
    "show_instruction",
    "show_overlap_first",
    "show_skip_button",
    "skip_queue",
    "start_training_on_annotation_update",
    "task_data_login",
    "task_data_password",
)
"""Settings that a caller may give, by the names of Label Studio's API (``PATCH /api/projects/{id}``)."""

_NOT_COPIED: Final = frozenset({"is_draft", "model_version", "pinned_at", "start_training_on_annotation_update"})
"""Settings that are not copied: they belong to a project's own predictions, state, or place in lists."""

_PAGE_SIZE: Final = 100
_LISTED: Final = "id,title,description,created_at"


class FoundProject(msgspec.Struct):
    """A project as Label Studio lists it."""

    id: int
    title: str | None = None
    description: str | None = None
    created_at: datetime | None = None

    @property
    def age(self) -> int:
        """The id, since younger projects have higher ids."""
        return self.id


class _MadeProject(msgspec.Struct):
    """Some fields that a request sets when it makes a project, and the user who sent it."""

    title: str | None = None
    description: str | None = None
    label_config: str | None = None
    expert_instruction: str | None = None
    created_by: Any = None


class _Overlap(msgspec.Struct):
    maximum_annotations: int | None = None


class _Config(msgspec.Struct):
    label_config: str | None


class _ProjectPage(msgspec.Struct):
    results: list[FoundProject]
    next: str | None = None


def read_project(client: LabelStudioClient, project_id: str) -> FoundProject:
    """Return the project with this id."""
    return client.read("GET", project_path(project_id), FoundProject, params={"include": _LISTED})


def get_label_config(client: LabelStudioClient, project_id: str) -> str:
    """Return the labeling config (XML) of a project."""
    params = {"include": "id,label_config"}
    return client.read("GET", project_path(project_id), _Config, params=params).label_config or ""


def set_overlap(client: LabelStudioClient, project_id: str, overlap: int) -> None:
    """Set the number of people who label each task of a project. It applies to existing and later tasks."""
    params = {"include": "id,maximum_annotations"}
    current = client.read("GET", project_path(project_id), _Overlap, params=params).maximum_annotations
    if current != overlap:
        change_project(client, project_id, {"maximum_annotations": overlap})
        log.info("Each item of project %s is labeled by %d people now, not %s.", project_id, overlap, current)


def shown_media_types(label_config: str) -> list[str]:
    """Return the kinds of media that a labeling config shows, and ``rows`` if a task's data contain all of them."""
    objects = LabelingConfig(label_config or "<View/>").objects.values()
    shown = {"images" if media.shows_several else media.media_type for media in objects}
    return sorted(shown) if shown & (FILES | SEVERAL.keys()) or not shown else [*sorted(shown), ROWS]


def validate_label_config(client: LabelStudioClient, label_config: str) -> None:
    """Let the server check a labeling config.

    :raises AnnotationError: it is not valid; the message is the server's
    """
    if not label_config.strip():
        raise AnnotationError("The labeling config is empty.")
    try:
        client.request("POST", "/api/projects/validate/", json={"label_config": label_config}, repeatable=True)
    except AnnotationRequestError as error:
        if error.is_transient:
            raise
        raise AnnotationRequestError(
            f"The labeling config is not valid. {error}", status_code=error.status_code
        ) from error


def read_template(client: LabelStudioClient, project_id: str) -> dict[str, Any]:
    """Return the labeling config and the settings of a project, to make another project with them."""
    template: dict[str, Any] = client.read("GET", project_path(project_id), dict[str, Any])
    return {
        name: template[name]
        for name in ("label_config", *PROJECT_SETTINGS)
        if name not in _NOT_COPIED and template.get(name) is not None
    }


def is_as_made(client: LabelStudioClient, project_id: str, first_id: str) -> bool:
    """Return whether a project has the texts, the labeling config and the creator of the first one, and no storage."""
    try:
        first, other = (client.read("GET", project_path(id_), _MadeProject) for id_ in (first_id, project_id))
        storages = client.read("GET", "/api/storages/", list[Any], params={"project": project_id})
    except AnnotationProjectNotFoundError:  # Somebody else deleted it.
        return False
    except AnnotationRequestError as error:
        if error.is_transient:
            raise
        return False
    return first == other and not storages


def change_project(client: LabelStudioClient, project_id: str, body: dict[str, Any]) -> FoundProject:
    """Change some fields of a project."""
    return client.read("PATCH", project_path(project_id), FoundProject, json=body, repeatable=True)


def delete_project(client: LabelStudioClient, project_id: str) -> bool:
    """Delete a project with all that is in it. Return False if it was gone already."""
    try:
        delete(client, project_path(project_id))
    except AnnotationProjectNotFoundError:
        return False
    return True


def list_projects(client: LabelStudioClient, title: str = "") -> Iterator[FoundProject]:
    """Yield all projects, or those that have a text in their title, by id."""
    query: dict[str, Any] = {"include": _LISTED, "page_size": _PAGE_SIZE, "ordering": "id", "page": 1}
    if title:
        query["title"] = title
    while True:
        try:
            page = client.read("GET", "/api/projects/", _ProjectPage, params=query)
        except AnnotationRequestError as error:
            if error.status_code == 404 and query["page"] > 1:
                return  # Projects were deleted while we read, and the last page with them.
            raise
        yield from page.results
        if page.next is None:
            return
        query["page"] += 1


class Maker(ProjectMaker[FoundProject]):
    """Makes projects with a labeling config and settings.

    :param client: client of the server
    :param label_config: labeling config (XML); None if ``copy_from`` is given
    :param copy_from: id of the project whose labeling config and settings are used; None if ``label_config`` is given
    :param settings: values of settings, by name
    :param media_type: the kind of media that the config must show; None if it is not known
    :raises AnnotationError: the name of a setting is not one of :data:`PROJECT_SETTINGS`; the server checks its value
    """

    def __init__(
        self,
        client: LabelStudioClient,
        label_config: str | None,
        copy_from: str | None,
        settings: dict[str, Any],
        media_type: str | None = None,
    ) -> None:
        check_settings(settings, PROJECT_SETTINGS, "Label Studio has no project setting")
        self._client = client
        self._label_config = label_config
        self._copy_from = copy_from
        self._settings = settings
        self._media_type = media_type

    def make(self, title: str, description: str) -> FoundProject:
        """Make a project."""
        body = self._fields() | {"title": title, "description": description}
        return self._client.read("POST", "/api/projects/", FoundProject, json=body)

    def keep(self, found: FoundProject) -> None:
        """Log a warning if the project has another labeling config than the one that is asked for.

        :raises AnnotationError: the project is for another kind of media
        """
        asked = self._label_config
        if asked is None and self._media_type is None:
            return
        has = get_label_config(self._client, str(found.id))
        if self._media_type is not None and self._media_type not in (shown := shown_media_types(has)):
            raise other_media_type(found.id, " and ".join(shown) or "none", self._media_type)
        if asked is not None and has != asked:
            log.warning(
                "Project %s has another labeling config than the one given, and keeps it. "
                "Pass if_exists='update' to change it.",
                found.id,
            )

    def update(self, found: FoundProject, title: str, description: str | None) -> FoundProject:
        """Give a project another title, config and settings.

        :raises AnnotationRequestError: the server refuses, for example a config that existing labels do not fit
        """
        body = self._fields() | {"title": title} | ({} if description is None else {"description": description})
        return change_project(self._client, str(found.id), body)

    def _fields(self) -> dict[str, Any]:
        if self._copy_from is None:
            fields = {"label_config": self._label_config}
        else:
            fields = read_template(self._client, self._copy_from)
        fields |= self._settings
        config = fields.get("label_config") or ""
        validate_label_config(self._client, config)
        if self._media_type is not None and self._media_type not in (shown := shown_media_types(config)):
            raise AnnotationError(
                f"media_type is {self._media_type!r}, but the labeling config shows {' and '.join(shown) or 'none'}. "
                "Leave media_type out: it is for projects of a label_schema."
            )
        return fields
