"""Annotations to a Parquet dataset in any object store that Airflow reaches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from airflow_annotation.formats.parquet import check_target, dataset_path, write_dataset
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.transfers.base import AnnotationsTransfer


class AnnotationsToObjectStorageOperator(AnnotationsTransfer):
    """Land a project's ``items``, ``annotations`` and ``labels`` as a Parquet dataset.

    Each landing is a version of the dataset, in a folder of its own that never changes; ``manifest.json`` names the
    current one and moves last, so that a reader sees a whole landing or the one before, whatever happens.
    ``airflow_annotation.formats.parquet.read_dataset`` reads it and checks it against the manifest; any Parquet reader
    can read the files. Lands the whole project each time. Other parameters are those of
    :class:`~airflow_annotation.transfers.base.AnnotationsTransfer` and
    :class:`~airflow_annotation.project_task.AnnotationProjectTask`.

    Returns the project's URI, ``target``, the current ``version`` and its ``path``, ``rows`` by table,
    ``label_schema_digest`` and ``seconds``.

    :param target: folder of the dataset, a URI such as ``gs://connection_id@bucket/labels`` or ``file:///data/labels``.
        Each project wants a folder of its own, for example with ``{{ run_id }}`` in it. One landing at a time should
        write to it: of two at once, the last to end is the current one. (templated)
    :param object_storage_conn_id: connection of the object store, where the URI names none. (templated)
    :param keep_versions: how many versions to keep, the new one among them
    :param replace_project: take the place of another project's dataset in ``target``, which is an error otherwise
    """

    template_fields: Sequence[str] = (*AnnotationsTransfer.template_fields, "target", "object_storage_conn_id")

    def __init__(
        self,
        *,
        target: str,
        object_storage_conn_id: str | None = None,
        keep_versions: int = 2,
        replace_project: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if keep_versions < 1:
            raise ValueError(f"keep_versions must be at least 1, the new version itself, not {keep_versions}.")
        if isinstance(target, str) and "{{" not in target:
            check_target(target)
        self.target = target
        self.object_storage_conn_id = object_storage_conn_id
        self.keep_versions = keep_versions
        self.replace_project = replace_project

    def land(
        self, project: AnnotationProject, label_schema: LabelSchema, batches: Iterable[LabelTables]
    ) -> dict[str, Any]:
        """Write a version of the dataset and make it the current one."""
        target = dataset_path(self.target, self.object_storage_conn_id)
        manifest = write_dataset(
            target,
            batches,
            project=project.uri,
            run_key=project.run_key,
            label_schema=label_schema,
            settings=self.settings,
            keep_versions=self.keep_versions,
            replace_project=self.replace_project,
        )
        return {
            "target": str(target),
            "version": manifest.version,
            "path": str(target / "versions" / manifest.version),
            "rows": manifest.rows,
        }
