"""The control API: it plays the labelers and reviewers, and breaks things on demand. Labelbox has nothing like it."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .entities import IamIntegration, Json, Label
from .errors import MalformedError, ServiceError
from .faults import Fault, Faults
from .labels import annotations_of, delete_label, make_benchmark, queued, replace_annotations, review, rework, submit
from .projects import labels_of, rows, workflow_status
from .state import State, StoredFile, find

Action = Callable[[State, Json], Any]


def submit_label(state: State, data: Json) -> Json:
    """Label or skip a data row, or redo its rejected label. Annotations are lines of an import, without data rows."""
    project = find("Project", state.projects, data["project_id"])
    row = queued(state, project, data_row_id=data.get("data_row_id"), global_key=data.get("global_key"))
    if workflow_status(row) not in ("TO_LABEL", "IN_REWORK") or row.skipped:
        raise MalformedError(f"The data row {row.data_row.id} is not waiting for a label")
    if data["accept_predictions"]:
        annotations = state.predictions.pop((project.id, row.data_row.id), [])
    else:
        annotations = annotations_of(state, project, row.data_row, data["annotations"])
    feature_ids = [annotation.feature_id for annotation in annotations]
    labeler = state.add_user(data["labeler"])
    if row.reserved_for not in (None, labeler):
        raise MalformedError(f"The data row {row.data_row.id} is reserved for {row.reserved_for.email}")
    if workflow_status(row) == "IN_REWORK":
        label = labels_of(project, row)[-1]
        rework(row, label, labeler, annotations, data["seconds"])
        return {"label_id": label.id, "feature_ids": feature_ids}
    label = submit(
        state,
        project,
        row,
        labeler,
        annotations,
        skipped=data["skipped"],
        seconds=data["seconds"],
        review=data["to_review"],
    )
    if data["benchmark"]:
        make_benchmark(label, label.created_by)
    label.agreement, label.benchmark_agreement = data["consensus_score"], data["benchmark_score"]
    return {"label_id": label.id, "feature_ids": feature_ids}


def edit_label(state: State, data: Json) -> Json:
    """Replace the annotations of a label."""
    label = _label(state, data)
    replace_annotations(label, annotations_of(state, label.project, label.data_row, data["annotations"]))
    return {"label_id": label.id, "feature_ids": [annotation.feature_id for annotation in label.annotations]}


def remove_label(state: State, data: Json) -> Json:
    delete_label(_label(state, data))
    return {}


def review_label(state: State, data: Json) -> Json:
    review(_label(state, data), state.add_user(data["reviewer"]), approve=data["approve"], seconds=data["seconds"])
    return {}


def _label(state: State, data: Json) -> Label:
    return find("Label", state.labels, data["label_id"])


def waiting(state: State, data: Json) -> list[Json]:
    """List the data rows of a project in one state of the workflow, in the order in which labelers get them."""
    project = find("Project", state.projects, data["project_id"])
    labeler = state.add_user(data["labeler"]) if data["labeler"] else None
    found = [row for row in rows(project) if workflow_status(row) == data["status"]]
    if labeler is not None:
        found = [row for row in found if row.reserved_for in (None, labeler)]
    found.sort(key=lambda row: row.priority)
    return [
        {
            "data_row_id": row.data_row.id,
            "global_key": row.data_row.global_key,
            "media_attributes": row.data_row.media_attributes,
        }
        for row in found
    ]


def change_settings(state: State, data: Json) -> Json:
    for name, value in data.items():
        if name not in dataclasses.asdict(state.settings):
            raise MalformedError(f"Unknown setting: {name}")
        setattr(state.settings, name, value)
    return dataclasses.asdict(state.settings)


def describe_media(state: State, data: Json) -> Json:
    """Say what the service would find out about a URL that cannot be read from here."""
    state.media[data["url"]] = data["attributes"]
    return {}


def publish(state: State, data: Json) -> Json:
    """Put a file on the web, as far as the service can see: what it would download from a public URL."""
    state.web[data["url"]] = StoredFile(base64.b64decode(data["content"]), data["content_type"], data["url"])
    return {}


def add_integration(state: State, data: Json) -> Json:
    if data["is_org_default"]:
        for one in state.iam_integrations.values():
            one.is_org_default = False
    made = IamIntegration(
        name=data["name"],
        provider=data["provider"],
        settings=data["settings"],
        valid=data["valid"],
        is_org_default=data["is_org_default"],
    )
    state.iam_integrations[made.id] = made
    return {"id": made.id}


def fail_tasks(state: State, data: Json) -> Json:
    """Let the next tasks of a type fail: data row upserts, batch tasks, exports, and imports of annotations."""
    state.failing_tasks.setdefault(data["type"], []).extend([data["message"]] * data["times"])
    return {}


def expire_files(state: State, _data: Json) -> Json:
    """Let every signed URL that was handed out so far expire."""
    for file in state.files.values():
        file.expires_at = 0.0
    return {}


def lose_masks(state: State, data: Json) -> Json:
    for feature_id in data["feature_ids"]:
        for key in [key for key in state.masks if key[0] == feature_id]:
            del state.masks[key]
    return {}


def operations(state: State, _data: Json) -> Json:
    """Count the requests so far, by kind and by GraphQL operation."""
    with state.operations_lock:
        return dict(state.operations)


ACTIONS: dict[str, Action] = {
    "labels/submit": submit_label,
    "labels/edit": edit_label,
    "labels/delete": remove_label,
    "labels/review": review_label,
    "data-rows/waiting": waiting,
    "settings": change_settings,
    "media": describe_media,
    "web": publish,
    "iam-integrations": add_integration,
    "tasks/fail": fail_tasks,
    "files/expire": expire_files,
    "masks/lose": lose_masks,
    "operations": operations,
}


def control_routes(state: State, faults: Faults) -> list[Route]:
    def endpoint(action: Action) -> Any:
        def locked(data: Json) -> Response:
            with state.lock:
                state.advance()
                try:
                    return JSONResponse(action(state, data))
                except ServiceError as error:
                    return JSONResponse({"message": str(error)}, status_code=400)

        async def answer(request: Request) -> Response:
            return await asyncio.to_thread(locked, await request.json())

        return answer

    def add_fault(_state: State, data: Json) -> Json:
        with state.operations_lock:
            faults.pending.append(Fault(**data))
        return {}

    actions = {**ACTIONS, "faults": add_fault}
    return [Route(f"/control/{name}", endpoint(action), methods=["POST"]) for name, action in actions.items()]
