"""Tasks, and the import of data rows from descriptor files, which is one kind of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from .data_rows import check_global_key, set_global_key
from .entities import Attachment, DataRow, Dataset, Json, Task
from .errors import InvalidInputError, MalformedError, NotFoundError, ServiceError
from .media import asset_url, describe, fetch, text_layer_url
from .metadata import parse_fields
from .schema import Context, page_after, resolver
from .state import State, find

CANCELABLE = ["export-data-rows", "add-data-rows-to-batch", "adv-upsert-data-rows"]


def start(context: Context, name: str, kind: str, work: Callable[[Task], None]) -> Task:
    """Start a task that does its work when `task_seconds` have passed.

    It fails when a test asked for that, or when the work raises a ServiceError; the result is then the error as JSON.
    """
    task = Task(name=name, type=kind, created_by=context.user)
    context.state.tasks[task.id] = task

    def finish() -> None:
        if task.status != "IN_PROGRESS":
            return
        failures = context.state.failing_tasks.get(kind) or []
        try:
            if failures:
                raise MalformedError(failures.pop(0))
            work(task)
            task.status, task.completion_percentage = "COMPLETE", 100.0
        except ServiceError as error:
            task.status, task.result = "FAILED", json.dumps({"error": str(error)})
        task.touch()

    context.state.later(finish)
    return task


@resolver("Query", "task")
def task(_: None, context: Context, where: Json | None = None) -> Task:
    return find("Task", context.state.tasks, (where or {}).get("id", ""))


@resolver("Query", "cancelableTaskTypes")
def cancelable_task_types(_: None, _context: Context) -> list[str]:
    return CANCELABLE


@resolver("Mutation", "cancelBulkOperationJob")
def cancel(_: None, context: Context, id: str) -> Json:  # noqa: A002 GraphQL's name
    found = find("Task", context.state.tasks, id)
    if found.status == "IN_PROGRESS":
        found.status = "CANCELED"
    return {"success": found.status == "CANCELED"}


@resolver("Mutation", "upsertDataRows")
def upsert_data_rows(_: None, context: Context, data: Json) -> Task:
    """Create and update data rows from a manifest, which names the chunks that describe them."""
    manifest = _uploaded_json(context.state, data["manifestUri"])
    chunks = [_uploaded_json(context.state, uri) for uri in manifest["chunk_uris"]]

    def work(task: Task) -> None:
        done, failed = [], []
        for item in (item for chunk in chunks for item in chunk):
            try:
                done.append(_upsert(context, item["id"], _payload(item["payload"])))
            except ServiceError as error:  # noqa: PERF203 one bad item must not stop the others
                failed.append({"message": str(error), "spec": _failed_spec(item["payload"])})
        task.output = {"rows": done, "errors": failed}
        created = [{"id": row.id, "rowData": row.row_data, "globalKey": row.global_key} for row in done]
        report = json.dumps({"createdDataRows": created, "errors": failed}).encode()
        task.result = context.state.store(report, "application/json", "result.json")

    return start(context, "Data row upsert", "adv-upsert-data-rows", work)


def _uploaded_json(state: State, uri: str) -> Any:
    file = fetch(state, uri)
    if file is None:
        raise InvalidInputError(f"The file cannot be read: {uri}")
    return json.loads(file.content)


def _payload(payload: Json) -> Json:
    """Return an item's fields with the row data as one string, and its metadata under one name."""
    row_data = payload.get("row_data")
    if row_data is None and "tileLayerUrl" in payload:
        row_data = {key: value for key, value in payload.items() if key != "dataset_id"}
    if isinstance(row_data, dict | list):
        row_data = json.dumps(row_data)
    fields = payload.get("metadata_fields", payload.get("metadata"))
    key = payload.get("global_key", payload.get("globalKey"))
    return {**payload, "row_data": row_data, "metadata": fields, "global_key": key}


def _failed_spec(payload: Json) -> Json:
    flat = _payload(payload)
    return {
        "externalId": flat.get("external_id"),
        "globalKey": flat["global_key"],
        "rowData": flat["row_data"],
        "metadata": flat["metadata"] or [],
        "attachments": flat.get("attachments") or [],
    }


def _upsert(context: Context, key: Json, payload: Json) -> DataRow:
    state = context.state
    row = _existing(state, key)
    dataset = find("Dataset", state.datasets, payload["dataset_id"])
    values = None if payload["metadata"] is None else parse_fields(state, payload["metadata"])
    global_key = payload["global_key"]
    if global_key is not None and (row is None or row.global_key != global_key):
        check_global_key(state, global_key)
    row = _create(context, dataset, payload) if row is None else _update(state, row, payload)
    if global_key is not None:
        set_global_key(state, row, global_key)
    if values is not None:
        row.metadata |= values
    if payload.get("attachments") is not None:
        row.attachments = [
            Attachment(type=one["type"], value=one["value"], name=one.get("name")) for one in payload["attachments"]
        ]
    return row


def _existing(state: State, key: Json) -> DataRow | None:
    if key["type"] == "AUTO":
        return None
    by_id = key["type"] == "ID"
    row = state.find_data_row(id=key["value"]) if by_id else state.find_data_row(global_key=key["value"])
    if row is None and by_id:
        raise NotFoundError("DataRow", key["value"])
    return row


def _create(context: Context, dataset: Dataset, payload: Json) -> DataRow:
    state = context.state
    if not payload["row_data"]:
        raise InvalidInputError("Row data is missing")
    media_type, attributes, problem = describe(state, payload["row_data"], payload.get("media_type"))
    row = DataRow(
        dataset=dataset,
        created_by=context.user,
        row_data=asset_url(payload["row_data"]),
        text_layer_url=text_layer_url(payload["row_data"]),
        media_type=media_type,
        media_attributes=attributes,
        processing_error=problem,
        external_id=payload.get("external_id"),
        processed_at=time.monotonic() + state.settings.processing_seconds,
    )
    state.data_rows[row.id] = row
    return row


def _update(state: State, row: DataRow, payload: Json) -> DataRow:
    if payload["row_data"]:
        described = describe(state, payload["row_data"], payload.get("media_type"))
        row.media_type, row.media_attributes, row.processing_error = described
        row.row_data = asset_url(payload["row_data"])
    if payload.get("external_id") is not None:
        row.external_id = payload["external_id"]
    row.touch()
    return row


@resolver("Query", "successesfulDataRowImports")
def successful_imports(_: None, context: Context, data: Json) -> Json:
    rows = find("Task", context.state.tasks, data["taskId"]).output.get("rows", [])
    nodes, cursor = page_after(rows, data.get("from"), data.get("first"))
    return {"nodes": nodes, "after": cursor, "total": len(rows)}


@resolver("Query", "failedDataRowImports")
def failed_imports(_: None, context: Context, data: Json) -> Json:
    errors = find("Task", context.state.tasks, data["taskId"]).output.get("errors", [])
    start = int(data.get("from") or 0)
    end = start + (data.get("first") or 100)
    return {"results": errors[start:end], "after": str(end) if end < len(errors) else None, "total": len(errors)}
