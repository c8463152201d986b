"""Common parts of the transfers to datasets in buckets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from airflow_annotation.arguments import is_templated
from airflow_annotation.datasets.companion import companion_of, refreshed_batches
from airflow_annotation.datasets.delta import land_delta
from airflow_annotation.datasets.parquet import read_rows, refresh_dataset
from airflow_annotation.datasets.purging import has_nothing_that_is_gone
from airflow_annotation.datasets.results import LandingResult
from airflow_annotation.datasets.stores import DatasetStore
from airflow_annotation.datasets.versions import (
    DELTA,
    PARQUET,
    NewVersion,
    check_same_run,
    check_target,
    find_current,
    keep_version,
    write_version,
)
from airflow_annotation.exceptions import AnnotationError, LandingMovedError
from airflow_annotation.formats.registry import (
    EXAMPLE_FORMATS,
    TABLE_FORMATS,
    asked_options,
    check_format,
    describe_version,
    has_all_frames,
    land_dataset,
)
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.labels.tables import ITEM_STATES, SCHEMAS, LabelTables
from airflow_annotation.landing.landings_row import landed_of
from airflow_annotation.landing.plan import LandingPlan
from airflow_annotation.landing.refresh import Landed
from airflow_annotation.landing.spool import Spool
from airflow_annotation.transfers.base import AnnotationsTransfer, TransferParameters

if TYPE_CHECKING:
    from typing_extensions import Unpack


class DatasetParameters(TransferParameters, total=False):
    """Parameters of :class:`DatasetTransfer`, for type checkers and editors."""

    dataset_format: str
    dataset_options: dict[str, Any] | None
    keep_versions: int
    purge_versions: bool
    replace_project: bool


class DatasetTransfer(AnnotationsTransfer):
    """Base of the transfers to datasets: lands versions, in the store that a subclass gives.

    :param dataset_format: one of

        - tables: ``parquet``, ``delta`` (Delta tables, for datasets too large to be copied into each new version),
          ``jsonl`` or ``csv``
        - a format to train a model with: ``coco``, ``coco_panoptic``, ``yolo``, ``pascal_voc``, ``semantic_masks``,
          ``mot``, ``image_folder``, ``webdataset`` or ``lance`` of images, ``conll`` or ``spacy_jsonl`` of texts,
          ``preferences`` of answers, ``audio_folder`` of sounds. Each is described in its module in
          ``airflow_annotation.formats``

        By default, formats to train with take the ``latest`` submission of each item and ``all`` frames of videos.
        Formats other than ``parquet`` and ``delta`` also keep their source rows in ``tables`` of each version, in
        Parquet, so that the next landing reads only what has changed
    :param dataset_options: options of the format, such as ``classes`` and ``splits``: see
        :class:`~airflow_annotation.formats.dataset_options.DatasetOptions` and the options in the format's own module.
        (templated)
    :param keep_versions: number of versions to keep, including the new one
    :param purge_versions: delete all older versions that have items which are gone from the tool, or that name people
        in another way than ``annotators`` says. Without it, ``keep_versions`` decides when such versions are deleted
    :param replace_project: replace a dataset of another project or in another format in the target, which is an error
        otherwise
    """

    template_fields: Sequence[str] = (*AnnotationsTransfer.template_fields, "dataset_options")

    def __init__(
        self,
        *,
        dataset_format: str = PARQUET,
        dataset_options: dict[str, Any] | None = None,
        keep_versions: int = 2,
        purge_versions: bool = False,
        replace_project: bool = False,
        **kwargs: Unpack[TransferParameters],
    ) -> None:
        if dataset_format not in TABLE_FORMATS:
            asked = dataset_options if isinstance(dataset_options, Mapping) else {}  # else what a template becomes
            kwargs.setdefault("annotations", "latest" if asked.get("annotations", "latest") == "latest" else "all")
            if asked.get("include_predictions"):
                kwargs.setdefault("include_predictions", True)
            # A frame without the objects between their key frames would teach a model that they are not there.
            kwargs.setdefault("frames", "all")
        super().__init__(**kwargs)
        check_versions(dataset_format, dataset_options, keep_versions, self.include_media)
        if dataset_format not in TABLE_FORMATS and self.coordinates != "relative":
            raise ValueError(f"coordinates are for tables: {dataset_format} has its own.")
        if dataset_format not in TABLE_FORMATS and self.agreement:
            raise ValueError(
                f"agreement is a table, and {dataset_format} has none: land tables in a folder of their own."
            )
        self.dataset_format = dataset_format
        self.keeps_spool = dataset_format == PARQUET
        self.dataset_options = dataset_options
        self.keep_versions = keep_versions
        self.purge_versions = purge_versions
        self.replace_project = replace_project

    @property
    def needs_all_frames(self) -> bool:
        """Whether the dataset also has the frames of videos without labels."""
        return has_all_frames(self.dataset_format)

    @abstractmethod
    def store(self) -> DatasetStore:
        """Return the dataset's folder."""

    def find_landed(self, project: AnnotationProject) -> Landed | None:
        """Return the current version, if a refresh can follow it. Checks first that the landing may write there."""
        store = self.store()
        current = find_current(store)
        if not self.replace_project:
            check_same_run(store.uri, current, project.uri, project.run_key, self.dataset_format)
            if current is not None:
                self.check_part(current.settings)
        if current is None or (current.project, current.dataset_format) != (project.uri, self.dataset_format):
            return None
        rows = current if self.dataset_format in (PARQUET, DELTA) else companion_of(current)
        if rows is None:
            return None  # it was made of labels that had landed elsewhere

        def read_states() -> Iterator[pa.RecordBatch]:
            try:
                for batch in read_rows(store, rows, "items", ITEM_STATES.names):
                    yield batch.select(ITEM_STATES.names).cast(ITEM_STATES)
            except FileNotFoundError as error:
                if find_current(store) == current:
                    raise
                raise LandingMovedError(
                    f"The version {current.version} in {store.uri} was replaced while this landing ran."
                ) from error

        facts = msgspec.structs.asdict(current)
        facts["settings"] = {name: value for name, value in current.settings.items() if name != "dataset_options"}
        return landed_of(facts, read_states)

    def land(self, landing: LandingPlan, spool: Spool) -> LandingResult:
        """Write a version of the dataset and make it the current one; if nothing has changed, the version stays."""
        store = self.store()
        new = self._new_version(store, landing, spool)

        def read(table: str) -> Iterator[pa.RecordBatch]:
            return self.checked(spool.read(table))

        is_same = new.follows is not None and not len(landing.replaced) and not any(spool.rows.values())
        if self.dataset_format not in (PARQUET, DELTA):
            return self._land_other(store, new, landing, spool, is_same=is_same)
        if new.follows is not None and is_same:
            manifest = keep_version(store, new.follows, new)
        elif self.dataset_format == DELTA:
            manifest = land_delta(store, new, landing.replaced, read)
        elif landing.full:
            manifest = write_version(store, new, spool.copy_into)
        else:
            manifest = refresh_dataset(store, new, landing.replaced, read)
        return describe_version(store, manifest)

    def _land_other(
        self, store: DatasetStore, new: NewVersion, landing: LandingPlan, spool: Spool, *, is_same: bool
    ) -> LandingResult:
        options = self.dataset_options
        if self.dataset_format not in TABLE_FORMATS:
            chosen = {name: self.settings[name] for name in ("annotations", "include_predictions")}
            if chosen["annotations"] == "consensus":
                chosen["annotations"] = "latest"  # the only one
            asked = (options or {}).get("annotations", chosen["annotations"])
            if asked != chosen["annotations"] != "all":
                raise AnnotationError(
                    f"dataset_options asks for annotations={asked!r}, and the task reads annotations="
                    f"{self.settings['annotations']!r}: give the task annotations={asked!r} instead."
                )
            options = self.dataset_options_with_media({**chosen, **(options or {})})
        check_format(self.dataset_format, options)
        before = new.follows
        batches: Iterable[LabelTables] = spool.batches()
        if before is not None:
            asked = asked_options(self.dataset_format, options)
            if is_same and before.settings.get("dataset_options") == asked.get("dataset_options"):
                return describe_version(store, keep_version(store, before, new))
            batches = refreshed_batches(store, before, landing.changed, landing.vanished, batches)
        beside = {name: self.checked(spool.read(name)) for name in spool.rows if name not in SCHEMAS}
        return land_dataset(
            store,
            new,
            self.checked(batches),
            options=options,
            landed_media=self.dataset_media,
            beside=beside,
            replaced=None if beside else landing.replaced,  # which are of the items that were read alone
        )

    def _new_version(self, store: DatasetStore, landing: LandingPlan, spool: Spool) -> NewVersion:
        current = None if landing.full else find_current(store)
        if not landing.full and (current is None or current.version != landing.landed_version):
            raise LandingMovedError(f"{store.uri} has another version than {landing.landed_version} by now.")
        report = self.report(landing, spool)
        return NewVersion(
            project=landing.project.uri,
            run_key=landing.project.run_key,
            label_schema=landing.label_schema,
            settings=landing.kept_settings,
            dataset_format=self.dataset_format,
            tables=tuple(spool.rows),
            follows=current,
            watermark=landing.watermark,
            changes={"changed_items": report["changed_items"], "removed_items": report["removed_items"]},
            keep_versions=self.keep_versions,
            is_kept=partial(has_nothing_that_is_gone, store) if self.purge_versions else None,
            check_settings=self.check_part,
            replace_project=self.replace_project,
        )


def check_versions(dataset_format: str, dataset_options: Any, keep_versions: int, include_media: str | None) -> None:
    """Check the arguments of a dataset when the DAG is parsed, except what is known only when the task runs.

    :raises ValueError: it cannot keep so many versions, or has no place for such media
    :raises AnnotationError: it cannot be done; the message names what cannot
    """
    if keep_versions < 1:
        raise ValueError(f"keep_versions must be at least 1, the new version itself, not {keep_versions}.")
    if include_media == "frames" and dataset_format in EXAMPLE_FORMATS:
        raise ValueError(f"{dataset_format} has no frames of videos: include_media='files' lands texts and sounds.")
    check_format(dataset_format, None if is_templated(dataset_options) else dataset_options)


def check_uri(target: Any) -> None:
    """Check a dataset's folder when the DAG is parsed, if it is known then.

    :raises AnnotationError: it is not a valid folder
    """
    if isinstance(target, str) and not is_templated(target):
        check_target(target)
