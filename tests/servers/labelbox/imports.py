"""Imports of annotations: as labels, and as predictions that labelers see (model-assisted labeling)."""

from __future__ import annotations

import json
from typing import Any

from .annotations import Annotation
from .entities import AnnotationImport, DataRow, Json
from .errors import ConflictError, InvalidInputError, NotFoundError, ServiceError
from .labels import annotations_of, make_benchmark, submit
from .media import fetch
from .schema import Context, page, resolver
from .state import State, alive, find

LABELS, PREDICTIONS = "label import", "prediction import"
NDJSON = "application/x-ndjson"


@resolver("Mutation", "createLabelImport")
def create_label_import(_: None, context: Context, data: Json) -> AnnotationImport:
    return _create(context, LABELS, data)


@resolver("Mutation", "createModelAssistedLabelingPredictionImport")
def create_prediction_import(_: None, context: Context, data: Json) -> AnnotationImport:
    return _create(context, PREDICTIONS, data)


@resolver("Query", "labelImport")
def label_import(_: None, context: Context, where: Json) -> AnnotationImport:
    return _named(context.state, LABELS, where)


@resolver("Query", "modelAssistedLabelingPredictionImport")
def prediction_import(_: None, context: Context, where: Json) -> AnnotationImport:
    return _named(context.state, PREDICTIONS, where)


@resolver("Query", "labelImports")
def label_imports(_: None, context: Context, where: Json, **paging: Any) -> list[AnnotationImport]:
    return page(_of_project(context.state, LABELS, where["projectId"]), **paging)


@resolver("Query", "modelAssistedLabelingPredictionImports")
def prediction_imports(_: None, context: Context, where: Json, **paging: Any) -> list[AnnotationImport]:
    return page(_of_project(context.state, PREDICTIONS, where["projectId"]), **paging)


@resolver("Mutation", "deleteModelAssistedLabelingPredictionImport")
def delete_prediction_import(_: None, context: Context, where: Json) -> AnnotationImport:
    found = find("AnnotationImport", {one.id: one for one in context.state.imports}, where["id"])
    found.deleted = True
    # Its predictions go with it.
    gone = set(map(id, found.predictions))
    for predictions in context.state.predictions.values():
        predictions[:] = [one for one in predictions if id(one) not in gone]
    return found


def _of_project(state: State, kind: str, project_id: str) -> list[AnnotationImport]:
    return [one for one in alive(state.imports) if one.kind == kind and one.project.id == project_id]


def _named(state: State, kind: str, where: Json) -> AnnotationImport:
    for one in _of_project(state, kind, where["projectId"]):
        if one.name == where["name"]:
            return one
    raise NotFoundError("AnnotationImport", where["name"])


def _create(context: Context, kind: str, data: Json) -> AnnotationImport:
    state = context.state
    project = find("Project", state.projects, data["projectId"])
    if any(one.name == data["name"] for one in _of_project(state, kind, project.id)):
        raise ConflictError(f"An import with the name {data['name']} already exists in this project")
    url = data.get("fileUrl")
    if url is None:
        file = data["filePayload"]["file"]
        url = state.store(file.content, NDJSON, file.name)
    made = AnnotationImport(kind=kind, name=data["name"], project=project, created_by=context.user, input_file_url=url)
    state.imports.append(made)
    state.later(lambda: _run(context, made))
    return made


def _run(context: Context, source: AnnotationImport) -> None:
    failures = context.state.failing_tasks.get(source.kind) or []
    file = None if failures else fetch(context.state, source.input_file_url)
    if file is None:
        if failures:
            failures.pop(0)
        source.state = "FAILED"
        return
    lines = [json.loads(line) for line in file.content.decode().splitlines() if line.strip()]
    statuses = _import_lines(context, source, lines)
    errors = [status for status in statuses if status["status"] == "FAILURE"]
    source.status_file_url = context.state.store(_ndjson(statuses), NDJSON, "statuses.ndjson")
    source.error_file_url = context.state.store(_ndjson(errors), NDJSON, "errors.ndjson")
    source.state, source.progress = "FINISHED", "100%"


def _ndjson(lines: list[Json]) -> bytes:
    return "\n".join(json.dumps(line) for line in lines).encode()


def _import_lines(context: Context, source: AnnotationImport, lines: list[Json]) -> list[Json]:
    """Import what is good, one label a data row, and return a status for each line."""
    state = context.state
    statuses = []
    by_row: dict[str, tuple[DataRow, list[Annotation], bool]] = {}
    seen: set[str] = set()
    for line in lines:
        reference = line.get("dataRow") or {}
        row = state.find_data_row(id=reference.get("id"), global_key=reference.get("globalKey"))
        try:
            if row is None or row.id not in source.project.rows:
                raise NotFoundError("DataRow", reference.get("id") or reference.get("globalKey"))
            if line.get("uuid") in seen:
                raise InvalidInputError(f"Duplicate uuid: {line['uuid']}")
            made = annotations_of(state, source.project, row, [line])
        except ServiceError as error:
            statuses.append(_status(line, row, str(error), type(error).__name__.removesuffix("Error")))
            continue
        if line.get("uuid"):
            seen.add(line["uuid"])
        _, annotations, benchmark = by_row.setdefault(row.id, (row, [], False))
        annotations += made
        by_row[row.id] = (row, annotations, benchmark or bool(line.get("isBenchmarkReferenceLabel")))
        statuses.append(_status(line, row))
    if source.kind == LABELS:
        for row, annotations, benchmark in by_row.values():
            label = submit(state, source.project, source.project.rows[row.id], context.user, annotations)
            if benchmark:
                make_benchmark(label, context.user)
    else:
        for row, annotations, _benchmark in by_row.values():
            state.predictions.setdefault((source.project.id, row.id), []).extend(annotations)
            source.predictions += annotations
    return statuses


def _status(line: Json, row: DataRow | None, message: str | None = None, name: str = "") -> Json:
    errors = [] if message is None else [{"name": name, "message": message}]
    reference = {"id": row.id} if row is not None else line.get("dataRow")
    return {
        "uuid": line.get("uuid"),
        "dataRow": reference,
        "status": "SUCCESS" if message is None else "FAILURE",
        "errors": errors,
    }
