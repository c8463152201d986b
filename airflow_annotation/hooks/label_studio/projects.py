"""Projects of a Label Studio server, and the annotation runs that they belong to.

Label Studio itself is the registry of runs, as :mod:`~airflow_annotation.hooks.run_marker` says. Titles are what the
server can search.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import httpx
import msgspec

from airflow_annotation.exceptions import AnnotationError, AnnotationProjectNotFound, AnnotationRequestError
from airflow_annotation.hooks import run_marker
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.label_studio.client import LabelStudioClient, project_path
from airflow_annotation.hooks.label_studio.progress import get_progress
from airflow_annotation.hooks.run_marker import (
    find_run_marks,
    read_run_key,
    rename_title,
    run_description,
    run_mark,
    run_title,
)

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
"""Settings that belong to the very project: to its predictions, its state, or how it is listed."""

_TITLE_LENGTHS: Final = (3, 50)
_PAGE_SIZE: Final = 100
_LISTED: Final = "id,title,description,created_at"


class _ListedProject(msgspec.Struct):
    id: int
    title: str | None = None
    description: str | None = None
    created_at: datetime | None = None


class _Config(msgspec.Struct):
    label_config: str | None


class _ProjectPage(msgspec.Struct):
    results: list[_ListedProject]
    next: str | None = None


def check_title(title: str) -> str:
    """Return a title as Label Studio takes it, on one line.

    :raises AnnotationError: it is too short
    """
    title = " ".join(title.split())
    if len(title) < _TITLE_LENGTHS[0]:
        raise AnnotationError(
            f"The project title {title!r} is too short: Label Studio wants at least {_TITLE_LENGTHS[0]} characters."
        )
    return title


def check_settings(settings: Mapping[str, Any]) -> None:
    """Check the names of project settings; their values are the server's business.

    :raises AnnotationError: a name is none of :data:`PROJECT_SETTINGS`
    """
    run_marker.check_settings(settings, PROJECT_SETTINGS, "Label Studio has no project setting")


def project_uri(url: str, project_id: str | int) -> str:
    """Return the asset URI of a project.

    :param url: the server's URL
    """
    server = httpx.URL(url)
    return f"label-studio://{server.netloc.decode()}{server.path.rstrip('/')}/projects/{project_id}"


def get_project(client: LabelStudioClient, project_id: str) -> AnnotationProject:
    """Return the project with this id."""
    return _project(client, _read(client, project_id))


def get_label_config(client: LabelStudioClient, project_id: str) -> str:
    """Return the labeling config (XML) of a project."""
    params = {"include": "id,label_config"}
    return client.read("GET", project_path(project_id), _Config, params=params).label_config or ""


def find_project(client: LabelStudioClient, run_key: str) -> AnnotationProject | None:
    """Return the run's project, the one with the lowest id if there are several, or None.

    One request where the project's title still has the hash of the run; else all projects are looked through.
    """
    mark = run_mark(run_key)
    # A title keeps its meaning when somebody rewrites the description, unless that names another run.
    found = [project for project in _list(client, title=mark) if read_run_key(project.description) in {run_key, None}]
    if found:
        return _project(client, min(found, key=lambda project: project.id), run_key)
    return find_projects(client, [run_key]).get(run_key)


def find_projects(client: LabelStudioClient, run_keys: Collection[str]) -> dict[str, AnnotationProject]:
    """Return the projects of those of the runs that have one, by key, looking through all projects once."""
    marks = {run_mark(run_key): run_key for run_key in run_keys}
    by_title: dict[str, AnnotationProject] = {}
    by_description: dict[str, AnnotationProject] = {}
    for listed in _list(client):
        named = read_run_key(listed.description)
        marked = next((marks[mark] for mark in find_run_marks(listed.title or "") if mark in marks), None)
        # They are listed by id: the first one stays.
        if marked is not None and named in {marked, None}:
            by_title.setdefault(marked, _project(client, listed, marked))
        elif named is not None and named in run_keys:
            by_description.setdefault(named, _project(client, listed, named))
    return by_description | by_title


def list_runs(client: LabelStudioClient, prefix: str = "") -> Iterator[AnnotationProject]:
    """Yield the projects whose run's key starts with ``prefix``, by id."""
    for listed in _list(client):
        run_key = read_run_key(listed.description)
        if run_key is not None and run_key.startswith(prefix):
            yield _project(client, listed, run_key)


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
    """Return the labeling config and the settings of a project, as another one can be made with them."""
    template: dict[str, Any] = client.read("GET", project_path(project_id), dict[str, Any])
    return {
        name: template[name]
        for name in ("label_config", *PROJECT_SETTINGS)
        if name not in _NOT_COPIED and template.get(name) is not None
    }


def create_project(
    client: LabelStudioClient, *, title: str, run_key: str, description: str, fields: dict[str, Any]
) -> AnnotationProject:
    """Make the project of a run. Of two that are made at once, the one with the lower id stays.

    :param title: as :func:`check_title` returns it
    :param run_key: of the run, which has no project yet
    :param description: for people
    :param fields: labeling config and settings
    """
    body = fields | {
        "title": run_title(title, run_key, longest=_TITLE_LENGTHS[1]),
        "description": run_description(description, run_key),
    }
    made = client.read("POST", "/api/projects/", _ListedProject, json=body)
    first = find_project(client, run_key)
    if first is not None and int(first.id) < made.id:
        log.info("Project %s of the run %r was made at the same time; project %s goes.", first.id, run_key, made.id)
        if get_progress(client, str(made.id)).total == 0:
            delete_project(client, str(made.id))
        return first
    return msgspec.structs.replace(_project(client, made, run_key), created=True)


def update_project(
    client: LabelStudioClient, project: AnnotationProject, *, title: str, description: str, fields: dict[str, Any]
) -> AnnotationProject:
    """Give the project of a run another title, config and settings; the description stays if none is given.

    :raises AnnotationRequestError: the server refuses, for example a config that labels already made do not fit
    """
    run_key = project.run_key or ""
    body = fields | {"title": run_title(title, run_key, longest=_TITLE_LENGTHS[1])}
    if description:
        body["description"] = run_description(description, run_key)
    return _patch(client, project.id, body, run_key)


def rename_run(client: LabelStudioClient, run_key: str, new_run_key: str) -> AnnotationProject:
    """Give a run another key.

    :raises AnnotationProjectNotFound: there is no such run
    :raises AnnotationError: the new key is another run's
    """
    project = find_project(client, run_key)
    if project is None:
        raise AnnotationProjectNotFound(f"No annotation project has the run_key {run_key!r}.")
    if new_run_key == run_key:
        return project
    other = find_project(client, new_run_key)
    if other is not None:
        raise AnnotationError(f"The run_key {new_run_key!r} is taken by project {other.id} ({other.title!r}).")
    old = _read(client, project.id)
    body = {
        "title": rename_title(old.title or "", run_key, new_run_key, longest=_TITLE_LENGTHS[1]),
        "description": run_description(old.description or "", new_run_key),
    }
    return _patch(client, project.id, body, new_run_key)


def delete_project(client: LabelStudioClient, project_id: str) -> bool:
    """Delete a project with all that is in it. Return False if it was gone already."""
    try:
        client.request("DELETE", project_path(project_id))
    except AnnotationProjectNotFound:
        return False
    return True


def _list(client: LabelStudioClient, title: str | None = None) -> Iterator[_ListedProject]:
    query: dict[str, Any] = {"include": _LISTED, "page_size": _PAGE_SIZE, "ordering": "id", "page": 1}
    if title is not None:
        query["title"] = title
    while True:
        try:
            page = client.read("GET", "/api/projects/", _ProjectPage, params=query)
        except AnnotationRequestError as error:
            if error.status_code == 404 and query["page"] > 1:
                return  # The last page went while we read: projects were deleted.
            raise
        yield from page.results
        if page.next is None:
            return
        query["page"] += 1


def _read(client: LabelStudioClient, project_id: str) -> _ListedProject:
    return client.read("GET", project_path(project_id), _ListedProject, params={"include": _LISTED})


def _project(client: LabelStudioClient, listed: _ListedProject, run_key: str | None = None) -> AnnotationProject:
    return AnnotationProject(
        id=str(listed.id),
        title=listed.title or "",
        url=f"{client.url}/projects/{listed.id}",
        uri=project_uri(client.url, listed.id),
        tool="label_studio",
        run_key=run_key or read_run_key(listed.description),
        created_at=listed.created_at,
    )


def _patch(client: LabelStudioClient, project_id: str, body: dict[str, Any], run_key: str) -> AnnotationProject:
    patched = client.read("PATCH", project_path(project_id), _ListedProject, json=body, repeatable=True)
    return _project(client, patched, run_key)
