"""The contract that every labeling tool fulfils."""

from __future__ import annotations

import heapq
import itertools
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec
import pyarrow as pa
from airflow.providers.common.compat.sdk import conf
from airflow.sdk.bases.hook import BaseHook

from airflow_annotation.exceptions import AnnotationError, AnnotationProjectNotFoundError
from airflow_annotation.hooks.connection_fields import connection_types
from airflow_annotation.hooks.label_errors import with_label_errors
from airflow_annotation.labels.mask_budget import MAX_MASK_PIXELS, MaskBudget
from airflow_annotation.labels.media import media_of_items
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.submissions import Submission
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.media.items import MediaItem
from airflow_annotation.transport.pacing import RequestPace

if TYPE_CHECKING:
    from airflow.sdk import Connection

MediaAccess = Literal["auto", "upload", "reference"]
OnDuplicate = Literal["skip", "fail", "allow"]
IfExists = Literal["reuse", "fail", "update"]
UploadMode = Literal["predictions", "annotations"]
OnExisting = Literal["skip", "replace"]
Coordinates = Literal["relative", "pixels"]


class AnnotationProject(msgspec.Struct, frozen=True, kw_only=True):
    """A project in a labeling tool, as it travels through XCom (``msgspec.to_builtins`` makes it a small dict).

    :param id: the tool's id of the project, always a string
    :param title: as the tool shows it
    :param url: opens the project in the tool
    :param uri: the project's asset URI, ``label-studio://host/projects/12``
    :param tool: the tool's name, which is the type of its connections
    :param run_key: name of the annotation run, None for projects that this provider did not make
    :param created: whether the call that returned it made it
    :param created_at: when the tool made it
    """

    id: str
    title: str
    url: str
    uri: str
    tool: str
    run_key: str | None = None
    created: bool = False
    created_at: datetime | None = None


def project_id_of(project: str | int | Mapping[str, Any]) -> str:
    """Return the id of a project that an operator's argument names.

    :param project: the id, or what ``CreateAnnotationProjectOperator`` returned
    :raises AnnotationError: it is neither
    """
    project_id = project.get("id") if isinstance(project, Mapping) else project
    if isinstance(project_id, bool) or not isinstance(project_id, (str, int)) or str(project_id).startswith("{"):
        raise AnnotationError(
            f"{str(project)[:100]!r} does not name an annotation project. Pass its id or the output of "
            "CreateAnnotationProjectOperator (create.output; in a template, the ['id'] of its XCom)."
        )
    return str(project_id)


def no_project_of(run_keys: Collection[str]) -> AnnotationProjectNotFoundError:
    """Return the error that says that none of these runs has a project."""
    return AnnotationProjectNotFoundError(
        f"No annotation project has the run_key {' or '.join(map(repr, run_keys))}. "
        "Create it first, or name another with project or run_key."
    )


class AnnotationProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the labeling of a project is. Counts are of items, as the tool counts them.

    :param total: items in the project
    :param completed: items that the tool counts as finished; overlap is respected
    :param skipped: items that somebody skipped, where the tool says
    :param annotations: submissions of all people, where the tool says
    :param statuses: items by the tool's own workflow state, where it has one
    """

    total: int
    completed: int
    skipped: int = 0
    annotations: int = 0
    statuses: dict[str, int] = {}

    @property
    def fraction(self) -> float:
        """Completed items of all items, 0 for an empty project."""
        return self.completed / self.total if self.total else 0.0


class FailedItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item that did not go in, and why.

    :param item_key: the caller's id of the item
    :param reason: one sentence that names the file or value at fault
    """

    item_key: str
    reason: str


class UploadReport(msgspec.Struct, kw_only=True):
    """What became of the items of one upload. Never holds a row an item, however many there were.

    :param uploaded: items that this call created
    :param skipped: items that the project already had, by ``item_key``
    :param failed: how many items failed
    :param failures: the first of them (see ``MAX_FAILURES_LISTED``)
    """

    MAX_FAILURES_LISTED: ClassVar[int] = 20

    uploaded: int = 0
    skipped: int = 0
    failed: int = 0
    failures: list[FailedItem] = []

    def fail(self, item_key: str, reason: str) -> None:
        """Count a failed item and keep it for the report while there is room."""
        self.failed += 1
        if len(self.failures) < self.MAX_FAILURES_LISTED:
            self.failures.append(FailedItem(item_key=item_key, reason=reason))


class AnnotationHook(BaseHook, ABC):
    """What operators, sensors and transfers ask of a labeling tool.

    Use :meth:`for_connection` to get the hook of whichever tool a connection names.

    Every method raises :class:`~airflow_annotation.exceptions.AnnotationArgumentError` when labels or a label schema
    are not as they must be, :class:`~airflow_annotation.exceptions.AnnotationConnectionError` when the tool cannot be
    reached or refuses the key, :class:`~airflow_annotation.exceptions.AnnotationProjectNotFoundError` when there is no
    such project, and :class:`~airflow_annotation.exceptions.AnnotationRequestError` when the tool refuses a request.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("create_project", "get_label_schema", "upload_predictions", "read_tables", "list_item_states"):
            setattr(cls, name, with_label_errors(getattr(cls, name)))

    tool: ClassVar[str]
    """The tool's name in the tables' ``tool`` column."""

    projects_a_request: ClassVar[int] = 1
    """How many projects :meth:`aget_progress_of` asks about in one request."""

    pace: RequestPace | None = None
    """How many requests a minute go out; set it before the first one."""

    polls_per_minute: float = 60.0
    """How many requests a minute waiting in a triggerer may cost: the connection's extra field of that name."""

    @cached_property
    def mask_budget(self) -> MaskBudget:
        """What a mask may cost: the configuration's ``max_mask_pixels``. Assign another to read with that."""
        return MaskBudget.of_pixels(conf.getint("annotation", "max_mask_pixels", fallback=MAX_MASK_PIXELS))

    attempts: int = 5
    """How often a failed request is repeated at most; set it before the first one."""

    @cached_property
    def connection(self) -> Connection:
        """The hook's connection. Set it where a process reads connections otherwise than tasks do."""
        name: str = type(self).conn_name_attr  # type: ignore[attr-defined]  # Airflow's, of each hook
        return self.get_connection(getattr(self, name))

    @classmethod
    def for_connection(cls, conn_id: str) -> AnnotationHook:
        """Return the hook of the tool that the connection's type names.

        :raises AnnotationError: the connection is of a type that is no labeling tool
        """
        hook = BaseHook.get_hook(conn_id)
        if not isinstance(hook, AnnotationHook):
            raise AnnotationError(
                f"Connection {conn_id!r} is not of a labeling tool: its type gives {type(hook).__name__}. "
                f"Use a connection of type {' or '.join(connection_types())}."
            )
        return hook

    @abstractmethod
    def test_connection(self) -> tuple[bool, str]:
        """Say whom the connection reaches, or what is wrong with it."""

    # Projects and runs

    @abstractmethod
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
        """Make the project of a run, or find it.

        Exactly one of ``label_schema``, ``label_config`` (the tool's own: XML, ontology id) and ``copy_from`` (a
        project's id) says what is to be labeled.
        """

    @abstractmethod
    def get_project(self, project_id: str) -> AnnotationProject:
        """Return the project with this id."""

    @abstractmethod
    def project_uri(self, project_id: str) -> str:
        """Return the asset URI of the project with this id, without asking the tool whether there is one."""

    @abstractmethod
    def find_project(self, run_key: str) -> AnnotationProject | None:
        """Return the run's project, the one with the lowest id if two were made at once, or None."""

    def find_projects(self, run_keys: Collection[str]) -> dict[str, AnnotationProject]:
        """Return the projects of those of the runs that have one, by key, as :meth:`find_project` finds them."""
        return {run_key: found for run_key in run_keys if (found := self.find_project(run_key)) is not None}

    @abstractmethod
    def list_runs(self, prefix: str = "") -> Iterator[AnnotationProject]:
        """Yield the projects that belong to a run whose key starts with ``prefix``."""

    @abstractmethod
    def rename_run(self, run_key: str, new_run_key: str) -> AnnotationProject:
        """Give a run another key. Its project stays as it is."""

    @abstractmethod
    def delete_project(self, project_id: str) -> bool:
        """Delete a project with all that is in it. Return False if it was gone already."""

    def delete_run(self, run_key: str) -> bool:
        """Delete the project of a run. Return False if there is none."""
        project = self.find_project(run_key)
        return project is not None and self.delete_project(project.id)

    def resolve_project(
        self, project: str | int | Mapping[str, Any] | None = None, run_keys: Sequence[str] = ()
    ) -> AnnotationProject:
        """Return the project that an operator's arguments name.

        :param project: an id, or what ``CreateAnnotationProjectOperator`` returned
        :param run_keys: where ``project`` is not given: keys of runs; the first that has a project is the one
        """
        if project is not None and project != "":
            return self.get_project(project_id_of(project))
        for run_key in run_keys:
            found = self.find_project(run_key)
            if found is not None:
                return found
        raise no_project_of(run_keys)

    @abstractmethod
    def get_label_schema(self, project_id: str) -> LabelSchema:
        """Read the label schema back from the project's labeling config or ontology."""

    # Media in

    @abstractmethod
    def upload_items(
        self,
        project_id: str,
        items: Iterable[MediaItem],
        *,
        media_access: MediaAccess = "auto",
        on_duplicate: OnDuplicate = "skip",
        upload_settings: Mapping[str, Any] | None = None,
    ) -> UploadReport:
        """Create an item in the project for each media item that it does not have yet, by ``item_key``.

        Streams: ``items`` may be a generator of millions. An item that cannot be uploaded is reported, and does not
        keep the others from going in.

        :param upload_settings: the tool's own, for example a batch's name and priority; unknown ones are an error
        """

    # Labels in

    @abstractmethod
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
        """Give the project's items labels to start from, each item once for a ``model_version``.

        Streams: ``submissions`` may be a generator of millions, with those of an item one after the other. An item
        whose labels cannot be written is reported, and does not keep the others from going in.

        :param project_id: the project
        :param submissions: what a model or somebody else says of the items, matched by ``item_key``
        :param model_version: what made the labels; an item that has labels of this version is not given them again
        :param mode: ``predictions`` are shown to people to start from; ``annotations`` count as people's own work
        :param on_existing: whether to ``skip`` items that have labels of this version, or to ``replace`` all that the
            project has of it; only predictions can be replaced, since people may have edited annotations
        :param coordinates: whether ``bbox`` and ``points`` are ``relative``, or in ``pixels`` of the media
        """

    # Media out

    def media_request(self, media_uri: str) -> tuple[str, Mapping[str, str]]:
        """Return the URL to read an item's media by, and the headers to send along: those that a tool holds itself.

        :param media_uri: as ``items`` has it; any other than the tool's own is returned as it is, without headers
        """
        return media_uri, {}

    @property
    def media_roots(self) -> Sequence[str]:
        """Folders of the worker's that the connection says the tool serves: media below them may be read."""
        return ()

    def is_own_url(self, url: str) -> bool:  # noqa: ARG002 - what tools override
        """Return whether a URL is of the tool's own server."""
        return False

    def find_media(self, project_id: str, item_id: str, target: str = "") -> tuple[str, Mapping[str, str]] | None:
        """Return the URL at which the tool shows an item's media to people, and the headers to send along, or None.

        The default knows those that are on the web.

        :param project_id: the project
        :param item_id: the item
        :param target: which of its images, where it has several, see :class:`~airflow_annotation.labels.media.Medium`
        """
        for tables in self.read_tables(self.get_project(project_id), item_ids=[item_id]):
            for one in itertools.chain.from_iterable(media_of_items(tables.items)):
                if one.target == target and one.uri and one.uri.startswith(("http://", "https://")):
                    return self.media_request(one.uri)
        return None

    # Waiting

    @abstractmethod
    def get_progress(self, project_id: str) -> AnnotationProgress:
        """Ask how far the labeling is, in one small request."""

    @abstractmethod
    async def aget_progress(self, project_id: str) -> AnnotationProgress:
        """Like :meth:`get_progress`, for triggers."""

    async def aget_progress_of(
        self, project_ids: Collection[str]
    ) -> dict[str, AnnotationProgress | AnnotationProjectNotFoundError]:
        """Ask for several projects, :attr:`projects_a_request` of them in one; none that is missing fails the others.

        ``skipped`` may be more than :meth:`get_progress` counts, where exact numbers would cost a request a project.
        """
        answers: dict[str, AnnotationProgress | AnnotationProjectNotFoundError] = {}
        for project_id in project_ids:
            try:
                answers[project_id] = await self.aget_progress(project_id)
            except AnnotationProjectNotFoundError as error:  # noqa: PERF203 - a request takes longer
                answers[project_id] = error
        return answers

    # Labels out

    @abstractmethod
    def read_tables(
        self,
        project: AnnotationProject,
        options: ReadOptions = ReadOptions(),
        item_ids: Iterable[str] | None = None,
    ) -> Iterator[LabelTables]:
        """Yield the project as batches of whole items, every item in exactly one batch.

        What :meth:`get_label_schema` has read of the project is used, once: rows fit the schema that it returned.

        :param project: as another method of the hook returned it
        :param options: what is read of it
        :param item_ids: read these items only, those of them that the project still has; None reads all
        """

    @abstractmethod
    def list_item_states(self, project_id: str, *, include_predictions: bool = False) -> Iterator[pa.RecordBatch]:
        """Yield the state of every item of the project in few requests, without its labels.

        An item whose state is the one that landed has no row that is to be read again: the values are those that
        :meth:`read_tables` gives for it, and one of them has moved whenever a row of the item has.

        :param include_predictions: whether ``read_tables`` is asked for predictions too
        :returns: batches with the columns of :data:`~airflow_annotation.labels.tables.ITEM_STATES`
        """

    def list_last_labeled(self, project_id: str, count: int) -> list[str]:
        """Return the ids of the items with submissions that were changed last, the latest first.

        :param count: how many at most
        """
        labeled = (
            state
            for batch in self.list_item_states(project_id)
            for state in batch.select(["item_id", "annotation_count", "updated_at"]).to_pylist()
            if state["annotation_count"] and state["updated_at"]
        )
        return [state["item_id"] for state in heapq.nlargest(count, labeled, key=lambda state: state["updated_at"])]

    @abstractmethod
    def get_last_change(self, project_id: str) -> datetime | None:
        """Ask when the project was last worked on, by the tool's clock, in one small request.

        :returns: a time in UTC; whatever is asked for afterwards has all changes up to it. None if the tool cannot say
        """
