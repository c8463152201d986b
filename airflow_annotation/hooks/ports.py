"""Parts of a labeling tool's features, for code that needs only one of them. A hook has them all."""

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

    :param states: states of the items that may have changed, batches with the columns of
        :data:`~airflow_annotation.labels.tables.ITEM_STATES`
    :param counts: counts of all items that the tool has by now: how many ``items``, how many of a status (``labeled``)
        or of several together (``unlabeled|partial``), and the sums of ``annotation_count`` and ``prediction_count``;
        only those that the tool can tell
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
        """Return the asset URI of the project with this id, without asking the tool whether it exists."""

    @abstractmethod
    def find_project(self, run_key: str) -> AnnotationProject | None:
        """Return the run's project, or None.

        If there are several, a project whose title names the run comes before one whose title does not, then the oldest
        first.
        """

    def find_projects(self, run_keys: Collection[str]) -> dict[str, AnnotationProject]:
        """Return the projects of the runs that have one, by key, as :meth:`find_project` finds them."""
        return {run_key: found for run_key in run_keys if (found := self.find_project(run_key)) is not None}

    def resolve_project(
        self, project: str | int | Mapping[str, Any] | None = None, run_keys: Sequence[str] = ()
    ) -> AnnotationProject:
        """Return the project that an operator's arguments name.

        :param project: an id, or what ``CreateAnnotationProjectOperator`` returned
        :param run_keys: keys of runs, if ``project`` is not given; the first run that has a project counts
        """
        if project is not None and project != "":
            return self.get_project(project_id_of(project))
        for run_key in run_keys:
            found = self.find_project(run_key)
            if found is not None:
                return found
        raise no_project_of(run_keys)


class Progress(ABC):
    """Tells the progress of projects."""

    projects_a_request: ClassVar[int] = 1
    """How many projects :meth:`aget_progress_of` asks about in one request."""

    pace: RequestPace | None = None
    """Limit of requests per minute; set it before the first request."""

    polls_per_minute: float = 60.0
    """Requests per minute that waiting in a triggerer may cost: the connection's extra field of that name."""

    @abstractmethod
    def get_progress(self, project_id: str, *, min_annotations: int | None = None) -> AnnotationProgress:
        """Ask for the progress of the labeling, in one small request.

        :param project_id: the project
        :param min_annotations: count the items with at least this many submissions as completed, instead of the tool's
            own count of finished items. Skips do not count. It costs more, as the tool's hook says.
        """

    @abstractmethod
    async def aget_progress(self, project_id: str, *, min_annotations: int | None = None) -> AnnotationProgress:
        """Like :meth:`get_progress`, for triggers."""

    async def aget_progress_of(
        self, project_ids: Collection[str]
    ) -> dict[str, AnnotationProgress | AnnotationProjectNotFoundError]:
        """Ask for several projects, :attr:`projects_a_request` of them per request.

        A missing project does not fail the others. ``skipped`` may be more than :meth:`get_progress` counts, if exact
        numbers would cost a request per project.
        """
        answers: dict[str, AnnotationProgress | AnnotationProjectNotFoundError] = {}
        for project_id in project_ids:
            try:
                answers[project_id] = await self.aget_progress(project_id)
            except AnnotationProjectNotFoundError as error:  # noqa: PERF203 - a request takes longer
                answers[project_id] = error
        return answers


class Queue(ABC):
    """Decides what people label next, and who labels it."""

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

        Items that wait for people already stay as they are. A repeated call with the same ``request`` leaves the items
        that it has put back as they are, no matter what people have done with them since.

        :param project_id: the project
        :param item_keys: keys of the items; None for all that are skipped. If the project does not have an item, the
            item is reported, and the others are still put back
        :param request: name of the request, the same in each retry
        :param item_ids: the tool's ids of items, instead of ``item_keys``; ids that the project does not have are
            ignored
        """

    @abstractmethod
    def assign_items(
        self, project_id: str, annotators: Sequence[str], *, overlap: int = 1, item_keys: Iterable[str] | None = None
    ) -> AssignmentReport:
        """Split items among people, so that the numbers of their items differ by at most one.

        Items that have their people already keep them. So the next call completes a call that was interrupted, and
        splits new items among the same people.

        :param project_id: the project
        :param annotators: e-mail addresses of the tool's users
        :param overlap: number of these people who get each item
        :param item_keys: keys of the items; None for all that are not finished. If the project does not have an item,
            the item is reported, and the others still get people
        """


class Storages:
    """Connects projects to buckets and folders, which the tool reads and writes itself."""

    def sync_storage(self, project_id: str, storage: Storage) -> StorageSync:
        """Find or make a project's storage, give it the settings and credentials that are asked for, and start a sync.

        If a sync runs already, no other is started, although it may have begun before the newest objects were there:
        wait for its end, and call again. Repeated calls make a storage only once, and each item only once.

        :param project_id: the project
        :param storage: the storage
        :returns: the sync that was started or runs; it may be over
        """
        raise AnnotationError(
            f"{type(self).__name__} cannot connect project {project_id} to {storage.uri}: upload its files."
        )

    def get_storage_sync(self, project_id: str, storage_id: str) -> StorageSync:
        """Ask for the progress of the newest sync of a storage, in one small request.

        :param project_id: the project
        :param storage_id: id that :meth:`sync_storage` returned
        """
        raise AnnotationError(f"{type(self).__name__} has no storage {storage_id} for project {project_id}.")


class LabelsOut(Projects):
    """Reads the labels of projects, and says where their media are."""

    @cached_property
    def mask_budget(self) -> MaskBudget:
        """Limit of a mask's size: the configuration's ``max_mask_pixels``. Assign another budget to use that."""
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

        It uses, once, what :meth:`get_label_schema` has read of the project, so rows fit the schema that it returned.

        :param project: project that another method of the hook returned
        :param options: what is read of it
        :param item_ids: ids of the only items to read; those that the project no longer has are ignored. None reads all
        """

    @abstractmethod
    def list_item_states(
        self, project_id: str, *, include_predictions: bool = False, items: ItemFilter | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the state of every item of the project in few requests, without its labels.

        If an item's state equals its landed state, none of its rows has changed: the values are those that
        :meth:`read_tables` gives for it, and one of them changes whenever a row of the item changes.

        :param include_predictions: whether ``read_tables`` reads predictions too
        :param items: filter, to list only the items that fit; replace its query by keys first, see
            :func:`~airflow_annotation.landing.parts.with_queried_keys`
        :returns: batches with the columns of :data:`~airflow_annotation.labels.tables.ITEM_STATES`
        """

    def list_item_ids(self, project_id: str) -> Iterator[pa.Array]:
        """Yield the ids of all items of the project, each once, for :meth:`read_tables`.

        They may include ids of items that are not in the project.
        """
        ids = [batch.column("item_id") for batch in self.list_item_states(project_id)]
        yield pa.chunked_array(ids, pa.string()).unique()

    def mark_changes(self, project_id: str) -> dict[str, Any] | None:  # noqa: ARG002 - what tools override
        """Return a mark of now, as plain JSON values. From it, :meth:`list_changes` can later tell what has changed.

        Call it before you list or read items, so that changes during the reading are among the later changes. None if
        the tool cannot tell what has changed.
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
        """List the items that may have changed since a mark. The number of requests depends on how much has changed.

        None if the tool can tell that there are changes that it cannot list.

        :param before: the earlier mark, from :meth:`mark_changes`
        :param now: the mark that it has just returned
        :param include_predictions: whether ``read_tables`` reads predictions too
        """
        return None

    def list_last_labeled(self, project_id: str, count: int, *, min_annotations: int = 1) -> list[str]:
        """Return the ids of the items with submissions that were changed last, the latest first.

        :param count: largest number of ids
        :param min_annotations: smallest number of submissions of an item
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
        """Ask when the project was last changed, by the tool's clock, in one small request.

        :returns: a time in UTC; later requests see all changes up to it. None if the tool cannot tell
        """

    def list_changed_items(self, project_id: str, since: datetime) -> list[str]:
        """Return the ids of the items that were changed at this time or later, by the tool's clock."""
        rows = (row for batch in self.list_item_states(project_id) for row in batch.to_pylist())
        return [row["item_id"] for row in rows if row["updated_at"] is None or row["updated_at"] >= since]

    def media_request(self, media_uri: str) -> tuple[str, Mapping[str, str]]:
        """Return the URL to read an item's media, and the headers to send, if the tool itself holds the media.

        :param media_uri: URI of the media, as in ``items``; one that is not the tool's own is returned unchanged,
            without headers
        """
        return media_uri, {}

    @property
    def media_roots(self) -> Sequence[str]:
        """Folders of the worker that the connection says the tool serves: media below them may be read."""
        return ()

    def is_own_url(self, url: str) -> bool:  # noqa: ARG002 - what tools override
        """Return whether a URL is of the tool's own server."""
        return False

    def find_media(self, project_id: str, item_id: str, target: str = "") -> tuple[str, Mapping[str, str]] | None:
        """Return the URL at which the tool shows an item's media to people, and the headers to send, or None.

        The default implementation finds only media on the web.

        :param project_id: the project
        :param item_id: the item
        :param target: which of its images, if it has several, see :class:`~airflow_annotation.labels.media.Medium`
        """
        for tables in self.read_tables(self.get_project(project_id), item_ids=[item_id]):
            for one in itertools.chain.from_iterable(media_of_items(tables.items)):
                if one.target == target and one.uri and one.uri.startswith(("http://", "https://")):
                    return self.media_request(one.uri)
        return None

    def find_own_copy(self, project_id: str, item_id: str, target: str = "") -> tuple[str, Mapping[str, str]] | None:
        """Like :meth:`find_media`, for an item that was just read: the tool need not look for it in the project."""
        return self.find_media(project_id, item_id, target)
