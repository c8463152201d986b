"""Batches: how data rows get into a project, and out of it."""

from __future__ import annotations

import math

from .data_rows import rows_of
from .entities import Batch, DataRow, Json, Project, QueuedRow, Task
from .errors import ConflictError, MalformedError
from .labels import delete_label, move
from .projects import LABELING, batch_of, labels_of, queue, rows
from .schema import Context, resolver
from .state import State, alive, find
from .tasks import start

ROWS_LIMIT = 100_000
"""Most data rows of one batch."""


def _check_name(source: Project, name: str) -> None:
    if any(batch.name == name for batch in alive(source.batches)):
        raise ConflictError(f"A batch with the name {name} already exists in this project")


def _new_batch(source: Project, context: Context, name: str, priority: int, consensus: Json | None) -> Batch:
    _check_name(source, name)
    batch = Batch(name=name, created_by=context.user, priority=priority, consensus_settings=consensus)
    source.batches.append(batch)
    return batch


def _find_rows(state: State, ids: list[str] | None, keys: list[str] | None) -> list[DataRow]:
    """Return the data rows with these ids and global keys.

    :raises MalformedError: a global key does not exist, or no id does
    """
    missing = [key for key in keys or [] if state.find_data_row(global_key=key) is None]
    if missing:
        raise MalformedError(f"Data rows with the following global keys do not exist: {', '.join(missing)}.")
    found = [state.find_data_row(id=one) for one in ids or []]
    found += [state.find_data_row(global_key=key) for key in keys or []]
    unique = {row.id: row for row in found if row is not None}
    if not unique:
        raise MalformedError("No valid data rows to be added from the list provided!")
    return list(unique.values())


def _addable(project: Project, candidates: list[DataRow]) -> tuple[list[DataRow], list[DataRow]]:
    """Split data rows into those that can be added to a project, and those that have a problem.

    :raises MalformedError: all of them are in the project already
    """
    fresh = [row for row in candidates if row.id not in project.rows]
    if not fresh:
        raise MalformedError("No valid data rows to add to project")
    failed = [row for row in fresh if row.processing_error or not row.processed]
    return [row for row in fresh if row not in failed], failed


def _add(project: Project, batch: Batch, added: list[DataRow], priority: int) -> None:
    consensus = batch.consensus_settings
    covered = math.ceil(len(added) * consensus["coveragePercentage"]) if consensus else 0
    expected = consensus["numberOfLabels"] if consensus else 1
    for index, row in enumerate(added):
        project.rows[row.id] = QueuedRow(
            data_row=row,
            batch=batch,
            queue=queue(project, LABELING),
            priority=priority,
            expected_labels=expected if index < covered else 1,
        )


@resolver("ProjectMutation", "createBatchV2")
def create_batch(source: Project, context: Context, input: Json) -> Json:  # noqa: A002 GraphQL's name
    _check_name(source, input["name"])
    found = _find_rows(context.state, input.get("dataRowIds"), input.get("globalKeys"))
    added, failed = _addable(source, found)
    batch = _new_batch(source, context, input["name"], input["priority"], input.get("consensusSettings"))
    _add(source, batch, added, input["priority"])
    return {"batch": batch, "failedDataRowIds": [row.id for row in failed]}


@resolver("ProjectMutation", "createEmptyBatch")
def create_empty_batch(source: Project, context: Context, input: Json) -> Batch:  # noqa: A002 GraphQL's name
    return _new_batch(source, context, input["name"], 5, input.get("consensusSettings"))


def _add_later(source: Project, context: Context, batch: Batch, found: list[DataRow], priority: int) -> Task:
    def work(_: Task) -> None:
        added, _failed = _addable(source, found)
        _add(source, batch, added, priority)

    return start(context, "Add data rows to batch", "add-data-rows-to-batch", work)


@resolver("ProjectMutation", "addDataRowsToBatchAsync")
def add_data_rows(source: Project, context: Context, input: Json) -> Json:  # noqa: A002 GraphQL's name
    batch = batch_of(source, input["batchId"])
    batch.priority = input["priority"]
    found = _find_rows(context.state, input.get("dataRowIds"), input.get("globalKeys"))
    return {"taskId": _add_later(source, context, batch, found, input["priority"]).id}


def _create_batches(source: Project, context: Context, data: Json, found: list[DataRow]) -> Json:
    started = []
    for number, offset in enumerate(range(0, len(found), ROWS_LIMIT)):
        name = f"{data['batchNamePrefix']}{number:04}"
        batch = _new_batch(source, context, name, data["priority"], data.get("consensusSettings"))
        task = _add_later(source, context, batch, found[offset : offset + ROWS_LIMIT], data["priority"])
        started.append({"batchUuid": batch.id, "taskId": task.id})
    return {"tasks": started}


@resolver("ProjectMutation", "createBatches")
def create_batches(source: Project, context: Context, input: Json) -> Json:  # noqa: A002 GraphQL's name
    found = _find_rows(context.state, input.get("dataRowIds"), input.get("globalKeys"))
    return _create_batches(source, context, input, found)


@resolver("ProjectMutation", "createBatchesFromDataset")
def create_batches_from_dataset(source: Project, context: Context, input: Json) -> Json:  # noqa: A002 GraphQL's name
    dataset = find("Dataset", context.state.datasets, input["datasetId"])
    fresh = [row for row in rows_of(context.state, dataset) if row.id not in source.rows]
    return _create_batches(source, context, input, fresh)


@resolver("ProjectMutation", "removeQueuedDataRowsFromBatch")
def remove_queued_data_rows(source: Project, _context: Context, batchId: str) -> Batch:  # noqa: N803 GraphQL's name
    batch = batch_of(source, batchId)
    for row in rows(source, [batch.id]):
        if not labels_of(source, row):
            del source.rows[row.data_row.id]
    return batch


@resolver("ProjectMutation", "deleteBatch")
def delete_batch(source: Project, _context: Context, batchId: str) -> Json:  # noqa: N803 GraphQL's name
    batch = batch_of(source, batchId)
    if any(labels_of(source, row) for row in rows(source, [batch.id])):
        raise MalformedError("Batches with labels cannot be deleted")
    source.rows = {key: row for key, row in source.rows.items() if row.batch is not batch}
    batch.deleted = True
    return {"deletedBatchId": batch.id}


@resolver("ProjectMutation", "deleteBatchLabels")
def delete_batch_labels(source: Project, context: Context, batchId: str, data: Json) -> Json:  # noqa: N803 GraphQL's name
    batch = batch_of(source, batchId)
    labels = [label for row in rows(source, [batch.id]) for label in labels_of(source, row)]
    for label in labels:
        delete_label(label)
    return {"deletedLabelIds": [label.id for label in labels]}


def _identified(source: Project, state: State, identifiers: Json) -> list[QueuedRow]:
    by_id = identifiers["idType"] == "ID"
    found = (
        state.find_data_row(id=one) if by_id else state.find_data_row(global_key=one) for one in identifiers["ids"]
    )
    return [source.rows[row.id] for row in found if row is not None and row.id in source.rows]


@resolver("ProjectMutation", "createBulkAddRowsToQueueTask")
def move_to_queue(source: Project, context: Context, data: Json) -> Json:
    target = next((one for one in source.queues if one.id == data.get("queueId")), None)

    def work(_: Task) -> None:
        if target is None and data.get("queueId"):
            raise MalformedError(f"Task queue not found: {data['queueId']}")
        for row in _identified(source, context.state, data["dataRowIdentifiers"]):
            move(row, target, context.user)
            # A data row that was skipped is in the task that it was moved to; its label still says that it was skipped.
            row.skipped = False

    return {"taskId": start(context, "Send to task queue", "send-to-task-queue", work).id}


@resolver("ProjectMutation", "createQueuePriorityUpdateTask")
def update_priorities(source: Project, context: Context, data: Json) -> Json:
    def work(_: Task) -> None:
        for row in _identified(source, context.state, data["dataRowIdentifiers"]):
            row.priority = data["priority"]

    return {"taskId": start(context, "Update priorities", "update-queue-priority", work).id}


@resolver("Mutation", "bulkAssignDataRows")
def reserve(_: None, context: Context, input: Json) -> Json:  # noqa: A002 GraphQL's name
    """Reserve data rows of the labeling queue for a user: those that are free, unless told otherwise."""
    project = find("Project", context.state.projects, input["projectId"])
    user = find("User", context.state.users, input["userId"])
    allowed = input.get("allowedStatuses") or ["FREE"]
    for row in _identified(project, context.state, {"idType": "ID", "ids": input["dataRowIds"]}):
        status = "RESERVED" if row.reserved_for else "FREE"
        if row.queue is queue(project, LABELING) and status in allowed:
            row.reserved_for = user
    return {"success": True}
