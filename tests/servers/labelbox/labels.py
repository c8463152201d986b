"""Labels, and the workflow that they move data rows through: to label, in review, rework, done."""

from __future__ import annotations

import json

from .annotations import Annotation, Builder
from .entities import Benchmark, DataRow, Json, Label, Project, QueuedRow, Review, TaskQueue, User, new_id, now
from .errors import InvalidInputError, MalformedError, NotFoundError
from .projects import LABELING, REVIEW, REWORK, labels_of, queue, workflow_status
from .schema import Context, page, resolver
from .state import State, alive, find


def move(row: QueuedRow, target: TaskQueue | None, user: User, action: str = "Move") -> None:
    """Move a data row to a queue of the workflow, or to Done (None)."""
    previous = row.queue
    row.queue = target
    row.workflow_history.insert(
        0,
        {
            "action": action,
            "created_at": now().isoformat(timespec="milliseconds"),
            "created_by": user.email,
            "previous_task_name": previous.name if previous else "Done",
            "previous_task_id": previous.id if previous else None,
            "next_task_name": target.name if target else "Done",
            "next_task_id": target.id if target else None,
        },
    )
    row.data_row.touch()


def submit(
    state: State,
    project: Project,
    row: QueuedRow,
    user: User,
    annotations: list[Annotation],
    *,
    skipped: bool = False,
    seconds: float = 0.0,
    review: bool = True,
) -> Label:
    """Store a label of a data row. Once it has as many as expected, the data row leaves the labeling queue.

    :param review: whether it then goes to review, or is done
    """
    resolve_relationships(annotations)
    label = Label(
        project=project,
        data_row=row.data_row,
        created_by=user,
        annotations=annotations,
        skipped=skipped,
        seconds_to_label=seconds,
    )
    state.labels[label.id] = label
    project.labels.append(label)
    row.data_row.labels.append(label)
    row.skipped = skipped
    row.reserved_for = None
    row.data_row.touch()
    enough = len(labels_of(project, row)) >= row.expected_labels
    if row.queue is not None and row.queue.queue_type == LABELING and (enough or skipped):
        target = queue(project, REVIEW) if review and not skipped else None
        move(row, target, user, "Skip" if skipped else "Submit")
    return label


def replace_annotations(label: Label, annotations: list[Annotation]) -> None:
    """Change what a label says; it stays the same label."""
    resolve_relationships(annotations)
    label.annotations = annotations
    label.touch()
    label.content_last_updated_at = label.updated_at
    label.data_row.touch()


def rework(row: QueuedRow, label: Label, user: User, annotations: list[Annotation], seconds: float) -> None:
    """Change a rejected label, and send its data row back to review."""
    replace_annotations(label, annotations)
    label.skipped = False
    label.seconds_to_label += seconds
    move(row, queue(label.project, REVIEW), user, "Submit")


def resolve_relationships(annotations: list[Annotation]) -> None:
    """Let relationships name feature ids; imports name the uuids of the lines that made the objects."""
    by_uuid = {one.uuid: one.feature_id for one in annotations if one.uuid}
    for annotation in annotations:
        relationship = annotation.exported.pop("relationship", None)
        if relationship is None:
            continue
        ends = {end: by_uuid.get(relationship[end]) for end in ("source", "target")}
        missing = [end for end, feature_id in ends.items() if feature_id is None]
        if missing:
            raise InvalidInputError(f"The relationship's {missing[0]} is not in the import")
        kind = relationship.get("type", "unidirectional")
        annotation.exported[f"{kind}_relationship"] = ends


def annotations_of(state: State, project: Project, data_row: DataRow, payloads: list[Json]) -> list[Annotation]:
    builder = Builder(state, project, data_row)
    return [annotation for payload in payloads for annotation in builder.build(payload)]


def queued(state: State, project: Project, *, data_row_id: str | None, global_key: str | None) -> QueuedRow:
    """Return a data row's place in a project.

    :raises NotFoundError: the data row is not in the project
    """
    row = state.find_data_row(id=data_row_id, global_key=global_key)
    if row is None or row.id not in project.rows:
        raise NotFoundError("DataRow", data_row_id or global_key)
    return project.rows[row.id]


def review(label: Label, reviewer: User, *, approve: bool, seconds: float = 0.0) -> None:
    """Approve a label, which then is done, or send it to rework."""
    row = label.project.rows[label.data_row.id]
    if workflow_status(row) != "IN_REVIEW":
        raise MalformedError(f"The data row {label.data_row.id} is not in review")
    score = 1.0 if approve else -1.0
    label.reviews.append(Review(score=score, created_by=reviewer, label=label, project=label.project))
    label.seconds_to_review += seconds
    label.touch()
    move(row, None if approve else queue(label.project, REWORK), reviewer, "Approve" if approve else "Reject")


def delete_label(label: Label) -> None:
    """Delete a label; its data row goes back to the labelers when it has no other."""
    label.deleted = True
    label.touch()
    for one in label.project.benchmarks:
        if one.reference_label is label:
            one.deleted = True
    row = label.project.rows.get(label.data_row.id)
    if row is not None and not labels_of(label.project, row):
        row.queue, row.skipped = queue(label.project, LABELING), False


@resolver("Query", "label")
def label(_: None, context: Context, where: Json) -> Label:
    return find("Label", context.state.labels, where["id"])


@resolver("Label", "label")
def label_json(source: Label, _context: Context) -> str:
    return json.dumps({"objects": [one.exported for one in source.annotations if one.is_object]})


@resolver("Label", "reviews")
def label_reviews(source: Label, _context: Context, **paging: object) -> list[Review]:
    return page(source.reviews, **paging)  # type: ignore[arg-type]  # the schema has checked the arguments


@resolver("Mutation", "updateLabel")
def update_label(_: None, context: Context, where: Json, data: Json) -> Label:
    found = find("Label", context.state.labels, where["id"])
    if data.get("deleted"):
        delete_label(found)
    return found


@resolver("Mutation", "deleteLabels")
def delete_labels(_: None, context: Context, labelIds: list[str]) -> list[Label]:  # noqa: N803 GraphQL's name
    found = [find("Label", context.state.labels, one) for one in labelIds]
    for one in found:
        delete_label(one)
    return found


@resolver("Mutation", "createReview")
def create_review(_: None, context: Context, data: Json) -> Review:
    found = find("Label", context.state.labels, data["label"]["connect"]["id"])
    made = Review(score=data["score"], created_by=context.user, label=found, project=found.project)
    found.reviews.append(made)
    found.data_row.touch()
    return made


def make_benchmark(label: Label, user: User) -> Benchmark:
    label.is_benchmark_reference = True
    made = Benchmark(reference_label=label, created_by=user)
    label.project.benchmarks.append(made)
    return made


@resolver("Query", "benchmark")
def benchmark(_: None, context: Context, where: Json) -> Benchmark:
    benchmarks = (one for project in context.state.projects.values() for one in project.benchmarks)
    return find("Benchmark", {one.id: one for one in benchmarks}, where["id"])


@resolver("Mutation", "createBenchmark")
def create_benchmark(_: None, context: Context, data: Json) -> Benchmark:
    return make_benchmark(find("Label", context.state.labels, data["labelId"]), context.user)


@resolver("Mutation", "deleteBenchmark")
def delete_benchmark(_: None, context: Context, where: Json) -> Benchmark:
    reference = find("Label", context.state.labels, where["labelId"])
    for one in alive(reference.project.benchmarks):
        if one.reference_label is reference:
            one.deleted = True
            reference.is_benchmark_reference = False
            return one
    raise NotFoundError("Benchmark", where["labelId"])


@resolver("Mutation", "upsertAutoQaLabelFeedback")
def upsert_feedback(_: None, context: Context, input: Json) -> Json:  # noqa: A002 GraphQL's name
    found = find("Label", context.state.labels, input["labelId"])
    found.scores |= {name: float(score) for name, score in input["scores"].items()}
    scores = [{"id": new_id(), "name": name, "score": score} for name, score in found.scores.items()]
    return {"id": new_id(), "scores": scores}
