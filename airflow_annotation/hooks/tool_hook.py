"""Common parts of the hooks of all tools: read the connection, find the projects of runs, and make them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import httpx
import msgspec
from asgiref.sync import sync_to_async

from airflow_annotation.exceptions import AnnotationError, AnnotationProjectNotFoundError
from airflow_annotation.hooks.annotation import (
    AnnotationHook,
    AnnotationProgress,
    AnnotationProject,
    IfExists,
    no_project_of,
)
from airflow_annotation.hooks.connection_fields import (
    connection_form_behaviour,
    connection_form_widgets,
    read_extra,
    read_polls_per_minute,
)
from airflow_annotation.hooks.late_requests import keep_first, make_once
from airflow_annotation.hooks.run_marker import (
    description_without_run,
    find_run_marks,
    read_run_key,
    rename_title,
    run_description,
    run_mark,
    run_title,
    title_without_run,
)
from airflow_annotation.labels.media_types import ProjectMedia
from airflow_annotation.labels.schema import LabelSchema


class ToolClient(Protocol):
    """The object that sends requests to a tool."""

    @property
    def app_url(self) -> str:
        """Where people open their projects."""


class ToolProject(Protocol):
    """A project as a tool describes it."""

    @property
    def id(self) -> str | int:
        """The tool's id."""

    @property
    def title(self) -> str | None:
        """Title that people see."""

    @property
    def description(self) -> str | None:
        """Description that people see."""

    @property
    def created_at(self) -> datetime | None:
        """When the project was made."""

    @property
    def age(self) -> Any:
        """Sort key of projects: the oldest comes first."""


ClientT = TypeVar("ClientT", bound=ToolClient)
ProjectT = TypeVar("ProjectT", bound=ToolProject)


class ProjectMaker(ABC, Generic[ProjectT]):
    """Makes the project of a run as a caller asks for it. Wrong settings are errors before any request."""

    @abstractmethod
    def make(self, title: str, description: str) -> ProjectT:
        """Make a project."""

    @abstractmethod
    def keep(self, found: ProjectT) -> None:
        """Leave a project as it is, and log how it differs from what is asked for."""

    @abstractmethod
    def update(self, found: ProjectT, title: str, description: str | None) -> ProjectT:
        """Change a project to what is asked for; without a description, it keeps its own."""

    def complete(self, made: ProjectT) -> None:
        """Do the remaining steps once it is certain that a project stays."""


class ProgressReader(Protocol):
    """Asks a tool for the progress of projects; see the methods of :class:`AnnotationHook` with these names."""

    def get_progress(self, client: Any, project_id: str, min_annotations: int | None = None) -> AnnotationProgress:
        """Ask for one project."""

    async def aget_progress(
        self, client: Any, project_id: str, min_annotations: int | None = None
    ) -> AnnotationProgress:
        """Ask for one project."""

    async def aget_progress_of(
        self, client: Any, project_ids: Collection[str]
    ) -> dict[str, AnnotationProgress | AnnotationProjectNotFoundError]:
        """Ask for several projects."""


class ToolHook(AnnotationHook, Generic[ClientT, ProjectT]):
    """Base of the hooks of tools. Each tool's class has only what differs from others."""

    conn_type: ClassVar[str]
    hook_name: ClassVar[str]

    title_lengths: ClassVar[tuple[int, int]]
    """How many characters a project's title has at least and at most."""

    progress_reader: ClassVar[ProgressReader]

    @abstractmethod
    def make_client(self, *, attempts: int) -> ClientT:
        """Return a client as the connection describes it."""

    @abstractmethod
    def list_projects(self, *, title: str = "", description: str = "") -> Iterator[ProjectT]:
        """Yield all projects, or fewer if the tool can search for one of these texts: the matches and perhaps others.

        :param title: part of the title to search for
        :param description: whole description to search for
        """

    @abstractmethod
    def read_project(self, project_id: str) -> ProjectT:
        """Return the project with this id."""

    @abstractmethod
    def change_project(self, found: ProjectT, *, title: str, description: str) -> ProjectT:
        """Give a project another title and description."""

    @abstractmethod
    def is_as_made(self, project: ProjectT, first: ProjectT) -> bool:
        """Return whether a project still has the settings that the first request gave it.

        Whether it has items is checked separately.
        """

    @abstractmethod
    def project_maker(
        self,
        label_schema: LabelSchema | None,
        label_config: str | None,
        copy_from: str | None,
        settings: dict[str, Any],
        media: ProjectMedia,
    ) -> ProjectMaker[ProjectT]:
        """Return an object that makes a project."""

    # The connection

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the extra fields of the form, for Airflow 3.1. Later releases read the provider's metadata."""
        return connection_form_widgets(cls.conn_type)

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return labels and placeholders of the connection's form, for Airflow 3.1."""
        return connection_form_behaviour(cls.conn_type)

    @cached_property
    def client(self) -> ClientT:
        """The client that the connection describes.

        :raises AnnotationError: the connection does not describe a client
        """
        return self.make_client(attempts=self.attempts)

    @property
    def polls_per_minute(self) -> float:  # type: ignore[override]  # the base class has the default
        """Requests per minute that waiting in a triggerer may cost.

        :raises AnnotationError: the connection's extra field is no such number
        """
        return read_polls_per_minute(read_extra(self.connection))

    # Projects and runs

    def create_project(
        self,
        *,
        title: str,
        run_key: str,
        label_schema: LabelSchema | None = None,
        label_config: str | None = None,
        copy_from: str | None = None,
        media_type: str | None = None,
        frame_rate: float | None = None,
        columns: Sequence[str] = (),
        description: str = "",
        settings: dict[str, Any] | None = None,
        if_exists: IfExists = "reuse",
    ) -> AnnotationProject:
        """Make the project of a run, or find it.

        If two are made at once, or a late request makes another one, the older one stays.
        """
        if sum(source is not None for source in (label_schema, label_config, copy_from)) != 1:
            raise AnnotationError("Pass exactly one of label_schema, label_config and copy_from.")
        if not run_key.strip():
            raise AnnotationError("The run_key is empty.")
        shortest, longest = self.title_lengths
        title = " ".join(title.split())
        if len(title) < shortest:
            raise AnnotationError(
                f"The project title {title!r} is too short: {self.hook_name} wants {shortest} or more characters."
            )
        if label_schema is None and (frame_rate is not None or columns):
            raise AnnotationError("frame_rate and columns are of a project that is made of a label_schema.")
        media = ProjectMedia(media_type=media_type, frame_rate=frame_rate, columns=tuple(columns))
        maker = self.project_maker(label_schema, label_config, copy_from, settings or {}, media)
        found = self._keep_one(run_key)
        title = run_title(title, run_key, longest=longest)
        described = run_description(description, run_key)
        if found is None:
            return self._make(maker, run_key, title, described)
        if if_exists == "fail":
            project = self._project(found, run_key)
            raise AnnotationError(f"The run {run_key!r} has a project already: {project.url} ({project.title!r}).")
        if if_exists == "update":
            found = maker.update(found, title, described if description else None)
        else:
            maker.keep(found)
        return self._project(found, run_key)

    def get_project(self, project_id: str) -> AnnotationProject:
        """Return the project with this id."""
        return self._project(self.read_project(project_id))

    def project_uri(self, project_id: str) -> str:
        """Return the asset URI of the project with this id: ``label-studio://host/projects/12``."""
        app = httpx.URL(self.client.app_url)
        scheme = self.tool.replace("_", "-")
        return f"{scheme}://{app.netloc.decode()}{app.path.rstrip('/')}/projects/{project_id}"

    def find_project(self, run_key: str) -> AnnotationProject | None:
        """Return the run's project, the oldest if two were made at once, or None.

        Needs one request if nobody has edited the project's title or description and the tool can search it; else it
        looks through all projects.
        """
        found = self._find(run_key)
        return None if found is None else self._project(found, run_key)

    def find_projects(self, run_keys: Collection[str]) -> dict[str, AnnotationProject]:
        """Return the projects of the runs that have one, by key, looking through all projects once."""
        found = _projects_of(run_keys, self.list_projects())
        return {run_key: self._project(projects[0], run_key) for run_key, projects in found.items()}

    def list_runs(self, prefix: str = "") -> Iterator[AnnotationProject]:
        """Yield the projects of the runs whose key starts with ``prefix``."""
        for listed in self.list_projects():
            run_key = read_run_key(listed.description)
            if run_key is not None and run_key.startswith(prefix):
                yield self._project(listed, run_key)

    def list_all_projects(self) -> Iterator[AnnotationProject]:
        """Yield all projects of the connection, including those without a run."""
        for listed in self.list_projects():
            yield self._project(listed)

    def rename_run(self, run_key: str, new_run_key: str) -> AnnotationProject:
        """Give a run another key. Its project stays the same, except for the hash in its title.

        :raises AnnotationProjectNotFoundError: there is no such run
        :raises AnnotationError: the new key is another run's
        """
        found = self._find(run_key)
        if found is None:
            raise no_project_of([run_key])
        if new_run_key != run_key:
            if other := self._find(new_run_key):
                raise AnnotationError(f"The run_key {new_run_key!r} is taken by project {other.id} ({other.title!r}).")
            found = self.change_project(
                found,
                title=rename_title(found.title or "", run_key, new_run_key, longest=self.title_lengths[1]),
                description=run_description(found.description or "", new_run_key),
            )
        return self._project(found, new_run_key)

    def forget_run(self, run_key: str) -> AnnotationProject:
        """Delete only the record of a run. Its project stays, without the hash in its title, and belongs to no run.

        :raises AnnotationProjectNotFoundError: there is no such run
        """
        found = self._find(run_key)
        if found is None:
            raise no_project_of([run_key])
        title = title_without_run(found.title or "", run_key)
        if len(title) < self.title_lengths[0]:
            title = f"Project {found.id}"
        description = description_without_run(found.description or "")
        return self._project(self.change_project(found, title=title, description=description))

    # Waiting

    def get_progress(self, project_id: str, *, min_annotations: int | None = None) -> AnnotationProgress:
        """Ask for the progress of the labeling. See :meth:`AnnotationHook.get_progress`."""
        return self.progress_reader.get_progress(self.client, project_id, min_annotations)

    async def aget_progress(self, project_id: str, *, min_annotations: int | None = None) -> AnnotationProgress:
        """Like :meth:`get_progress`, for triggers."""
        return await self.progress_reader.aget_progress(await self._aclient(), project_id, min_annotations)

    async def aget_progress_of(
        self, project_ids: Collection[str]
    ) -> dict[str, AnnotationProgress | AnnotationProjectNotFoundError]:
        """Ask for several projects at once. See :meth:`AnnotationHook.aget_progress_of`."""
        return await self.progress_reader.aget_progress_of(await self._aclient(), project_ids)

    async def _aclient(self) -> ClientT:
        # Reading the connection and the certificates blocks, and nothing may block an event loop.
        return await sync_to_async(lambda: self.client)()

    def _find(self, run_key: str) -> ProjectT | None:
        return next(iter(self._find_all(run_key)), None)

    def _find_all(self, run_key: str) -> list[ProjectT]:
        searched = self.list_projects(title=run_mark(run_key), description=run_description("", run_key))
        found = _projects_of([run_key], searched) or _projects_of([run_key], self.list_projects())
        return found.get(run_key, [])

    def _keep_one(self, run_key: str) -> ProjectT | None:
        """Return the run's project, and delete younger ones that late requests made."""
        found = self._find_all(run_key)
        return keep_first(
            found,
            f"project of the run {run_key!r}",
            made_at=lambda one: one.created_at,
            is_as_made=lambda one: self._is_empty(one) and self.is_as_made(one, found[0]),
            delete=lambda one: self.delete_project(str(one.id)),
        )

    def _make(self, maker: ProjectMaker[ProjectT], run_key: str, title: str, description: str) -> AnnotationProject:
        made = make_once(lambda: maker.make(title, description), lambda: self._find(run_key))
        first = self._find(run_key)
        if first is None or first.id == made.id:
            maker.complete(made)
            # Look only now, to see a project that came a little later, and an older one that was not listed before.
            first = self._keep_one(run_key)
        if first is None or first.id == made.id:
            return msgspec.structs.replace(self._project(first or made, run_key), created=True)
        self.log.info(
            "Project %s of the run %r was made at the same time; project %s goes.", first.id, run_key, made.id
        )
        if self._is_empty(made):
            self.delete_project(str(made.id))
        maker.complete(first)
        return self._project(first, run_key)

    def _is_empty(self, project: ProjectT) -> bool:
        try:
            return self.get_progress(str(project.id)).total == 0
        except AnnotationProjectNotFoundError:  # Somebody else deleted it.
            return False

    def _project(self, found: ProjectT, run_key: str | None = None) -> AnnotationProject:
        return AnnotationProject(
            id=str(found.id),
            title=found.title or "",
            url=f"{self.client.app_url}/projects/{found.id}",
            uri=self.project_uri(str(found.id)),
            tool=self.tool,
            run_key=run_key or read_run_key(found.description),
            created_at=found.created_at,
        )


def _projects_of(run_keys: Collection[str], projects: Iterable[ProjectT]) -> dict[str, list[ProjectT]]:
    """Return the projects of each run that has any: first those whose title names the run, then by age."""
    marks = {run_mark(run_key): run_key for run_key in run_keys}
    found: dict[str, list[tuple[Any, ProjectT]]] = {}
    for project in projects:
        named = read_run_key(project.description)
        marked = next((marks[mark] for mark in find_run_marks(project.title or "") if mark in marks), None)
        # The title still counts if somebody has rewritten the description, unless the description names another run.
        run_key = marked if named is None else named
        if run_key is not None and run_key in run_keys:
            found.setdefault(run_key, []).append(((run_key != marked, project.age), project))
    return {
        run_key: [project for _, project in sorted(ranked, key=lambda one: one[0])] for run_key, ranked in found.items()
    }
