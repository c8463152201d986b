"""Annotations into the samples of a FiftyOne dataset."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote, urlsplit

from airflow_annotation.datasets.fiftyone.fields import add_fields, target_fields
from airflow_annotation.datasets.fiftyone.ledger import Known, Ledger, Record, encode_states
from airflow_annotation.datasets.fiftyone.opening import fiftyone_errors, import_fiftyone, open_dataset, open_view
from airflow_annotation.datasets.fiftyone.runs import AnnotationRun, read_run
from airflow_annotation.datasets.fiftyone.samples import ItemLabels, SampleMerger, item_labels
from airflow_annotation.datasets.results import LandingResult
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.labels.fiftyone.merge import Deletions
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.landing.landings_row import landed_of, landings_row
from airflow_annotation.landing.lineage import LandedAsset
from airflow_annotation.landing.parts import is_part
from airflow_annotation.landing.plan import LandingPlan
from airflow_annotation.landing.refresh import Landed
from airflow_annotation.landing.spool import Spool
from airflow_annotation.transfers.base import AnnotationsTransfer, TransferParameters

if TYPE_CHECKING:
    from airflow.sdk import Context
    from typing_extensions import Unpack

MatchBy = Literal["id", "filepath"]
Unlabeled = Literal["keep", "delete"]

_OBJECT_ID: Final = re.compile(r"[0-9a-f]{24}")
_NO_SAMPLE: Final = "items without a sample"
_PER_ITEM: Final = ("latest", "ground_truth", "consensus")


class AnnotationsToFiftyOneOperator(AnnotationsTransfer):
    """Merge the labels of a project into the samples of a FiftyOne dataset.

    The unit is the label. A label that people added is added to its field, one that they edited gets its new class and
    place, and one that they deleted is deleted. Everything else stays as it is: labels that never went to the tool,
    confidence and other attributes of labels that did, and the fields of samples that nobody has labeled. Labels are
    found by their ids, or if the tool does not keep ids, by their content. A field of the project that the dataset does
    not have is added.

    One submission of each item is merged: the latest, the ground truth, or a consensus. A second run changes nothing. A
    retried task continues where the last try ended, because the same label has the same id each time. The task reads
    again only items that have changed in the tool. The record of what has landed is kept in FiftyOne's database, beside
    the dataset.

    FiftyOne's database is the one that ``FIFTYONE_DATABASE_URI`` names on the worker. Needs the extra ``fiftyone``.

    Returns the same as :meth:`~airflow_annotation.transfers.base.AnnotationsTransfer.report`, and the ``dataset``, its
    ``fields``, the ``rows`` (number of ``samples`` whose items were read, and of their labels that were ``added``,
    ``edited``, ``deleted`` and left ``unchanged``), and ``seconds``.

    :param dataset: the name of FiftyOne's dataset. (templated)
    :param match_by: how items are matched to samples: by ``id``, if the item's key is the sample's id, as
        :func:`~airflow_annotation.datasets.fiftyone.fiftyone_media` makes it; or by ``filepath``, if it is the file
    :param annotation_run: the key of an annotation run of the dataset, ``anno_key``, if FiftyOne's own
        ``annotate(backend="labelstudio")`` made the project. The run says which item is which sample, and names the
        project if neither ``project`` nor ``run_key`` is given. (templated)
    :param unlabeled: what to do with the labels of an item without submissions, or of a skipped item: ``keep`` them, or
        ``delete`` those that the tool has had
    :param deletions: which labels are deleted if they are not in a submission: those that the tool has had (``known``),
        which are predictions of the project and labels that this task has merged before; ``all`` of the field, for a
        tool that does not return predictions; or ``none``
    """

    template_fields: Sequence[str] = (*AnnotationsTransfer.template_fields, "dataset", "annotation_run")

    has_tables = False

    def __init__(
        self,
        *,
        dataset: str,
        match_by: MatchBy = "id",
        annotation_run: str | None = None,
        unlabeled: Unlabeled = "keep",
        deletions: Deletions = "known",
        **kwargs: Unpack[TransferParameters],
    ) -> None:
        kwargs.setdefault("annotations", "latest")
        kwargs.setdefault("include_predictions", True)
        super().__init__(**kwargs)
        if self.read_options.annotations not in _PER_ITEM:
            raise ValueError(
                f"FiftyOne's samples take one submission for each item: annotations is one of "
                f"{', '.join(map(repr, _PER_ITEM))}."
            )
        if self.coordinates != "relative":
            raise ValueError("FiftyOne's coordinates are relative: leave coordinates out.")
        if self.include_media is not None:
            raise ValueError("FiftyOne's samples have their media: leave include_media out.")
        if deletions == "known" and not self.read_options.include_predictions:
            raise ValueError("Predictions tell which labels the tool has had: include_predictions=True, or deletions.")
        if annotation_run is not None and match_by != "id":
            raise ValueError("annotation_run says which sample an item is: leave match_by out.")
        self.dataset = dataset
        self.match_by = match_by
        self.annotation_run = annotation_run
        self.unlabeled = unlabeled
        self.deletions = deletions

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that decide what is merged."""
        own = {name: getattr(self, name) for name in ("match_by", "annotation_run", "unlabeled", "deletions")}
        return {**super().settings, **own}

    @property
    def destination(self) -> str:
        """The dataset."""
        return f"FiftyOne's dataset {self.dataset!r}"

    def find_project(self, context: Context) -> AnnotationProject:
        """Return the task's project: that of the annotation run if nothing else names one.

        :raises AnnotationError: there is no such run, or it belongs to another project
        """
        run = self._find_run()
        if run is None:
            return super().find_project(context)
        if self._names_project or self.run_key:
            project = super().find_project(context)
        else:
            project = self.hook.resolve_project(run.project_id)
            self.remember_project(context, project)
        if project.id != run.project_id:
            raise AnnotationError(
                f"The annotation run {run.key!r} of {self.destination} is one of project {run.project_id}, and the "
                f"task is one of project {project.id}: leave project and run_key out."
            )
        return project

    def find_landed(self, project: AnnotationProject) -> Landed | None:
        """Return what has landed of the project in the dataset."""
        dataset = open_dataset(self.dataset)
        with fiftyone_errors(self.dataset):
            ledger = Ledger(dataset, project.uri)
            landing = ledger.find_landing()
        return None if landing is None else landed_of(landing, ledger.read_states)

    def land(self, landing: LandingPlan, spool: Spool) -> LandingResult:
        """Merge the rows that were read, batch after batch, and commit the landing when all samples are saved."""
        dataset = open_dataset(self.dataset)
        with fiftyone_errors(self.dataset):
            ledger = Ledger(dataset, landing.project.uri)
            self.check_may_follow(landing, ledger.find_landing())
            with ledger.read_known(None if landing.full else landing.changed) as known:
                return self._merge(dataset, landing, spool, ledger, known)

    def landed_assets(self, landing: LandingResult) -> list[LandedAsset]:
        """Return the asset of the dataset: ``fiftyone://<host of the database>/<dataset>``."""
        database = urlsplit(import_fiftyone().config.database_uri or "")
        return [LandedAsset(f"fiftyone://{database.hostname or 'localhost'}/{quote(landing['dataset'], safe='')}", {})]

    def _find_run(self) -> AnnotationRun | None:
        if self.annotation_run is None:
            return None
        dataset = open_dataset(self.dataset)
        with fiftyone_errors(self.dataset):
            return read_run(dataset, self.annotation_run)

    def _merge(self, dataset: Any, landing: LandingPlan, spool: Spool, ledger: Ledger, known: Known) -> LandingResult:
        of_groups = dataset.media_type == "group"
        media_types = self.hook.get_media_types(landing.project.id) if of_groups else ()
        targets = target_fields(dataset, landing.label_schema, self.field_mapping or {}, media_types)
        add_fields(dataset, targets)
        run = self._find_run()
        merger = SampleMerger(landing.project.uri, targets, self.deletions, by_field=run is not None)
        version = uuid.uuid4().hex
        parts: list[str] = []
        keeps_others = landing.full and is_part(landing.settings)
        counts: Counter[str] = Counter()
        for batch in self.checked(spool.batches()):
            items = [*item_labels(batch)]
            samples = self._find_samples(dataset, items, [target.name for target in targets], run)
            records, changed = self._merge_batch(batch, items, samples, known, merger)
            if keeps_others:
                known.remove(record.item_id for record in records)
            # Before the samples: labels of a landing that dies here are known to the next one.
            parts += ledger.write_parts(version, len(parts), records)
            with open_view(dataset, None).save_context() as context:
                for sample in changed:
                    context.save(sample)
            counts["samples"] += len(samples)
            counts[_NO_SAMPLE] += len(items) - len(samples)
        if landing.full and counts[_NO_SAMPLE] and not counts["samples"]:
            what = "its key is a sample's id" if self.match_by == "id" else "its media is a sample's file"
            how = f"match_by={self.match_by!r}, {what}"
            if run is not None:
                how = f"annotation_run={run.key!r}, the run says which sample it is"
            raise AnnotationError(
                f"None of {counts[_NO_SAMPLE]} items has a sample in FiftyOne's dataset {self.dataset!r}: with {how}."
            )
        if len(landing.vanished) and not landing.full:
            gone = (Record(item_id.as_py(), {}) for item_id in landing.vanished)
            parts += ledger.write_parts(version, len(parts), gone)
        if keeps_others:
            # Items that do not fit now may fit again: what people delete in them until then is to go.
            parts += ledger.write_parts(version, len(parts), known.records())
        last = ledger.find_landing()
        self.check_may_follow(landing, last)
        ledger.commit(landings_row(landing, version, last), parts, full=landing.full)
        left_out = merger.left_out + Counter({_NO_SAMPLE: counts[_NO_SAMPLE]})  # none of what is 0
        for what, count in sorted(left_out.items()):
            self.log.warning("Left out %d %s", count, what)
        labels = {name: merger.changes[name] for name in ("added", "edited", "deleted", "unchanged")}
        result: LandingResult = {
            "dataset": self.dataset,
            "fields": [target.name for target in targets],
            "version": version,
            "rows": {"samples": counts["samples"], **labels},
        }
        return {**result, "left_out": dict(left_out)} if left_out else result

    def _merge_batch(
        self,
        batch: LabelTables,
        items: Sequence[ItemLabels],
        samples: dict[str, Any],
        known: Known,
        merger: SampleMerger,
    ) -> tuple[list[Record], list[Any]]:
        records: list[Record] = []
        changed: list[Any] = []
        for item, state in zip(items, encode_states(batch.items), strict=True):
            item_id = item.item["item_id"]
            labels = known.of(item_id)
            sample = samples.get(item_id)
            if sample is not None and (item.is_labeled or self.unlabeled == "delete"):
                for field, ids in merger.merge(sample, item, labels).items():
                    labels.setdefault(field, set()).update(ids)
                changed.append(sample)
            records.append(Record(item_id, {field: ids for field, ids in labels.items() if ids}, state))
        return records, changed

    def _find_samples(
        self, dataset: Any, items: Sequence[ItemLabels], fields: Sequence[str], run: AnnotationRun | None
    ) -> dict[str, Any]:
        """Return the samples of items by the items' ids."""
        view = open_view(dataset, None).select_fields([*fields])
        if self.match_by == "filepath":
            by_name = {item.path: item.item["item_id"] for item in items if item.path}
            found = view.select_by("filepath", [*by_name])
            return {by_name[sample.filepath]: sample for sample in found.iter_samples(progress=False)}
        keys = {item.item["item_id"]: item.item["item_key"] for item in items}
        if run is not None:
            keys = {item_id: run.samples.get(item_id, "") for item_id in keys}
        by_id = {key: item_id for item_id, key in keys.items() if _OBJECT_ID.fullmatch(key)}
        return {by_id[sample.id]: sample for sample in view.select([*by_id]).iter_samples(progress=False)}
