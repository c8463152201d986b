"""Export tasks: which data rows an export holds, and the files in which it is handed out."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from .entities import DataRow, Json, Project, Task
from .errors import InvalidInputError, NotFoundError
from .export_rows import export_row
from .projects import workflow_status
from .schema import Context, resolver
from .state import State, alive, find
from .tasks import start

EXPORT = "export-data-rows"
STATUSES = {"InReview": "IN_REVIEW", "InRework": "IN_REWORK", "Done": "DONE"}


@resolver("Mutation", "exportDataRowsInProject")
def export_project(_: None, context: Context, input: Json) -> Json:  # noqa: A002 GraphQL's name
    project = find("Project", context.state.projects, input["filters"]["projectId"])
    return _start(context, input, project)


@resolver("Mutation", "exportDataRowsInCatalog")
def export_catalog(_: None, context: Context, input: Json) -> Json:  # noqa: A002 GraphQL's name
    return _start(context, input, None)


def _start(context: Context, data: Json, project: Project | None) -> Json:
    state, params = context.state, data["params"]
    clauses = data["filters"]["searchQuery"].get("query") or []
    for clause in clauses:
        _check(clause)

    def work(task: Task) -> None:
        candidates = (
            [row.data_row for row in project.rows.values()] if project is not None else list(state.data_rows.values())
        )
        projects = [project] if project is not None else _projects(state, params)
        selected = [row for row in alive(candidates) if all(_fulfils(row, project, one) for one in clauses)]
        task.output = _files(state, (export_row(state, row, projects, params) for row in selected))
        if not data.get("streamable"):
            everything = b"".join(chunk["content"] for chunk in task.output["chunks"])
            task.result = state.store(everything, "application/x-ndjson", "export.ndjson")

    task = start(context, data.get("taskName") or "Export", EXPORT, work)
    return {"taskId": task.id, "isStreamable": True}


def _projects(state: State, params: Json) -> list[Project]:
    if params.get("allProjects"):
        return alive(state.projects.values())
    return [find("Project", state.projects, one) for one in params.get("projectIds") or []]


def _files(state: State, rows: Any) -> Json:
    """Cut an export into files at ends of lines, and return their offsets and lines, both counted inclusively."""
    chunks: list[Json] = []
    offset = line = 0
    for row in rows:
        content = json.dumps(row, ensure_ascii=False).encode() + b"\n"
        full = chunks and len(chunks[-1]["content"]) + len(content) > state.settings.export_chunk_bytes
        if not chunks or full:
            chunks.append({"content": bytearray(), "start": offset, "line": line})
        chunks[-1]["content"] += content
        offset, line = offset + len(content), line + 1
        chunks[-1]["last_line"] = line - 1
    return {"chunks": chunks, "total_size": offset, "total_lines": line}


@resolver("Task", "exportMetadataHeader")
def export_header(source: Task, _context: Context, streamType: str) -> Json | None:  # noqa: N803 GraphQL's name
    if streamType == "ERRORS" or not source.output.get("total_size"):
        return None
    return {"totalSize": source.output["total_size"], "totalLines": source.output["total_lines"]}


@resolver("Task", "exportFileFromOffset")
def export_file(source: Task, context: Context, streamType: str, offset: int) -> Json | None:  # noqa: N803 GraphQL's name
    for chunk in [] if streamType == "ERRORS" else source.output.get("chunks", []):
        start, content = chunk["start"], chunk["content"]
        if start <= offset < start + len(content):
            url = context.state.store(bytes(content[offset - start :]), "application/x-ndjson", "export.ndjson")
            return {
                "offsets": {"start": offset, "end": start + len(content) - 1},
                "lines": {"start": chunk["line"], "end": chunk["last_line"]},
                "file": url,
            }
    raise NotFoundError("Export file", offset)


# ---- filters

ID_FILTERS = ("data_row_id", "global_key", "batch", "dataset")
TIME_FILTERS = ("data_row_last_activity_at", "labeled_at")


def _check(clause: Json) -> None:
    known = (*ID_FILTERS, *TIME_FILTERS, "task_queue_status", "task_queue_not_exist")
    if clause.get("type") not in known:
        raise InvalidInputError(f"Unknown search filter: {clause.get('type')}")
    if clause["type"] in TIME_FILTERS:
        _range(clause["value"])


def _fulfils(row: DataRow, project: Project | None, clause: Json) -> bool:
    kind = clause["type"]
    queued = project.rows[row.id] if project is not None else None
    if kind in ID_FILTERS:
        batch_id = queued.batch.id if queued else None
        values = {"data_row_id": row.id, "global_key": row.global_key, "batch": batch_id, "dataset": row.dataset.id}
        return values[kind] in clause["ids"]
    if kind in TIME_FILTERS:
        earliest, latest = _range(clause["value"])
        times = [row.last_activity_at]
        if kind == "labeled_at":
            times = [one.created_at for one in alive(row.labels) if project in (None, one.project)]
        return any(earliest <= one < latest for one in times)
    if kind == "task_queue_status":
        return queued is not None and workflow_status(queued) == STATUSES[clause["status"]]
    return queued is not None and workflow_status(queued) == "TO_LABEL"


def _range(value: Json) -> tuple[datetime, datetime]:
    """Return the times between which a filter lets data rows pass: from the first, to before the second."""
    earliest, latest = datetime.min.replace(tzinfo=timezone.utc), datetime.max.replace(tzinfo=timezone.utc)
    zone, limit = value.get("timezone") or "UTC", value["value"]
    if value["operator"] == "BETWEEN":
        return _time(limit["min"], zone), _past(limit["max"], zone)
    if value["operator"] == "GREATER_THAN_OR_EQUAL":
        return _time(limit, zone), latest
    if value["operator"] == "LESS_THAN_OR_EQUAL":
        return earliest, _past(limit, zone)
    raise InvalidInputError(f"Unknown operator: {value['operator']}")


def _time(value: str, zone: str) -> datetime:
    value = re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", value)
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        raise InvalidInputError(f"Not a time: {value}") from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=ZoneInfo(zone))


def _past(value: str, zone: str) -> datetime:
    """Return the time just past an inclusive limit, which counts whole seconds, or whole days if it is a day."""
    return _time(value, zone) + (timedelta(days=1) if len(value) == len("2000-01-01") else timedelta(seconds=1))
