"""Parts of what a tool does, for those that ask for one of them. A hook has them all."""

from __future__ import annotations

import heapq
import itertools
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar, Final, NamedTuple

import pyarrow as pa
from airflow.providers.common.compat.sdk import conf

from airflow_annotation.exceptions import AnnotationError, AnnotationProjectNotFoundError
from airflow_annotation.hooks.label_errors import with_label_errors
from airflow_annotation.hooks.project import (
    AnnotationProgress,
    AnnotationProject,
    AssignmentReport,
    RequeueReport,
    no_project_of,
    project_id_of,
)
from airflow_annotation.hooks.storages import Storage, StorageSync
from airflow_annotation.labels.item_filter import ItemFilter
from airflow_annotation.labels.mask_budget import MAX_MASK_PIXELS, MaskBudget
from airflow_annotation.labels.media import media_of_items
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.transport.pacing import RequestPace

_RAISE_LABEL_ERRORS: Final = frozenset(
    {"create_project", "get_label_schema", "upload_predictions", "read_tables", "list_item_states"}
)


class ItemChanges(NamedTuple):
    """What a tool says has changed in a project.

    :param states: of the items that may have changed, batches with the columns of
        :data:`~airflow_annotation.labels.tables.ITEM_STATES`
    :param counts: what the tool has by now, of all items: how many ``items``, how many of a status (``labeled``) or of
        several together (``unlabeled|partial``), and the sums of ``annotation_count`` and ``prediction_count``; what
        the tool can say of these
    """

    states: Sequence[pa.RecordBatch]
    counts: Mapping[str, int]


class Projects(ABC):
    """Finds projects."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in _RAISE_LABEL_ERRORS & vars(cls).keys():
            setattr(cls, name, with_label_errors(getattr(cls, name)))

    tool: ClassVar[str]
    """The tool's name in the tables' ``tool`` column."""

    @abstractmethod
    def get_project(self, project_id: str) -> AnnotationProject:
        """Return the project with this id."""

    @abstractmethod
    def project_uri(self, project_id: str) -> str:
        """Return the asset URI of the project with this id, without asking the tool whether there is one."""

    @abstractmethod
    def find_project(self, run_key: str) -> AnnotationProject | None:
        """Return the run's project, or None.

        Of several, one whose title names the run comes before one whose title does not, and then the oldest.
        """

    def find_projects(self, run_keys: Collection[str]) -> dict[str, AnnotationProject]:
        """Return the projects of those of the runs that have one, by key, as :meth:`find_project` finds them."""
        return {run_key: found for run_key in run_keys if (found := self.find_project(run_key)) is not None}

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


class Progress(ABC):
    """Says how far projects are."""

    projects_a_request: ClassVar[int] = 1
    """How many projects :meth:`aget_progress_of` asks about in one request."""

    pace: RequestPace | None = None
    """How many requests a minute go out; set it before the first one."""

    polls_per_minute: float = 60.0
    """How many requests a minute waiting in a triggerer may cost: the connection's extra field of that name."""

    @abstractmethod
    def get_progress(self, project_id: str, *, min_annotations: int | None = None) -> AnnotationProgress:
        """Ask how far the labeling is, in one small request.

        :param project_id: the project
        :param min_annotations: count the items with this many submissions or more as completed, instead of those that
            the tool counts as finished. Skips are no submissions. It costs more, as the tool's hook says.
        """

    @abstractmethod
    async def aget_progress(self, project_id: str, *, min_annotations: int | None = None) -> AnnotationProgress:
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


class Queue(ABC):
    """Says what people label next, and who."""

    @abstractmethod
    def requeue_items(
        self,
        project_id: str,
        item_keys: Iterable[str] | None = None,
        *,
        request: str,
        item_ids: Iterable[str] | None = None,
    ) -> RequeueReport:
        """Put items back to be labeled, and clear their skips. No label that somebody made is lost.

        Items that wait for people already stay as they are. Asked again by the same request, items that it has put
        back stay as they are, whatever people have done with them since.

        :param project_id: the project
        :param item_keys: the items; None for all that are skipped. An item that the project does not have is reported,
            and does not keep the others from being put back
        :param request: names what asks, the same in each retry
        :param item_ids: instead of ``item_keys``, the tool's ids of items; those that the project does not have are
            ignored
        """

    @abstractmethod
    def assign_items(
        self, project_id: str, annotators: Sequence[str], *, overlap: int = 1, item_keys: Iterable[str] | None = None
    ) -> AssignmentReport:
        """Split items over people, so that each person has as many as the others, give or take one.

        Items that have their people already keep them, so that a call that was broken off is ended by the next one, and
        items that have come since are split over the same people.

        :param project_id: the project
        :param annotators: e-mail addresses of the tool's users
        :param overlap: how many of them each item gets
        :param item_keys: the items; None for all that are not finished. An item that the project does not have is
            reported, and does not keep the others from getting people
        """


class Storages:
    """Connects projects to buckets and folders, which the tool reads and writes by itself."""

    def sync_storage(self, project_id: str, storage: Storage) -> StorageSync:
        """Find or make a project's storage, give it the settings and credentials that are asked for, and start a sync.

        Where one runs already, which may have begun before the newest objects were there, none is started: wait for its
        end, and ask again. A storage is made once, however often this is asked for, and so is each item.

        :param project_id: the project
        :param storage: the storage
        :returns: the sync that was started or runs; it may be over
        """
        raise AnnotationError(
            f"{type(self).__name__} cannot connect project {project_id} to {storage.uri}: upload its files."
        )

    def get_storage_sync(self, project_id: str, storage_id: str) -> StorageSync:
        """Ask how far the newest sync of a storage is, in one small request.

        :param project_id: the project
        :param storage_id: as :meth:`sync_storage` returned it
        """
        raise AnnotationError(f"{type(self).__name__} has no storage {storage_id} for project {project_id}.")


class LabelsOut(Projects):
    """Reads the labels of projects, and says where their media are."""

    @cached_property
    def mask_budget(self) -> MaskBudget:
        """What a mask may cost: the configuration's ``max_mask_pixels``. Assign another to use that."""
        return MaskBudget.of_pixels(conf.getint("annotation", "max_mask_pixels", fallback=MAX_MASK_PIXELS))

    @abstractmethod
    def get_label_schema(self, project_id: str) -> LabelSchema:
        """Read the label schema back from the project's labeling config or ontology."""

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
    def list_item_states(
        self, project_id: str, *, include_predictions: bool = False, items: ItemFilter | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the state of every item of the project in few requests, without its labels.

        If an item's state equals its landed state, none of its rows has changed: the values are those that
        :meth:`read_tables` gives for it, and one of them moves whenever a row of the item does.

        :param include_predictions: whether ``read_tables`` is asked for predictions too
        :param items: list the items that fit only; its query is replaced by keys, see
            :func:`~airflow_annotation.landing.parts.with_queried_keys`
        :returns: batches with the columns of :data:`~airflow_annotation.labels.tables.ITEM_STATES`
        """

    def list_item_ids(self, project_id: str) -> Iterator[pa.Array]:
        """Yield the ids of all items of the project, each once, for :meth:`read_tables`.

        Others that are not in the project may be among them.
        """
        ids = [batch.column("item_id") for batch in self.list_item_states(project_id)]
        yield pa.chunked_array(ids, pa.string()).unique()

    def mark_changes(self, project_id: str) -> dict[str, Any] | None:  # noqa: ARG002 - what tools override
        """Return what :meth:`list_changes` has to know of now, to say later what has changed since; plain JSON values.

        Asked for before items are listed or read: what changes while they are is among the changes. None if the tool
        cannot say what has changed.
        """
        return None

    def list_changes(
        self,
        project_id: str,  # noqa: ARG002 - what tools override
        before: Mapping[str, Any],  # noqa: ARG002
        now: Mapping[str, Any],  # noqa: ARG002
        *,
        include_predictions: bool = False,  # noqa: ARG002
    ) -> ItemChanges | None:
        """List the items that may have changed since a mark, in requests that follow what has changed.

        None if the tool can tell that there are changes that it cannot list.

        :param before: what :meth:`mark_changes` returned then
        :param now: what it has returned just now
        :param include_predictions: whether ``read_tables`` is asked for predictions too
        """
        return None

    def list_last_labeled(self, project_id: str, count: int, *, min_annotations: int = 1) -> list[str]:
        """Return the ids of the items with submissions that were changed last, the latest first.

        :param count: how many at most
        :param min_annotations: only of items with so many submissions
        """
        labeled = (
            state
            for batch in self.list_item_states(project_id)
            for state in batch.select(["item_id", "annotation_count", "updated_at"]).to_pylist()
            if state["annotation_count"] >= min_annotations and state["updated_at"]
        )
        return [state["item_id"] for state in heapq.nlargest(count, labeled, key=lambda state: state["updated_at"])]

    @abstractmethod
    def get_last_change(self, project_id: str) -> datetime | None:
        """Ask when the project was last worked on, by the tool's clock, in one small request.

        :returns: a time in UTC; whatever is asked for afterwards has all changes up to it. None if the tool cannot say
        """

    def list_changed_items(self, project_id: str, since: datetime) -> list[str]:
        """Return the ids of the items that were changed at a time or later, by the tool's clock."""
        rows = (row for batch in self.list_item_states(project_id) for row in batch.to_pylist())
        return [row["item_id"] for row in rows if row["updated_at"] is None or row["updated_at"] >= since]

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

    def find_own_copy(self, project_id: str, item_id: str, target: str = "") -> tuple[str, Mapping[str, str]] | None:
        """Like :meth:`find_media`, of an item that was just read from the project: tools need not look for it there."""
        return self.find_media(project_id, item_id, target)
