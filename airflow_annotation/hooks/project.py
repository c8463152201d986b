"""What hooks return about projects: their identity, their progress, and the results of uploads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal

import msgspec

from airflow_annotation.exceptions import AnnotationError, AnnotationProjectNotFoundError

MediaAccess = Literal["auto", "upload", "reference"]
OnDuplicate = Literal["skip", "fail", "allow"]
IfExists = Literal["reuse", "fail", "update"]
UploadMode = Literal["predictions", "annotations"]
OnExisting = Literal["skip", "replace"]
Coordinates = Literal["relative", "pixels"]


class AnnotationProject(msgspec.Struct, frozen=True, kw_only=True):
    """A project in a labeling tool, as it travels through XCom (``msgspec.to_builtins`` makes it a small dict).

    :param id: the tool's id of the project, always a string
    :param title: title that the tool shows
    :param url: address of the project in the tool
    :param uri: the project's asset URI, ``label-studio://host/projects/12``
    :param tool: the tool's name, which is the type of its connections
    :param run_key: name of the annotation run, None for projects that this provider did not make
    :param created: whether this call made the project
    :param created_at: when the tool made it
    """

    id: str
    title: str
    url: str
    uri: str
    tool: str
    run_key: str | None = None
    created: bool = False
    created_at: datetime | None = None


def project_id_of(project: str | int | Mapping[str, Any]) -> str:
    """Return the id of a project that an operator's argument names.

    :param project: the id, or what ``CreateAnnotationProjectOperator`` returned
    :raises AnnotationError: the argument is neither
    """
    project_id = project.get("id") if isinstance(project, Mapping) else project
    if isinstance(project_id, bool) or not isinstance(project_id, (str, int)) or str(project_id).startswith("{"):
        raise AnnotationError(
            f"{str(project)[:100]!r} does not name an annotation project. Pass its id or the output of "
            "CreateAnnotationProjectOperator (create.output; in a template, the ['id'] of its XCom)."
        )
    return str(project_id)


def no_project_of(run_keys: Collection[str]) -> AnnotationProjectNotFoundError:
    """Return the error for runs none of which has a project."""
    return AnnotationProjectNotFoundError(
        f"No annotation project has the run_key {' or '.join(map(repr, run_keys))}. "
        "Create it first, or name another with project or run_key."
    )


class AnnotationProgress(msgspec.Struct, frozen=True, kw_only=True):
    """Progress of the labeling of a project. Counts are of items, as the tool counts them.

    :param total: items in the project
    :param completed: items that the tool counts as finished; overlap is respected
    :param skipped: items that somebody skipped, if the tool tells
    :param annotations: submissions of all people, if the tool tells
    :param statuses: items by the tool's own workflow state, if it has one
    """

    total: int
    completed: int
    skipped: int = 0
    annotations: int = 0
    statuses: dict[str, int] = {}

    @property
    def fraction(self) -> float:
        """Completed items of all items, 0 for an empty project."""
        return self.completed / self.total if self.total else 0.0


class FailedItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item that was not uploaded or changed, and why.

    :param item_key: the caller's id of the item
    :param reason: one sentence that names the file or value at fault
    """

    item_key: str
    reason: str


class ItemsReport(msgspec.Struct, kw_only=True):
    """Results for the items of one call. It never holds a row per item, no matter how many items there were.

    :param failed: how many items failed
    :param failures: the first of them (see ``MAX_FAILURES_LISTED``)
    """

    MAX_FAILURES_LISTED: ClassVar[int] = 20

    failed: int = 0
    failures: list[FailedItem] = []

    def fail(self, item_key: str, reason: str) -> None:
        """Count a failed item and keep it for the report while there is room."""
        self.failed += 1
        if len(self.failures) < self.MAX_FAILURES_LISTED:
            # Names of files, here and in reasons, need not be valid Unicode. The report becomes JSON.
            item_key, reason = (text.encode(errors="backslashreplace").decode() for text in (item_key, reason))
            self.failures.append(FailedItem(item_key=item_key, reason=reason))

    def fail_missing(self, item_keys: Iterable[str], project_id: str) -> None:
        """Count items that the project does not have."""
        for item_key in item_keys:
            self.fail(item_key, f"Project {project_id} has no item {item_key!r}.")

    @property
    def total(self) -> int:
        """How many items there were."""
        raise NotImplementedError


class UploadReport(ItemsReport, kw_only=True):
    """Results for the items of one upload.

    :param uploaded: items that this call created
    :param skipped: items that the project already had, by ``item_key``
    """

    uploaded: int = 0
    skipped: int = 0

    @property
    def total(self) -> int:
        """How many items there were."""
        return self.uploaded + self.skipped + self.failed


class RequeueReport(ItemsReport, kw_only=True):
    """Results for items that were put back into the labeling queue.

    :param requeued: items that this request has put back, in this call or in an earlier, interrupted one
    :param waiting: items that were already waiting for people, and stay as they are
    :param skips_cleared: skips that this call removed
    """

    requeued: int = 0
    waiting: int = 0
    skips_cleared: int = 0

    @property
    def total(self) -> int:
        """How many items there were."""
        return self.requeued + self.waiting + self.failed


class AssignmentReport(ItemsReport, kw_only=True):
    """Results for items that were split among people.

    :param assigned: items to which this call assigned people
    :param kept: items that already had their people, and stay as they are
    :param finished: items that need no further label
    :param annotators: number of unfinished items that each person has now
    """

    assigned: int = 0
    kept: int = 0
    finished: int = 0
    annotators: dict[str, int] = {}

    @property
    def total(self) -> int:
        """How many items there were."""
        return self.assigned + self.kept + self.finished + self.failed
