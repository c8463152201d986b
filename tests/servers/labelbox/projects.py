"""Projects: their settings, their editor, and what is counted in them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from datetime import datetime
from typing import Any

from .entities import Batch, Benchmark, Entity, Json, Label, Ontology, Project, QueuedRow, TaskQueue, User, now
from .errors import NotFoundError
from .schema import Context, page, page_after, resolver
from .state import alive, find

EDITOR: Json = {
    "id": "ckcz6bubudyfi0855o1dt1g9s",
    "name": "Editor",
    "description": "The editor of the labeling application",
    "iframeUrlPath": "https://editor.labelbox.com",
}
LABELING, REVIEW, REWORK = "INITIAL_LABELING_QUEUE", "MANUAL_REVIEW_QUEUE", "MANUAL_REWORK_QUEUE"


def new_queues() -> list[TaskQueue]:
    """Return the workflow that a new project has. Done is no queue: its rows are in none."""
    return [
        TaskQueue(name="Initial labeling task", queue_type=LABELING),
        TaskQueue(name="Rework (all rejected)", queue_type=REWORK),
        TaskQueue(name="Initial review task", queue_type=REVIEW),
    ]


def queue(project: Project, queue_type: str) -> TaskQueue:
    return next(one for one in project.queues if one.queue_type == queue_type)


def workflow_status(row: QueuedRow) -> str:
    """Return the state as exports name it."""
    if row.queue is None:
        return "DONE"
    return {LABELING: "TO_LABEL", REVIEW: "IN_REVIEW", REWORK: "IN_REWORK"}[row.queue.queue_type]


def rows(project: Project, batch_ids: list[str] | None = None) -> list[QueuedRow]:
    return [
        row
        for row in project.rows.values()
        if not row.data_row.deleted and (batch_ids is None or row.batch.id in batch_ids)
    ]


def labels_of(project: Project, row: QueuedRow) -> list[Label]:
    return [label for label in alive(row.data_row.labels) if label.project is project]


@resolver("Query", "project")
@resolver("Mutation", "project")
def project(_: None, context: Context, where: Json) -> Project:
    return find("Project", context.state.projects, where["id"])


@resolver("Query", "projects")
def projects(_: None, context: Context, **paging: Any) -> list[Project]:
    return page(context.state.projects.values(), **paging)


@resolver("Query", "labelingFrontends")
def labeling_frontends(_: None, _context: Context, **_paging: Any) -> list[Json]:
    return [EDITOR]


@resolver("Project", "labelingFrontend")
def labeling_frontend(_: Project, _context: Context) -> Json:
    return EDITOR


@resolver("Project", "labelingFrontendOptions")
def labeling_frontend_options(_: Project, _context: Context, **_paging: Any) -> list[Json]:
    return []


@resolver("Project", "ontology")
def project_ontology(source: Project, _context: Context) -> Ontology | None:
    """The project's instructions are shown as part of the normalized ontology."""
    if source.ontology is None or source.instructions_url is None:
        return source.ontology
    normalized = {**source.ontology.normalized, "projectInstructions": source.instructions_url}
    return dataclasses.replace(source.ontology, normalized=normalized)


@resolver("Project", "dataRowCount")
def data_row_count(source: Project, _context: Context) -> int:
    return len(rows(source))


@resolver("Project", "labelCount")
def label_count(source: Project, _context: Context) -> int:
    return len(alive(source.labels))


@resolver("Project", "completedDataRowCount")
def completed_data_row_count(source: Project, _context: Context) -> int:
    return sum(row.queue is None for row in rows(source))


@resolver("Project", "batches")
def batches(
    source: Project, _context: Context, where: Json | None = None, after: str | None = None, first: int | None = None
) -> Json:
    found = [batch for batch in alive(source.batches) if where is None or batch.id == where["id"]]
    nodes, cursor = page_after(found, after, first)
    return {"nodes": nodes, "pageInfo": {"endCursor": cursor, "hasNextPage": cursor is not None}}


@resolver("Batch", "size")
def batch_size(source: Batch, context: Context) -> int:
    return sum(len(rows(one, [source.id])) for one in context.state.projects.values() if source in one.batches)


@resolver("Batch", "consensusSettingsJson")
def batch_consensus(source: Batch, _context: Context) -> Json | None:
    settings = source.consensus_settings
    if settings is None:
        return None
    return {"number_of_labels": settings["numberOfLabels"], "coverage_percentage": settings["coveragePercentage"]}


@resolver("Batch", "user")
def batch_user(source: Batch, _context: Context) -> User:
    return source.created_by


@resolver("Project", "labels")
def project_labels(source: Project, _context: Context, **paging: Any) -> list[Label]:
    # A skip is a label in exports, but no label in this list.
    return page((label for label in alive(source.labels) if not label.skipped), **paging)


@resolver("Project", "benchmarks")
def project_benchmarks(source: Project, _context: Context, **paging: Any) -> list[Benchmark]:
    return page(alive(source.benchmarks), **paging)


@resolver("Project", "webhooks")
def project_webhooks(_: Project, _context: Context, **_paging: Any) -> list[Entity]:
    return []


@resolver("Project", "members")
def project_members(_: Project, context: Context, **paging: Any) -> list[Json]:
    members = page(alive(context.state.users.values()), **paging)
    return [{"id": one.id, "user": one, "role": one.org_role, "accessFrom": "ORGANIZATION"} for one in members]


@resolver("Project", "lastActivityTime")
def last_activity_time(source: Project, _context: Context) -> datetime | None:
    return max((row.data_row.last_activity_at for row in rows(source)), default=None)


@resolver("Project", "taskQueues")
def task_queues(source: Project, _context: Context) -> list[TaskQueue]:
    return source.queues


@resolver("TaskQueue", "dataRowCount")
def queue_data_row_count(source: TaskQueue, context: Context, input: Json | None = None) -> int:  # noqa: A002 GraphQL's name
    owner = next(one for one in context.state.projects.values() if source in one.queues)
    batch_ids = None
    for clause in (((input or {}).get("searchQuery") or {}).get("query")) or []:
        if clause.get("type") == "batch":
            batch_ids = clause["ids"]
    return sum(row.queue is source for row in rows(owner, batch_ids))


@resolver("Project", "workstreamStateCounts")
def workstream_state_counts(source: Project, _context: Context, batchIds: list[str] | None = None) -> list[Json]:  # noqa: N803 GraphQL's name
    found = rows(source, batchIds)
    labeled = {label.data_row.id for label in alive(source.labels) if not label.skipped}
    status = Counter("Skipped" if row.skipped else workflow_status(row) for row in found)
    counts = {
        "All": len(found),
        "Unlabeled": status["TO_LABEL"],
        "Labeled": sum(row.data_row.id in labeled for row in found),
        "InReview": status["IN_REVIEW"],
        "InRework": status["IN_REWORK"],
        "Skipped": status["Skipped"],
        "Done": status["DONE"],
        "NotInTaskQueue": status["DONE"],
    }
    return [{"state": state, "count": count} for state, count in counts.items()]


@resolver("Project", "issues")
def issues(_: Project, _context: Context) -> Json:
    return {"totalCount": 0}


@resolver("Project", "issueExportUrl")
def issue_export_url(_: Project, context: Context, where: Json | None = None) -> str:
    return context.state.store(b"[]", "application/json", "issues.json")


@resolver("Project", "labelerPerformance")
def labeler_performance(source: Project, _context: Context, **paging: Any) -> list[Json]:
    by_user: dict[User, list[Label]] = {}
    for label in alive(source.labels):
        by_user.setdefault(label.created_by, []).append(label)
    seconds = {user: sum(label.seconds_to_label for label in labels) for user, labels in by_user.items()}
    found = [
        {
            "user": user,
            "count": len(labels),
            "secondsPerLabel": seconds[user] / len(labels),
            "totalTimeLabeling": seconds[user],
            "lastActivityTime": max(label.updated_at for label in labels).timestamp() * 1000,
        }
        for user, labels in by_user.items()
    ]
    return page(found, **paging)


@resolver("Project", "reviewMetrics")
def review_metrics(source: Project, _context: Context) -> Project:
    return source


@resolver("ReviewMetrics", "labelAggregate")
def label_aggregate(source: Project, _context: Context, netScore: str) -> Json:  # noqa: N803 GraphQL's name
    def name(label: Label) -> str:
        net = sum(review.score for review in label.reviews)
        return "None" if not label.reviews else "Positive" if net > 0 else "Negative" if net < 0 else "Zero"

    return {"count": sum(name(label) == netScore for label in alive(source.labels))}


@resolver("Mutation", "createProject")
def create_project(_: None, context: Context, data: Json) -> Project:
    project = Project(
        name=data["name"],
        description=data.get("description"),
        created_by=context.user,
        allowed_media_type=data.get("allowedMediaType") or "IMAGE",
        auto_audit_number_of_labels=data.get("autoAuditNumberOfLabels", 1),
        auto_audit_percentage=data.get("autoAuditPercentage", 1.0),
        is_benchmark_enabled=data.get("isBenchmarkEnabled", False),
        is_consensus_enabled=data.get("isConsensusEnabled", False),
        editor_task_type=data.get("editorTaskType"),
        queues=new_queues(),
    )
    context.state.projects[project.id] = project
    return project


UPDATABLE = {
    "name": "name",
    "description": "description",
    "allowedMediaType": "allowed_media_type",
    "autoAuditNumberOfLabels": "auto_audit_number_of_labels",
    "autoAuditPercentage": "auto_audit_percentage",
    "isBenchmarkEnabled": "is_benchmark_enabled",
    "isConsensusEnabled": "is_consensus_enabled",
    "setupComplete": "setup_complete",
    "deleted": "deleted",
}


@resolver("Mutation", "updateProject")
def update_project(_: None, context: Context, where: Json, data: Json) -> Project:
    """Update or delete a project. Its data rows stay in their datasets."""
    project = find("Project", context.state.projects, where["id"])
    for key, value in data.items():
        if key in UPDATABLE:
            setattr(project, UPDATABLE[key], value)
    project.touch()
    return project


@resolver("Mutation", "cloneProject")
def clone_project(_: None, context: Context, data: Json) -> Project:
    source = find("Project", context.state.projects, data["projectId"])
    clone = Project(
        name=f"{source.name} (copy)",
        description=source.description,
        created_by=context.user,
        allowed_media_type=source.allowed_media_type,
        auto_audit_number_of_labels=source.auto_audit_number_of_labels,
        auto_audit_percentage=source.auto_audit_percentage,
        is_benchmark_enabled=source.is_benchmark_enabled,
        is_consensus_enabled=source.is_consensus_enabled,
        ontology=source.ontology,
        queues=new_queues(),
    )
    context.state.projects[clone.id] = clone
    return clone


@resolver("Mutation", "setProjectInstructions")
def set_project_instructions(_: None, context: Context, where: Json, data: Json) -> Project:
    project = find("Project", context.state.projects, where["id"])
    project.instructions_url = data["instructionsUrl"]
    return project


@resolver("Mutation", "createLabelingFrontendOptions")
def create_labeling_frontend_options(_: None, context: Context, data: Json) -> Json:
    find("Project", context.state.projects, data["project"]["connect"]["id"])
    return {"id": EDITOR["id"], "customizationOptions": data["customizationOptions"]}


@resolver("Mutation", "extendReservations")
def extend_reservations(_: None, context: Context, projectId: str, queueType: str) -> int:  # noqa: N803 GraphQL's names
    find("Project", context.state.projects, projectId)
    return 0


@resolver("ProjectMutation", "connectOntology")
def connect_ontology(source: Project, context: Context, ontologyId: str) -> Project:  # noqa: N803 GraphQL's name
    source.ontology = find("Ontology", context.state.ontologies, ontologyId)
    source.setup_complete = now()
    source.touch()
    return source


@resolver("ProjectMutation", "showPredictionsToLabelers")
def show_predictions(source: Project, _context: Context, show: bool) -> Project:
    source.showing_predictions_to_labelers = show
    return source


@resolver("ProjectMutation", "updateProjectResourceTags")
def update_resource_tags(source: Project, context: Context, input: Json) -> list[Any]:  # noqa: A002 GraphQL's name
    tag_ids = input.get("resourceTagIds") or []
    source.resource_tags = [find("ResourceTag", context.state.resource_tags, tag_id) for tag_id in tag_ids]
    return source.resource_tags


def batch_of(project: Project, batch_id: str) -> Batch:
    for batch in alive(project.batches):
        if batch.id == batch_id:
            return batch
    raise NotFoundError("Batch", batch_id)
