"""One line of an export: a data row with its details, and its labels in each project.

The format is that of Labelbox's documentation of exports (version 2), with the fields that the parameters ask for.
"""

from __future__ import annotations

from datetime import datetime, timezone

from .annotations import Annotation
from .entities import DataRow, Json, Label, Project, QueuedRow
from .metadata import describe
from .projects import labels_of, workflow_status
from .schema import snake_case
from .state import State, alive
from .video import render


def timestamp(value: datetime) -> str:
    return value.astimezone(timezone.utc).isoformat(timespec="milliseconds")


def export_row(state: State, data_row: DataRow, projects: list[Project], params: Json) -> Json:
    """Return the exported form of a data row.

    :param projects: those whose labels are asked for
    :param params: `ExportParamsInput` of the schema
    """
    row: Json = {
        "id": data_row.id,
        "external_id": data_row.external_id,
        "global_key": data_row.global_key,
        "row_data": data_row.row_data,
    }
    exported: Json = {
        "data_row": {key: value for key, value in row.items() if value is not None},
        "media_attributes": {snake_case(key): value for key, value in data_row.media_attributes.items()},
    }
    if params.get("includeDataRowDetails"):
        exported["data_row"]["details"] = _details(data_row)
    if params.get("includeAttachments"):
        attachments = alive(data_row.attachments)
        exported["attachments"] = [{"type": one.type, "value": one.value, "name": one.name} for one in attachments]
    if params.get("includeMetadata"):
        exported["metadata_fields"] = [_metadata(state, *item) for item in data_row.metadata.items()]
    if params.get("includeEmbeddings"):
        exported["embeddings"] = []
    exported["projects"] = {
        project.id: _project(project, project.rows[data_row.id], params)
        for project in projects
        if data_row.id in project.rows
    }
    return exported


def _details(data_row: DataRow) -> Json:
    return {
        "dataset_id": data_row.dataset.id,
        "dataset_name": data_row.dataset.name,
        "created_at": timestamp(data_row.created_at),
        "updated_at": timestamp(data_row.updated_at),
        "last_activity_at": timestamp(data_row.last_activity_at),
        "created_by": data_row.created_by.email,
    }


def _metadata(state: State, schema_id: str, value: object) -> Json:
    described = describe(state, schema_id, value)
    return {
        "schema_id": schema_id,
        "schema_name": described["name"],
        "schema_kind": described["kind"],
        "value": described["value"],
    }


def _project(project: Project, row: QueuedRow, params: Json) -> Json:
    exported: Json = {
        "name": project.name,
        "labels": [_label(project, label, params) for label in labels_of(project, row)],
    }
    if params.get("includeProjectDetails"):
        exported["project_details"] = {
            "ontology_id": project.ontology.id if project.ontology else None,
            "task_id": row.queue.id if row.queue else None,
            "task_name": row.queue.name if row.queue else "Done",
            "batch_id": row.batch.id,
            "batch_name": row.batch.name,
            "workflow_status": workflow_status(row),
            "priority": row.priority,
            "selected_label_id": next((one.id for one in labels_of(project, row)), None),
            "consensus_expected_label_count": row.expected_labels,
            "workflow_history": row.workflow_history,
        }
    return exported


def _label(project: Project, label: Label, params: Json) -> Json:
    video = project.allowed_media_type == "VIDEO"
    exported: Json = {"label_kind": "Video" if video else "Default", "version": "1.0.0", "id": label.id}
    if params.get("includeLabelDetails"):
        exported["label_details"] = {
            "created_at": timestamp(label.created_at),
            "updated_at": timestamp(label.updated_at),
            "created_by": label.created_by.email,
            "content_last_updated_at": timestamp(label.content_last_updated_at),
            "reviews": [
                {
                    "reviewed_at": timestamp(review.created_at),
                    "reviewed_by": review.created_by.email,
                    "approved": review.score > 0,
                }
                for review in label.reviews
            ],
        }
    if params.get("includePerformanceDetails"):
        exported["performance_details"] = _performance(project, label)
    if video:
        exported["annotations"] = render(label.annotations, interpolated=bool(params.get("includeInterpolatedFrames")))
    else:
        exported["annotations"] = _still(project, label.annotations)
    return exported


def _performance(project: Project, label: Label) -> Json:
    """The benchmark label itself has no benchmark score; the other labels of its data row name it."""
    details: Json = {
        "seconds_to_create": label.seconds_to_label,
        "seconds_to_review": label.seconds_to_review,
        "skipped": label.skipped,
    }
    others = [one for one in alive(label.data_row.labels) if one.project is project and one is not label]
    reference = next((one for one in others if one.is_benchmark_reference), None)
    if reference is not None and not label.is_benchmark_reference:
        details["benchmark_reference_label"] = reference.id
        details["benchmark_score"] = label.benchmark_agreement
    if label.agreement is not None:
        details["consensus_score"] = label.agreement
        details["consensus_label_count"] = len(others) + 1
    return details


_OF_SOUNDS = {"timestamp": "frames", "segments": "segments", "classifications": "classifications"}


def _still(project: Project, annotations: list[Annotation]) -> Json:
    """Return the annotations of an asset without frames."""
    objects = [one.exported for one in annotations if one.is_object]
    if project.allowed_media_type == "AUDIO":
        shown = render(annotations, interpolated=False)
        return {name: shown[part] for name, part in _OF_SOUNDS.items()}
    classifications = [one.exported for one in annotations if not one.is_object]
    relations = [one for one in objects if one["annotation_kind"].endswith("Relationship")]
    return {
        "objects": [one for one in objects if one not in relations],
        "classifications": classifications,
        "relationships": relations,
    }
