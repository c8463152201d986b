"""Annotations to a dataset in any object store that Airflow reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_annotation.formats.datasets import check_format, land_dataset
from airflow_annotation.formats.versions import PARQUET, check_same_run, check_target, dataset_path
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.project_task import is_templated
from airflow_annotation.transfers.base import AnnotationsTransfer, Landing
from airflow_annotation.transfers.refresh import Landed
from airflow_annotation.transfers.spool import Spool


class AnnotationsToObjectStorageOperator(AnnotationsTransfer):
    """Land a project's ``items``, ``annotations`` and ``labels`` as a Parquet dataset, or as one to train a model with.

    Each landing is a version of the dataset, in a folder of its own that never changes; ``manifest.json`` names the
    current one and moves last, so that a reader sees a whole landing or the one before, whatever happens.
    ``airflow_annotation.formats.parquet.read_dataset`` reads it and checks it against the manifest; any Parquet reader
    can read the files. In the other formats ``images.parquet`` says which image is which item, and where in the
    version's folder its file belongs; the images themselves are there only with ``include_media``. Lands the whole
    project each time. Other parameters are those of :class:`~airflow_annotation.transfers.base.AnnotationsTransfer`,
    :class:`~airflow_annotation.transfers.media.MediaTask` and
    :class:`~airflow_annotation.project_task.AnnotationProjectTask`.

    Returns the project's URI, ``target``, the current ``version`` and its ``path``, ``rows`` by table (``images`` and
    ``objects`` in other formats than Parquet), ``label_schema_digest`` and ``seconds``.

    :param target: folder of the dataset, a URI such as ``gs://connection_id@bucket/labels`` or ``file:///data/labels``.
        Each project wants a folder of its own, for example with ``{{ run_id }}`` in it. One landing at a time should
        write to it: of two at once, the last to end is the current one. (templated)
    :param object_storage_conn_id: connection of the object store, where the URI names none. (templated)
    :param dataset_format: ``parquet``, or one to train a model with: ``coco``, ``yolo``, ``pascal_voc``,
        ``semantic_masks``, ``mot`` or ``image_folder``, each described in its module in ``airflow_annotation.formats``.
        These take the ``latest`` submission of each item and ``all`` frames of videos, unless told otherwise
    :param dataset_options: what is asked of the format, such as ``classes`` and ``splits``: see
        :class:`~airflow_annotation.formats.dataset_options.DatasetOptions` and the options in the format's own module.
        (templated)
    :param keep_versions: how many versions to keep, the new one among them
    :param replace_project: take the place of a dataset of another project or in another format in ``target``, which is
        an error otherwise
    """

    template_fields: Sequence[str] = (
        *AnnotationsTransfer.template_fields,
        "target",
        "object_storage_conn_id",
        "dataset_options",
    )

    def __init__(
        self,
        *,
        target: str,
        object_storage_conn_id: str | None = None,
        dataset_format: str = PARQUET,
        dataset_options: dict[str, Any] | None = None,
        keep_versions: int = 2,
        replace_project: bool = False,
        **kwargs: Any,
    ) -> None:
        if dataset_format != PARQUET:
            # A frame without the objects between their key frames would teach a model that they are not there.
            kwargs = {"annotations": "latest", "frames": "all", **kwargs}
        super().__init__(**kwargs)
        check_landing(target, dataset_format, dataset_options, keep_versions)
        if dataset_format != PARQUET and self.coordinates != "relative":
            raise ValueError(f"coordinates are for Parquet: {dataset_format} has its own.")
        self.target = target
        self.object_storage_conn_id = object_storage_conn_id
        self.dataset_format = dataset_format
        self.dataset_options = dataset_options
        self.keep_versions = keep_versions
        self.replace_project = replace_project

    def find_landed(self, project: AnnotationProject) -> Landed | None:
        """Return None: every landing reads all items. Checks first that it may land there at all."""
        if not self.replace_project:
            target = dataset_path(self.target, self.object_storage_conn_id)
            check_same_run(target, project.uri, project.run_key, self.dataset_format)
        return None

    def land(self, landing: Landing, spool: Spool) -> dict[str, Any]:
        """Write a version of the dataset and make it the current one."""
        options: Mapping[str, Any] | None = self.dataset_options
        if self.dataset_format != PARQUET:
            chosen = {"annotations": self.annotations, "include_predictions": self.include_predictions}
            options = self.dataset_options_with_media({**chosen, **(options or {})})
        check_format(self.dataset_format, options)
        return land_dataset(
            dataset_path(self.target, self.object_storage_conn_id),
            self.checked(spool.batches()),
            project=landing.project.uri,
            run_key=landing.project.run_key,
            label_schema=landing.label_schema,
            settings=landing.settings,
            dataset_format=self.dataset_format,
            options=options,
            place_images=self.place_images,
            keep_versions=self.keep_versions,
            replace_project=self.replace_project,
        )

    def media_folder(self) -> str:
        """Return ``media_target``, or ``media`` in the dataset's folder."""
        return default_media_folder(self.media_target, self.target, self.object_storage_conn_id)


def default_media_folder(media_target: str | None, target: str, conn_id: str | None) -> str:
    """Return where the media of a dataset go.

    :param media_target: what the task says
    :param target: the dataset's folder
    :param conn_id: the connection of its object store, where the URI names none
    """
    return media_target or str(dataset_path(target, conn_id) / "media")


def check_landing(target: Any, dataset_format: str, dataset_options: Any, keep_versions: int) -> None:
    """Check what a landing is asked for when the DAG is parsed, but for what is known only when the task runs.

    :raises ValueError: it cannot keep so many versions
    :raises AnnotationError: it cannot be done; the message names what cannot
    """
    if keep_versions < 1:
        raise ValueError(f"keep_versions must be at least 1, the new version itself, not {keep_versions}.")
    if isinstance(target, str) and not is_templated(target):
        check_target(target)
    check_format(dataset_format, None if is_templated(dataset_options) else dataset_options)
