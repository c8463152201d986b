"""Annotations to a dataset in any object store that Airflow reaches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_annotation.datasets.stores import FolderStore
from airflow_annotation.datasets.versions import dataset_path
from airflow_annotation.media.storage import without_connection
from airflow_annotation.transfers.dataset_transfer import DatasetParameters, DatasetTransfer, check_uri

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AnnotationsToObjectStorageOperator(DatasetTransfer):
    """Land a project's ``items``, ``annotations`` and ``labels`` as a Parquet dataset, or as one to train a model with.

    Each landing with changes is a version of the dataset, in its own folder that never changes. ``manifest.json`` names
    the current version and is written last, so readers always see either the whole new landing or the one before. The
    rows of unchanged items are copied from the version before, without requests to the tool.
    ``airflow_annotation.datasets.parquet.read_dataset`` reads a version of a Parquet dataset and checks it against its
    manifest; any Parquet reader can read the files. In the other formats, ``images.parquet`` says which image is which
    item, and where in the version's folder its file belongs. The images themselves are there only with
    ``include_media``.

    Returns the project's URI, ``target``, the current ``version`` and its ``path``, ``rows`` by table (``images`` and
    ``objects`` in other formats than Parquet), what has changed, ``label_schema_digest`` and ``seconds``.

    :param target: folder of the dataset, a URI such as ``gs://connection_id@bucket/labels`` or ``file:///data/labels``.
        Use a different folder for each project, for example with ``{{ run_id }}`` in it. On local disks and in S3, two
        landings at once cannot mix; in other stores, only one landing at a time should write to it. (templated)
    :param object_storage_conn_id: connection of the object store, if the URI names none. (templated)
    """

    template_fields: Sequence[str] = (*DatasetTransfer.template_fields, "target", "object_storage_conn_id")

    def __init__(
        self, *, target: str, object_storage_conn_id: str | None = None, **kwargs: Unpack[DatasetParameters]
    ) -> None:
        super().__init__(**kwargs)
        check_uri(target)
        self.target = target
        self.object_storage_conn_id = object_storage_conn_id

    @property
    def destination(self) -> str:
        """The dataset's folder."""
        return without_connection(self.target)

    def store(self) -> FolderStore:
        """Return the dataset's folder."""
        return FolderStore(dataset_path(self.target, self.object_storage_conn_id))

    def media_folder(self) -> str:
        """Return ``media_target``, or ``media`` in the dataset's folder."""
        return default_media_folder(self.media_target, self.target, self.object_storage_conn_id)


def default_media_folder(media_target: str | None, target: str, conn_id: str | None) -> str:
    """Return the folder for the media of a dataset.

    :param media_target: folder that the task names
    :param target: the dataset's folder
    :param conn_id: the connection of its object store, if the URI names none
    """
    return media_target or str(dataset_path(target, conn_id) / "media")
