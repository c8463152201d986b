"""Landings of very large projects, read by many workers: one task plans, mapped tasks read, one task lands."""

from __future__ import annotations

import types
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa
from airflow.providers.common.compat.sdk import conf
from airflow.sdk import ObjectStoragePath, TaskGroup, XComArg

from airflow_annotation.arguments import checked_argument, is_templated, parsing
from airflow_annotation.datasets.results import LandingResult
from airflow_annotation.datasets.table_files import TableFile
from airflow_annotation.datasets.versions import check_target
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.landing.plan import LandingPlan
from airflow_annotation.landing.spool import Spool
from airflow_annotation.landing.staging import StagedLanding
from airflow_annotation.storage_errors import storage_errors
from airflow_annotation.transfers.base import AnnotationsTransfer

if TYPE_CHECKING:
    from airflow.sdk import Context

_STAGING_KEY: Final = "staging"
"""The XCom with the URI of the staged landing."""


def land_in_shards(
    operator_class: type[AnnotationsTransfer],
    *,
    group_id: str,
    staging: str,
    staging_conn_id: str | None = None,
    shard_items: int = 10_000,
    shard_arguments: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> TaskGroup:
    """Return a group of tasks that lands what one task of a transfer lands, read by many workers.

    ::

        wait >> land_in_shards(
            AnnotationsToSqlOperator, group_id="labels", staging="gs://my-bucket/staging", sql_conn_id="warehouse"
        )

    The task ``plan`` finds out which items to read. The mapped task ``read`` reads them, a shard each. The task
    ``land`` lands all shards in one commit and returns the same as the single task. A retried shard replaces its
    earlier try. Items that are added to the project after the plan land the next time. If another landing of the
    project is committed first, ``land`` plans again and reads what has changed since, without other workers.

    Ids of items and rows go through the folder ``staging``, and nothing large goes through XCom. ``land`` removes its
    files there. The files of a failed run are removed when that run is planned again, or by another run's plan after a
    week.

    The group cannot be in a mapped task group, because Airflow cannot map tasks again there.

    :param operator_class: the transfer, such as :class:`AnnotationsToSqlOperator`
    :param group_id: id of the group
    :param staging: URI of a folder that all workers reach; several groups may use the same folder. (templated)
    :param staging_conn_id: connection of its object store, if the URI names none. (templated)
    :param shard_items: number of items in a shard; it is increased if there would be more shards than Airflow's
        ``max_map_length``
    :param shard_arguments: arguments of only the mapped tasks, such as ``max_active_tis_per_dagrun``, which limits how
        many read at once, ``pool`` or ``executor``
    :param arguments: arguments of the transfer, and of all three tasks: ``retries``, ``annotation_conn_id``, …; only
        the first task gets ``trigger_rule``, only the last gets ``outlets``
    :raises ValueError: an argument is wrong; the message names it, and the group or the task
    """
    with parsing(group_id, what="Task group"):
        for name, value, annotation in (
            ("group_id", group_id, "str"),
            ("shard_items", shard_items, "int"),
            ("staging", staging, "str"),
            ("staging_conn_id", staging_conn_id, "str | None"),
            ("shard_arguments", shard_arguments, "Mapping | None"),
        ):
            checked_argument(name, value, annotation)
        if shard_items < 1:
            raise ValueError(f"shard_items must be at least 1, not {shard_items}.")
        if not is_templated(staging):
            check_target(str(staging))
        first = {name: arguments.pop(name) for name in ("trigger_rule",) if name in arguments}
        last = {name: arguments.pop(name) for name in ("outlets",) if name in arguments}
        arguments = {**arguments, "staging_conn_id": staging_conn_id}
        with TaskGroup(group_id) as group:
            plan = _task_class(_PlanTask, operator_class)(
                task_id="plan", staging=staging, shard_items=shard_items, **arguments, **first
            )
            staged = XComArg(plan, key=_STAGING_KEY)
            read = (
                _task_class(_ReadTask, operator_class)
                .partial(task_id="read", staged=staged, **{**arguments, **(shard_arguments or {})})
                .expand(shard=plan.output)
            )
            _task_class(_LandTask, operator_class)(
                task_id="land", staged=staged, shard_reports=read.output, **arguments, **last
            )
    return group


@cache
def _task_class(step: type[Any], operator_class: type[AnnotationsTransfer]) -> Any:
    """Return the transfer with one of the steps instead of the whole landing."""
    fields = dict.fromkeys((*operator_class.template_fields, *step.template_fields))
    namespace = {"__module__": __name__, "__doc__": step.__doc__, "template_fields": tuple(fields)}
    name = f"{operator_class.__name__}.{step.__name__.strip('_')}"
    return types.new_class(name, (step, operator_class), exec_body=lambda body: body.update(namespace))


class _StagedTask(AnnotationsTransfer):
    """Base of the steps that work on a staged landing."""

    template_fields: Sequence[str] = (*AnnotationsTransfer.template_fields, "staged", "staging_conn_id")

    def __init__(self, *, staged: Any, staging_conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.staged = staged
        self.staging_conn_id = staging_conn_id

    def read_staged(self) -> LandingPlan:
        """Read the plan of the landing.

        :raises AnnotationError: it was planned for other settings than the task has
        """
        landing = StagedLanding(self.staged, self.staging_conn_id).read()
        if self.settings != landing.settings:
            raise AnnotationError(
                f"{self.task_id} lands {self.settings}, and {landing.settings} was planned: the DAG has changed "
                f"since. Clear the task {self._plan_task_id!r}."
            )
        return landing

    @property
    def _plan_task_id(self) -> str:
        return f"{self.task_id.rpartition('.')[0]}.plan"


class _PlanTask(AnnotationsTransfer):
    """Plans a landing, and returns the numbers of its shards."""

    template_fields: Sequence[str] = (*AnnotationsTransfer.template_fields, "staging", "staging_conn_id")

    def __init__(self, *, staging: str, shard_items: int, staging_conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "multiple_outputs": False})
        self.staging = staging
        self.staging_conn_id = staging_conn_id
        self.shard_items = shard_items

    def execute(self, context: Context) -> Any:
        """Plan the landing, and return the numbers of its shards."""
        with storage_errors(f"The planning of a landing in {self.staging} (task {self.task_id})"):
            return self._plan_shards(context)

    def _plan_shards(self, context: Context) -> list[int]:
        landing = self.plan(self.find_project(context))
        all_ids = self.hook.list_item_ids(landing.project.id) if landing.reads_all else [landing.changed]
        run = context["dag_run"]
        staged = StagedLanding.write(
            self.staging,
            landing,
            self.checked(all_ids),
            owner=f"{run.dag_id}/{run.run_id}/{self.task_id}",
            shard_items=self.shard_items,
            max_shards=conf.getint("core", "max_map_length", fallback=1024),
            conn_id=self.staging_conn_id,
        )
        shards = staged.shards
        self.log.info("%d items to read in %d shards, from %s", staged.item_count, shards, staged.uri)
        context["ti"].xcom_push(key=_STAGING_KEY, value=staged.uri)
        return list(range(shards))


class _ReadTask(_StagedTask):
    """Reads the items of a shard into a folder, and returns where that is."""

    template_fields: Sequence[str] = (*_StagedTask.template_fields, "shard")

    def __init__(self, *, shard: Any, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "multiple_outputs": False})
        self.shard = shard

    def execute(self, context: Context) -> Any:
        """Read the shard, and return its folder, its rows by table, and which media were written."""
        with storage_errors(f"The reading of shard {self.shard} into {self.staged} ({self.in_errors})"):
            return self._read_shard(context)

    def _read_shard(self, context: Context) -> dict[str, Any]:
        staged = StagedLanding(self.staged, self.staging_conn_id)
        if not staged.exists():
            raise AnnotationError(
                f"{staged.uri} is gone, since it has landed or was left for long. Clear the task "
                f"{self._plan_task_id!r} to land again."
            )
        landing = self.read_staged()
        self.remember_project(context, landing.project)
        try_number = context["ti"].try_number
        item_ids = staged.read_shard(self.shard)
        spool = self.read(landing, staged.shard_folder(self.shard, try_number), item_ids)
        self.log.info("Read %d of %d items of shard %d", spool.rows["items"], len(item_ids), self.shard)
        return {
            "staged": self.staged,
            "shard": self.shard,
            "try_number": try_number,
            "rows": spool.rows,
            "files": msgspec.to_builtins(spool.parts[0][1]),
            **self.landed_media,
            **self.left_out,
        }


class _LandTask(_StagedTask):
    """Lands what the shards have read."""

    template_fields: Sequence[str] = (*_StagedTask.template_fields, "shard_reports")

    _landing: LandingPlan | None = None
    _reports: Sequence[Mapping[str, Any]] = ()

    def __init__(self, *, shard_reports: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shard_reports = shard_reports

    def execute(self, context: Context) -> LandingResult:
        """Land the project as the transfer does, and remove what is staged."""
        with storage_errors(f"The landing of {self.staged} (task {self.task_id})"):
            staged = StagedLanding(self.staged, self.staging_conn_id)
            if staged.exists():
                self._landing = self.read_staged()
            else:
                self.log.warning(
                    "%s has landed, in another try of this task: reading what has changed since", staged.uri
                )
            landed = super().execute(context)
            staged.remove()
        return landed

    def plan(self, project: AnnotationProject) -> LandingPlan:
        """Return the staged landing, or a new one if the staged one can no longer be applied."""
        return self._landing or super().plan(project)

    def read(self, landing: LandingPlan, folder: ObjectStoragePath, item_ids: pa.Array | None = None) -> Spool:
        """Return what the shards have read, if it belongs to this landing."""
        if landing is not self._landing:
            self._reports = ()
            return super().read(landing, folder, item_ids)
        self._landing = None  # another plan is for this task alone
        staged = StagedLanding(self.staged, self.staging_conn_id)
        # Tries of the plan before this one may have had more shards.
        self._reports = [report for report in self.shard_reports if report["staged"] == self.staged]
        shards = {
            report["shard"]: (
                staged.shard_folder(report["shard"], report["try_number"]),
                msgspec.convert(report["files"], dict[str, TableFile]),
            )
            for report in self._reports
        }
        if missing := sorted(set(range(staged.shards)) - shards.keys()):
            raise AnnotationError(
                f"Shards {', '.join(map(str, missing[:20]))} of {self.staged} were not read. Clear the task "
                f"{self._plan_task_id!r} to land again."
            )
        self.with_media(())
        return Spool([shards[shard] for shard in sorted(shards)])

    def report(self, landing: LandingPlan, spool: Spool) -> LandingResult:
        """Return what the landing has changed, with the media that the shards have written."""
        report = super().report(landing, spool)
        media = [report["media"] for report in self._reports if "media" in report]
        if media:
            counts = (name for name, value in media[0].items() if isinstance(value, int))
            report["media"] |= {name: sum(one[name] for one in media) for name in counts}
        left_out = sum((Counter(one.get("left_out", {})) for one in self._reports), Counter(report.get("left_out", {})))
        if left_out:
            report["left_out"] = dict(left_out)
        return report
