"""Common parts of all transfers of annotations: reading a project, and shaping its columns."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final, Literal

import pyarrow as pa
from airflow.sdk import ObjectStoragePath
from msgspec.structs import asdict, replace

from airflow_annotation import metrics
from airflow_annotation.arguments import is_templated
from airflow_annotation.datasets.landed import LandedProject, to_relative
from airflow_annotation.datasets.parquet import write_tables
from airflow_annotation.datasets.results import LandingResult
from airflow_annotation.datasets.working_folders import working_folder
from airflow_annotation.exceptions import AnnotationError, LandingMovedError
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.labels.agreement import AgreementMeter
from airflow_annotation.labels.agreement.meter import rating_spans
from airflow_annotation.labels.consensus import ConsensusOptions, merge_batches
from airflow_annotation.labels.geometry import labels_to_pixels
from airflow_annotation.labels.reading import AnnotationChoice, AnnotatorNames, ReadOptions
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.schema_changes import describe_changes
from airflow_annotation.labels.tables import AGREEMENT_TABLE, ALL_SCHEMAS, SCHEMAS, LabelTables
from airflow_annotation.labels.video import Frames
from airflow_annotation.landing.landings_row import read_json
from airflow_annotation.landing.lineage import LandingTask
from airflow_annotation.landing.listing import Listing, full_listing_reason
from airflow_annotation.landing.media import MediaParameters, MediaTask
from airflow_annotation.landing.parts import (
    ITEMS,
    PartParameters,
    PartTask,
    check_same_part,
    is_part,
    keep_statuses,
    with_queried_keys,
)
from airflow_annotation.landing.plan import LandingPlan
from airflow_annotation.landing.refresh import Landed, full_reason
from airflow_annotation.landing.shaping import (
    Transform,
    apply_transform,
    check_field_mapping,
    rename_fields,
    transform_name,
)
from airflow_annotation.landing.spool import Spool
from airflow_annotation.landing.states import compare_changes, compare_states, item_ids_of
from airflow_annotation.project_task import AnnotationProjectTask, ProjectTaskParameters
from airflow_annotation.storage_errors import storage_errors

if TYPE_CHECKING:
    from airflow.sdk import Context

Coordinates = Literal["relative", "pixels"]
OnSchemaChange = Literal["evolve", "fail"]

PROGRESS_INTERVAL: Final = 30.0
"""Seconds between two lines of progress in the log."""

PLANS: Final = 5
"""How often a refresh is planned at most, if other landings of the project are committed during it."""

_FLAGS: Final = {"true": True, "false": False, "1": True, "0": False, "": False, "none": False}


class SharedParameters(ProjectTaskParameters, PartParameters, total=False):
    """Parameters of :class:`AnnotationsTransfer` that all transfers take as they are."""

    consensus: dict[str, Any] | None
    field_mapping: dict[str, str] | None
    transform: Transform | str | None
    include_predictions: bool
    annotators: AnnotatorNames
    full_refresh: bool | str
    full_refresh_every: timedelta | None
    full_listing_every: timedelta | None
    on_schema_change: OnSchemaChange


class TransferParameters(SharedParameters, MediaParameters, total=False):
    """Parameters of :class:`AnnotationsTransfer`, for type checkers and editors."""

    annotations: AnnotationChoice
    agreement: bool
    coordinates: Coordinates
    frames: Frames
    keep_raw: bool


class AnnotationsTransfer(AnnotationProjectTask, MediaTask, PartTask, LandingTask):
    """Base of the transfers: reads what has changed in a project since it landed, and lands it in :meth:`land`.

    The unit is the item: the rows of a changed item are replaced, and those of an item that is gone from the tool are
    removed. All items are read if nothing has landed yet, if what the task asks for or the label schema has changed, or
    if a destination cannot say what it has (:meth:`find_landed`).

    A landing has three steps, which are separate methods: :meth:`plan`, :meth:`read`, :meth:`land`. Parameters for
    media are those of :class:`~airflow_annotation.landing.media.MediaTask`, and ``items`` is that of
    :class:`~airflow_annotation.landing.parts.PartTask`. For the asset events of a landing, see
    :class:`~airflow_annotation.landing.lineage.LandingTask`.

    :param annotations: which submissions land: ``all``, the ``latest`` of each item, those marked ``ground_truth``, or
        one ``consensus`` of all for each item; every item lands in any case
    :param consensus: options of a consensus, such as ``min_annotators`` and ``min_agreement``: see
        :class:`~airflow_annotation.labels.consensus.ConsensusOptions`
    :param agreement: also land a table ``agreement``, which says how far the submissions of each item agree in each
        field, with the columns of :data:`~airflow_annotation.labels.tables.AGREEMENT`; needs ``annotations="all"``
    :param coordinates: unit of ``bbox`` and ``points``: ``relative`` (0..1 of the media's width and height) or
        ``pixels``, which needs the size of every item that has such labels
    :param field_mapping: new names of fields, by the name in the label schema or by the type of label, such as
        ``type:segmentation``; several fields may get the same name. (templated)
    :param transform: a function, or the dotted path of one. It takes each batch before it lands, as
        :class:`~airflow_annotation.labels.tables.LabelTables`, and returns what lands instead: other classes, fewer
        labels, more in ``items.data``. It must not add or remove columns or items, or change what tells whether an item
        has changed (:data:`~airflow_annotation.labels.tables.ITEM_STATES`). Another function lands all items again;
        after you edit the function, use ``full_refresh``
    :param include_predictions: also land the models' predictions
    :param annotators: name people by their ``email``, or by the tool's opaque ``id``
    :param frames: in which frames objects of videos land: the ``keyframes`` that people set, or ``all`` frames in which
        they are shown; frames between key frames are interpolated as in the tool
    :param keep_raw: keep the tool's own record of every label in ``labels.raw``
    :param full_refresh: read all items, changed or not, and replace all rows. (templated)
    :param full_refresh_every: time after which the task reads all items again, 30 days by default, for changes that
        tools show nowhere, such as another e-mail of a person; None never does
    :param full_listing_every: time after which the task lists the states of all items again, 1 day by default. This
        finds changes that the tool neither lists nor shows in its numbers of items and submissions. With None, the task
        lists all only if these numbers differ from those that have landed
    :param on_schema_change: what to do if the project's label schema is not the one that landed: ``evolve`` reads all
        items and logs what has changed, ``fail`` raises an error that says it
    """

    template_fields: Sequence[str] = (
        *AnnotationProjectTask.template_fields,
        *MediaTask.template_fields,
        *PartTask.template_fields,
        "field_mapping",
        "full_refresh",
    )

    has_tables = True
    """Whether this transfer lands tables, so that other tables can land beside them."""

    keeps_spool = False
    """Whether :meth:`land` takes over the files of the spool in a landing of all items."""

    def __init__(
        self,
        *,
        annotations: AnnotationChoice = "all",
        consensus: dict[str, Any] | None = None,
        agreement: bool = False,
        coordinates: Coordinates = "relative",
        field_mapping: dict[str, str] | None = None,
        transform: Transform | str | None = None,
        include_predictions: bool = False,
        annotators: AnnotatorNames = "email",
        frames: Frames = "keyframes",
        keep_raw: bool = False,
        full_refresh: bool | str = False,
        full_refresh_every: timedelta | None = timedelta(days=30),
        full_listing_every: timedelta | None = timedelta(days=1),
        on_schema_change: OnSchemaChange = "evolve",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not is_templated(full_refresh):
            _read_flag(full_refresh)
        self.read_options = ReadOptions(
            annotations=annotations,
            include_predictions=include_predictions,
            annotators=annotators,
            frames=frames,
            keep_raw=keep_raw,
        )
        if annotators == "id":
            self.is_email_free = True
            self.check_items()
        if consensus is not None and annotations != "consensus":
            raise ValueError("consensus is for annotations='consensus'.")
        if agreement and not self.has_tables:
            raise ValueError(f"agreement is a table, and {type(self).__name__} lands none: land tables beside it.")
        if agreement and annotations != "all":
            raise ValueError("agreement compares all submissions: land them with annotations='all'.")
        self.agreement = agreement
        self.consensus = consensus
        self._consensus = ConsensusOptions.of(consensus) if annotations == "consensus" else None
        self._left_out: Counter[str] = Counter()
        self.coordinates = coordinates
        self.field_mapping = field_mapping
        self.transform = transform
        self.full_refresh = full_refresh
        self.full_refresh_every = full_refresh_every
        self.full_listing_every = full_listing_every
        self.on_schema_change = on_schema_change

    def find_landed(self, project: AnnotationProject) -> Landed | None:  # noqa: ARG002 - what others override
        """Return what has landed of the project; None if nothing has, or if the destination cannot land a refresh.

        First makes what landings need, such as tables and views. Two tasks may do it at once.
        """
        return None

    @property
    def destination(self) -> str:
        """Destination of the labels, as errors name it."""
        return "its destination"

    def landing_error(self, project: AnnotationProject, where: str, reason: object) -> AnnotationError:
        """Return the error of a landing that a destination did not take.

        :param where: the destination, with its preposition
        :param reason: what the destination says
        """
        return AnnotationError(f"Could not land {project.uri} {where}, its last landing is unchanged: {reason}")

    @abstractmethod
    def land(self, landing: LandingPlan, spool: Spool) -> LandingResult:
        """Write all rows that were read, or none, and return where they are: ``rows`` by table, and other facts.

        One commit deletes the rows of the items in ``landing.replaced`` (in a full landing: all rows of the project)
        and adds those in the spool. From then on, :meth:`find_landed` returns this landing, with a new version. A
        landing without changes is committed too. The commit asks :meth:`check_may_follow` whether the landing may
        replace what is there by then. Unless ``landing.reads_all``, it may instead replace only
        ``landing.landed_version``, which was checked when the landing was planned.

        :param landing: the planned landing
        :param spool: the rows that were read
        :raises LandingMovedError: it is a refresh, and ``landing.landed_version`` is no longer the last landing
        """

    def execute(self, context: Context) -> LandingResult:
        """Land the project and return a small dict: its URI, where it landed, rows by table, what has changed."""
        started = time.monotonic()
        project = self.find_project(context)
        for attempt in range(1, PLANS + 1):
            try:
                with storage_errors(f"The landing of {project.uri} in {self.destination} ({self.in_errors})"):
                    landing = self.plan(project)
                    landed = self._read_and_land(landing)
                break
            except LandingMovedError as error:
                if attempt == PLANS:
                    raise
                self.log.warning("%s Planning again.", error)
        seconds = round(time.monotonic() - started, 3)
        metrics.timing("landing_duration", seconds, **self.metric_tags(project), operator=type(self).__name__)
        self.log.info("Landed %s in %.1f s: %s", project.uri, seconds, landed["rows"])
        return self.announce(context, {**landed, "seconds": seconds})

    def plan(self, project: AnnotationProject) -> LandingPlan:
        """Find out which items to read.

        :raises AnnotationError: the label schema has changed and ``on_schema_change`` says to fail, or
            ``field_mapping`` does not fit it
        """
        if self.include_media is not None:
            self.media_folder()
        watermark = self.hook.get_last_change(project.id)  # before all that is read
        label_schema = self.hook.get_label_schema(project.id)
        check_field_mapping(self.field_mapping, label_schema)
        landed = self.find_landed(project)
        if landed is not None:
            self.check_part(landed.settings)
        self._note_schema_change(landed, label_schema)
        now = datetime.now(timezone.utc)
        reason = full_reason(
            landed,
            run_key=project.run_key,
            label_schema_digest=label_schema.digest(),
            settings=self.settings,
            now=now,
            full_refresh_every=self.full_refresh_every,
        )
        if _read_flag(self.full_refresh):
            reason = "full_refresh is set"
        planned = LandingPlan(
            project=project,
            label_schema=label_schema,
            settings=self.settings,
            reason=reason,
            landed_version=landed.version if landed else None,
            watermark=watermark,
            listing=self._mark_listing(project, now),
        )
        if planned.reads_all:
            self.log.info("Reading all items of %s: %s", project.uri, reason)
            return planned
        if landed is None or reason is not None:
            fitting = item_ids_of(self.list_states(project))
            self.log.info("Reading %d items of %s: %s", len(fitting), project.uri, reason)
            return replace(planned, changed=fitting)
        if (refresh := self._plan_changes(planned, landed)) is not None:
            return refresh
        changed, vanished, unchanged = compare_states(self.list_states(project), landed.read_states())
        self.log.info(
            "Of %s, %d items are new or have changed, %d are gone, %d are as they landed",
            project.uri,
            len(changed),
            len(vanished),
            unchanged,
        )
        return replace(planned, changed=changed, vanished=vanished, unchanged=unchanged)

    def list_states(self, project: AnnotationProject) -> Iterator[pa.RecordBatch]:
        """Yield the states of the items that will land, as the tool has them."""
        items = None if (part := self.find_part()) is None else with_queried_keys(part)
        include = self.read_options.include_predictions
        return self.checked(self.hook.list_item_states(project.id, include_predictions=include, items=items))

    def check_part(self, landed: Mapping[str, Any]) -> None:
        """Check that a landing does not remove the items of another part.

        :param landed: the settings of the last landing
        :raises AnnotationError: it would
        """
        if not _read_flag(self.full_refresh):
            check_same_part(landed, self.settings, destination=self.destination)

    def check_may_follow(self, landing: LandingPlan, there: Mapping[str, Any] | None) -> None:
        """Check that a landing may replace what has landed by the time of its commit.

        :param landing: the planned landing
        :param there: the last landing of the project, as its row in ``landings``; None if there is none
        :raises LandingMovedError: the landing is a refresh of another one
        :raises AnnotationError: it would remove the items of another part
        """
        if not landing.full and (there is None or there["version"] != landing.landed_version):
            raise LandingMovedError(
                f"Another landing of {landing.project.uri} was committed since this one was planned."
            )
        if there is not None:
            self.check_part(read_json(there["settings"]))

    def read(self, landing: LandingPlan, folder: ObjectStoragePath, item_ids: pa.Array | None = None) -> Spool:
        """Read the items that a plan names into a folder.

        :param landing: the landing with the plan
        :param folder: folder that only this call uses
        :param item_ids: read only these, a part of the plan's items
        """
        ids = landing.changed if item_ids is None else item_ids
        self._left_out.clear()
        if landing.reads_all and item_ids is None:
            batches: Iterable[LabelTables] = self._read_batches(landing)
        elif len(ids):
            batches = self._read_batches(landing, ids.to_pylist())
        else:
            batches = ()
        batches = self.with_media(batches, self.hook, landing.project.id)
        beside = {AGREEMENT_TABLE: self._measure(landing)} if self.agreement else {}
        files = write_tables(folder, batches, hashed=self.keeps_spool and landing.full, beside=beside)
        return Spool([(folder, files)])

    def report(self, landing: LandingPlan, spool: Spool) -> LandingResult:
        """Return what a landing has changed, as the task returns it."""
        items = spool.rows["items"]
        return {
            "project": landing.project.uri,
            "full": landing.full,
            "changed_items": items,
            "removed_items": 0 if landing.full else len(landing.replaced) - items,
            "unchanged_items": landing.unchanged,
            "watermark": landing.watermark.isoformat() if landing.watermark else None,
            "label_schema_digest": landing.label_schema.digest(),
            **({"part": landing.settings[ITEMS]} if is_part(landing.settings) else {}),
            **self.landed_media,
            **self.left_out,
        }

    @property
    def tables(self) -> dict[str, pa.Schema]:
        """The columns of the tables that land, by name: the three, and ``agreement`` if it is asked for."""
        return ALL_SCHEMAS if self.agreement else SCHEMAS

    @property
    def left_out(self) -> LandingResult:
        """What was read but does not land, as the task returns it."""
        return {"left_out": dict(self._left_out)} if self._left_out else {}

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that decide which rows and media a landing has and how rows look; kept with the landed data."""
        media = {"include_media": self.include_media, "media_target": self.media_folder()} if self.include_media else {}
        media |= {"exif_orientation": self.exif_orientation} if self.exif_orientation != "keep" else {}
        transform = {"transform": transform_name(self.transform)} if self.transform else {}
        part = self.find_part()
        return {
            **({} if part is None else {ITEMS: part.describe()}),
            **asdict(self.read_options),
            **({} if self._consensus is None else {"consensus": asdict(self._consensus)}),
            "coordinates": self.coordinates,
            "field_mapping": self.field_mapping or {},
            **({"agreement": True} if self.agreement else {}),
            **transform,
            **media,
        }

    def _mark_listing(self, project: AnnotationProject, now: datetime) -> Listing | None:
        """Return a mark of now, for a listing of all items. A part has none: the tool's numbers are of all items."""
        mark = None if self.is_of_part else self.hook.mark_changes(project.id)
        return None if mark is None else Listing(now, mark)

    def _plan_changes(self, planned: LandingPlan, landed: Landed) -> LandingPlan | None:
        """Return a refresh of what the tool lists as changed, or None if all items have to be listed."""
        if planned.listing is None:
            return None
        project, last = planned.project, landed.listing
        changes = found = None
        reason = full_listing_reason(last, now=planned.listing.full_at, full_listing_every=self.full_listing_every)
        if reason is None and last is not None:
            changes = self.hook.list_changes(
                project.id,
                last.mark,
                planned.listing.mark,
                include_predictions=self.read_options.include_predictions,
            )
            reason = "there are changes that the tool does not list"
        if changes is not None:
            found = compare_changes(changes.states, changes.counts, landed.read_states())
        if found is None or last is None:
            self.log.info("Listing all items of %s: %s", project.uri, reason)
            return None
        changed, unchanged = found
        self.log.info(
            "The tool says that %d items of %s are new or have changed; %d are as they landed",
            len(changed),
            project.uri,
            unchanged,
        )
        listing = Listing(last.full_at, planned.listing.mark)
        return replace(planned, changed=changed, unchanged=unchanged, listing=listing)

    def _read_and_land(self, landing: LandingPlan) -> LandingResult:
        with working_folder() as folder:
            spool = self.read(landing, ObjectStoragePath(f"file://{folder}"))
            report, landed = self.report(landing, spool), self.land(landing, spool)
            if "left_out" in report and "left_out" in landed:
                landed["left_out"] = {**report["left_out"], **landed["left_out"]}
            return {**report, **landed}

    def _measure(self, landing: LandingPlan) -> Callable[[LabelTables], pa.RecordBatch]:
        """Return a function that measures how far the submissions of a batch agree; its rows are ready to land."""
        project, schema = landing.project, landing.label_schema
        meter = AgreementMeter(spans=rating_spans(schema, self.field_mapping))
        landed = LandedProject(project.uri, project.run_key, schema, landing.settings)
        return lambda batch: meter.add(to_relative(landed, batch))

    def _note_schema_change(self, landed: Landed | None, label_schema: LabelSchema) -> None:
        if landed is None or landed.label_schema_digest == label_schema.digest():
            return
        changes = "; ".join(describe_changes(landed.label_schema, label_schema.to_dict()))
        if self.on_schema_change == "fail":
            raise AnnotationError(
                f"The project's label schema is not the one that landed: {changes}. Pass on_schema_change='evolve' to "
                "read all items again and land them with the new one."
            )
        self.log.warning("The project's label schema is not the one that landed: %s", changes)

    def _read_batches(self, landing: LandingPlan, item_ids: Sequence[str] | None = None) -> Iterator[LabelTables]:
        project, mapping = landing.project, self.field_mapping or {}
        batches = self.hook.read_tables(project, self.read_options, item_ids)
        if (part := self.find_part()) is not None:
            batches = keep_statuses(batches, part.fitting_statuses)
        if self._consensus is not None:
            batches = merge_batches(batches, self._consensus, landing.label_schema, self._left_out)
        started = logged = time.monotonic()
        done = 0
        for batch in batches:
            self.check_not_stopped()
            labels = batch.labels
            if mapping:
                labels = rename_fields(labels, mapping)
            if self.coordinates == "pixels":
                labels = labels_to_pixels(labels, batch.items)
            shaped = batch._replace(labels=labels)
            yield apply_transform(self.transform, shaped) if self.transform else shaped
            done += batch.items.num_rows
            if (now := time.monotonic()) - logged >= PROGRESS_INTERVAL:
                total = self.hook.get_progress(project.id).total if item_ids is None else len(item_ids)
                self.log.info("Read %d of %d items, %.0f a second", done, total, done / (now - started))
                logged = now
        for what, count in sorted(self._left_out.items()):
            self.log.warning("Left out %d %s", count, what)


def _read_flag(value: bool | str) -> bool:
    flag = _FLAGS.get(str(value).strip().lower())
    if flag is None:
        raise ValueError(f"full_refresh must be true or false, not {value!r}.")
    return flag
