"""Landed annotations to a dataset in any object store, without reading the labeling tool again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.sdk import XComArg

from airflow_annotation.assets import folder_uri
from airflow_annotation.datasets.landed import LandedProject, read_landed_tables, to_relative
from airflow_annotation.datasets.results import LandingResult
from airflow_annotation.datasets.stores import FolderStore
from airflow_annotation.datasets.versions import DELTA, PARQUET, NewVersion, dataset_path
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats.registry import TABLE_FORMATS, check_format, has_all_frames, land_dataset
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.landing.lineage import LandingTask
from airflow_annotation.landing.listing import split_settings
from airflow_annotation.landing.media import MediaParameters, MediaTask
from airflow_annotation.media.storage import without_connection
from airflow_annotation.storage_errors import storage_errors
from airflow_annotation.transfers.annotations_to_object_storage import default_media_folder
from airflow_annotation.transfers.dataset_transfer import check_uri, check_versions

if TYPE_CHECKING:
    from airflow.sdk import Context
    from typing_extensions import Unpack


class LandedAnnotationsToObjectStorageOperator(MediaTask, LandingTask):
    """Make a dataset to train a model with from annotations that have landed, in a bucket or in SQL tables.

    One landing can be converted many times: into other formats, classes or splits. The task reads the landing as it is
    at that moment. The dataset has only the submissions that landed, and only the fields, under the names that they
    landed with. Landings of videos must have been made with ``frames="all"``. Parameters for media are those of
    :class:`~airflow_annotation.landing.media.MediaTask`. For the asset events of the task, see
    :class:`~airflow_annotation.landing.lineage.LandingTask`.

    Returns the project's URI, ``target``, the current ``version`` and its ``path``, ``rows`` (``images`` and
    ``objects``, or ``examples`` and ``labels``), ``label_schema_digest`` and ``seconds``.

    :param source: the landed dataset, a URI or an absolute path, or the output of
        ``AnnotationsToObjectStorageOperator`` or ``AnnotationsToSqlOperator``. (templated)
    :param source_conn_id: connection of the source's object store, if its URI names none. (templated)
    :param sql_conn_id: instead of ``source``, connection of the database with the landed tables. (templated)
    :param table_prefix: prefix of the names of these tables. (templated)
    :param schema: schema of the database that has these tables. (templated)
    :param source_project: the URI of the project to take, if the tables have several. (templated)
    :param target: folder of the dataset, as for
        :class:`~airflow_annotation.transfers.annotations_to_object_storage.AnnotationsToObjectStorageOperator`.
        (templated)
    :param object_storage_conn_id: connection of the target's object store, if the URI names none. (templated)
    :param dataset_format: ``jsonl``, ``csv``, or one of ``airflow_annotation.formats.registry.FORMATS``
    :param dataset_options: options of the format, such as ``classes``, ``splits`` and ``annotations``: see
        :class:`~airflow_annotation.formats.dataset_options.DatasetOptions` and the options in the format's own module.
        (templated)
    :param keep_versions: number of versions to keep, including the new one
    :param replace_project: replace a dataset of another project or in another format in ``target``, which is an error
        otherwise
    """

    template_fields: Sequence[str] = (
        "source",
        "source_conn_id",
        "sql_conn_id",
        "table_prefix",
        "schema",
        "source_project",
        "target",
        "object_storage_conn_id",
        "dataset_options",
        *MediaTask.template_fields,
    )

    _sources: list[str] = []  # noqa: RUF012 - replaced, never changed

    def __init__(
        self,
        *,
        source: str | Mapping[str, Any] | XComArg | None = None,
        source_conn_id: str | None = None,
        sql_conn_id: str | None = None,
        table_prefix: str = "",
        schema: str | None = None,
        source_project: str | None = None,
        target: str,
        object_storage_conn_id: str | None = None,
        dataset_format: str,
        dataset_options: dict[str, Any] | None = None,
        keep_versions: int = 2,
        replace_project: bool = False,
        multiple_outputs: bool = True,
        **kwargs: Unpack[MediaParameters],
    ) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)
        if (source is None) == (sql_conn_id is None):
            raise ValueError("Say where the annotations have landed: pass either source or sql_conn_id.")
        if dataset_format in (PARQUET, DELTA):
            raise ValueError(f"dataset_format={dataset_format!r} is what lands from the tool: choose another format.")
        check_versions(dataset_format, dataset_options, keep_versions, self.include_media)
        check_uri(target)
        self.source: Any = source
        self.source_conn_id = source_conn_id
        self.sql_conn_id = sql_conn_id
        self.table_prefix = table_prefix
        self.schema = schema
        self.source_project = source_project
        self.target = target
        self.object_storage_conn_id = object_storage_conn_id
        self.dataset_format = dataset_format
        self.dataset_options = dataset_options
        self.keep_versions = keep_versions
        self.replace_project = replace_project

    def execute(self, context: Context) -> LandingResult:
        """Convert the landing, and return where the dataset is."""
        with storage_errors(f"The conversion to {without_connection(self.target)} ({self.in_errors})"):
            started = time.monotonic()
            check_format(self.dataset_format, self.dataset_options)
            source = self.source if isinstance(self.source, Mapping) else {"target": self.source}
            if self.sql_conn_id or source.get("sql_conn_id"):
                return self.announce(context, self._convert_tables(source, started))
            if not source.get("target"):
                raise AnnotationError(f"source is no landed dataset and no landed tables, but {self.source!r}.")
            landing, batches = read_landed_tables(str(source["target"]), conn_id=self.source_conn_id)
            self._sources = [folder_uri(str(source["target"]))]
            return self.announce(context, self._land(landing, batches, started))

    def source_uris(self, landing: LandingResult) -> list[str]:  # noqa: ARG002 - what others look at
        """Return the URI of the dataset, or those of the tables, that were converted."""
        return self._sources

    @property
    def needs_all_frames(self) -> bool:
        """Whether the dataset also has the frames of videos without labels."""
        return has_all_frames(self.dataset_format)

    def media_folder(self) -> str:
        """Return ``media_target``, or ``media`` in the dataset's folder."""
        return default_media_folder(self.media_target, self.target, self.object_storage_conn_id)

    def _convert_tables(self, source: Mapping[str, Any], started: float) -> LandingResult:
        from airflow_annotation.landing.sql_reader import SqlReader

        with SqlReader(
            self.sql_conn_id or source["sql_conn_id"],
            table_prefix=source.get("table_prefix", self.table_prefix),
            schema=source.get("schema", self.schema),
            project=self.source_project or source.get("project"),
        ) as reader:
            self._sources = reader.uris()
            landing = reader.find_landing()
            return self._land(landing, reader.read(landing), started)

    def _land(self, landing: LandedProject, batches: Iterable[LabelTables], started: float) -> LandingResult:
        batches = self.with_media(self._checked(map(partial(to_relative, landing), batches), landing.settings))
        new = NewVersion(
            project=landing.project,
            run_key=landing.run_key,
            label_schema=landing.label_schema,
            settings=split_settings(landing.settings)[0],
            dataset_format=self.dataset_format,
            keep_versions=self.keep_versions,
            replace_project=self.replace_project,
        )
        landed = land_dataset(
            FolderStore(dataset_path(self.target, self.object_storage_conn_id)),
            new,
            batches,
            options=None
            if self.dataset_format in TABLE_FORMATS
            else self.dataset_options_with_media(self.dataset_options or {}),
            landed_media=self.dataset_media,
        )
        seconds = round(time.monotonic() - started, 3)
        self.log.info("Wrote %s in %.1f s: %s", landed["path"], seconds, landed["rows"])
        return {
            "project": landing.project,
            **landed,
            **self.landed_media,
            "label_schema_digest": landing.label_schema.digest(),
            "seconds": seconds,
        }

    def _checked(self, batches: Iterable[LabelTables], settings: Mapping[str, Any]) -> Iterator[LabelTables]:
        for batch in self.checked(batches):
            if settings.get("frames") == "keyframes" and "video" in batch.items.column("media_type").to_pylist():
                raise AnnotationError(
                    "The landing has the key frames of videos only, and its objects are in other frames too, which "
                    'would teach a model that they are not: land it with frames="all".'
                )
            yield batch
