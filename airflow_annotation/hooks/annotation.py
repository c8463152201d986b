"""The contract that every labeling tool fulfils."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.hook import BaseHook

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.connection_fields import connection_types
from airflow_annotation.hooks.ports import LabelsOut, Progress, Queue, Storages
from airflow_annotation.hooks.project import (
    AnnotationProgress,
    AnnotationProject,
    AssignmentReport,
    Coordinates,
    IfExists,
    MediaAccess,
    OnDuplicate,
    OnExisting,
    RequeueReport,
    UploadMode,
    UploadReport,
    no_project_of,
    project_id_of,
)
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.submissions import Submission
from airflow_annotation.media.items import MediaItem

if TYPE_CHECKING:
    from airflow.sdk import Connection

__all__ = [
    "AnnotationHook",
    "AnnotationProgress",
    "AnnotationProject",
    "AssignmentReport",
    "Coordinates",
    "IfExists",
    "MediaAccess",
    "OnDuplicate",
    "OnExisting",
    "RequeueReport",
    "UploadMode",
    "UploadReport",
    "no_project_of",
    "project_id_of",
]


class AnnotationHook(BaseHook, Progress, Queue, Storages, LabelsOut):
    """The requests of operators, sensors and transfers to a labeling tool.

    Use :meth:`for_connection` to get the hook of the tool that a connection names.

    Every method raises :class:`~airflow_annotation.exceptions.AnnotationArgumentError` when labels or a label schema
    are invalid, :class:`~airflow_annotation.exceptions.AnnotationConnectionError` when the tool cannot be reached or
    refuses the key, :class:`~airflow_annotation.exceptions.AnnotationProjectNotFoundError` when there is no such
    project, and :class:`~airflow_annotation.exceptions.AnnotationRequestError` when the tool refuses a request.
    """

    attempts: int = 5
    """Largest number of times that a failed request is repeated; set it before the first request."""

    @cached_property
    def connection(self) -> Connection:
        """The hook's connection. Set it in a process that reads connections in another way than tasks do."""
        name: str = type(self).conn_name_attr  # type: ignore[attr-defined]  # Airflow's, of each hook
        return self.get_connection(getattr(self, name))

    @classmethod
    def for_connection(cls, conn_id: str) -> AnnotationHook:
        """Return the hook of the tool that the connection's type names.

        :raises AnnotationError: the connection's type is not that of a labeling tool
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
        """Return whether the connection works, and which server and user it reaches, or what is wrong with it."""

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
        media_type: str | None = None,
        frame_rate: float | None = None,
        columns: Sequence[str] = (),
        description: str = "",
        settings: dict[str, Any] | None = None,
        if_exists: IfExists = "reuse",
    ) -> AnnotationProject:
        """Make the project of a run, or find it.

        Exactly one of ``label_schema``, ``label_config`` (the tool's own: XML, ontology id) and ``copy_from`` (a
        project's id) says what to label.

        :param media_type: the items' kind of media; with None what the label schema requires, else images
        :param frame_rate: frame rate of videos, in frames per second, for tools whose player does not know the rate of
            each file
        :param columns: columns of time series: the column of the time, then those of the values
        """

    @abstractmethod
    def list_runs(self, prefix: str = "") -> Iterator[AnnotationProject]:
        """Yield the projects of the runs whose key starts with ``prefix``."""

    @abstractmethod
    def list_all_projects(self) -> Iterator[AnnotationProject]:
        """Yield all projects of the connection, including those without a run."""

    @abstractmethod
    def rename_run(self, run_key: str, new_run_key: str) -> AnnotationProject:
        """Give a run another key. Its project stays as it is."""

    @abstractmethod
    def forget_run(self, run_key: str) -> AnnotationProject:
        """Delete only the record of a run. Its project stays, and no longer belongs to a run."""

    @abstractmethod
    def delete_project(self, project_id: str) -> bool:
        """Delete a project and all its content. Return False if it was gone already."""

    def delete_run(self, run_key: str) -> bool:
        """Delete the project of a run. Return False if there is none."""
        project = self.find_project(run_key)
        return project is not None and self.delete_project(project.id)

    # Media in

    @abstractmethod
    def get_media_types(self, project_id: str) -> tuple[str, ...]:
        """Return the kinds of media that a project's items can have."""

    @abstractmethod
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
        """Create an item in the project for each media item that it does not have yet, by ``item_key``.

        Streams: ``items`` may be a generator of millions. If an item cannot be uploaded, it is reported, and the others
        are still uploaded.

        :param overlap: number of people who label each item; with None, what the project says
        :param upload_settings: the tool's own settings, for example a batch's name and priority; an unknown setting is
            an error
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

        Streams: ``submissions`` may be a generator of millions; the submissions of an item follow each other. If the
        labels of an item cannot be written, the item is reported, and the others still get theirs.

        :param project_id: the project
        :param submissions: labels of the items by a model or a person, matched by ``item_key``
        :param model_version: version of the model that made the labels; an item that has labels of this version already
            is skipped
        :param mode: ``predictions`` are shown to people to start from; ``annotations`` count as people's own work
        :param on_existing: ``skip`` items that have labels of this version, or ``replace`` all labels of it in the
            project. Only predictions can be replaced, since people may have edited annotations
        :param coordinates: whether ``bbox`` and ``points`` are ``relative``, or in ``pixels`` of the media
        """
