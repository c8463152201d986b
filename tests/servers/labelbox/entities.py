"""What the service stores. Field names are those of the GraphQL schema in snake case."""

from __future__ import annotations

import itertools
import random
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

Json = dict[str, Any]

_sequence = itertools.count(1)


def new_id() -> str:
    """Return an id of Labelbox's form: `c` and 24 more digits and small letters, sorted by creation."""
    return f"c{int(time.time() * 1000):011x}{next(_sequence) & 0xFFFFFF:06x}{random.getrandbits(28):07x}"


def now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(eq=False, kw_only=True)
class Entity:
    id: str = field(default_factory=new_id)
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)
    deleted: bool = False

    def touch(self) -> None:
        self.updated_at = now()


@dataclass(eq=False, kw_only=True)
class Role(Entity):
    name: str


@dataclass(eq=False, kw_only=True)
class User(Entity):
    email: str
    name: str
    nickname: str
    org_role: Role
    picture: str = ""
    is_external_user: bool = False
    is_viewer: bool = False
    last_login_at: datetime | None = None
    timezone: str = "UTC"


@dataclass(eq=False, kw_only=True)
class ResourceTag(Entity):
    text: str
    color: str


@dataclass(eq=False, kw_only=True)
class IamIntegration(Entity):
    name: str
    provider: str
    settings: Json
    valid: bool = True
    last_valid_at: datetime | None = field(default_factory=now)
    is_org_default: bool = False


@dataclass(eq=False, kw_only=True)
class Ontology(Entity):
    name: str
    media_type: str | None
    normalized: Json
    created_by: User
    description: str = ""
    archived: set[str] = field(default_factory=set)

    @property
    def object_schema_count(self) -> int:
        return len(self.normalized["tools"])

    @property
    def classification_schema_count(self) -> int:
        return len(self.normalized["classifications"])


@dataclass(eq=False, kw_only=True)
class RootSchemaNode(Entity):
    """A top level feature: a tool or a classification with everything below it."""

    normalized: Json

    @property
    def name(self) -> str:
        return str(self.normalized["name"])


@dataclass(eq=False, kw_only=True)
class Dataset(Entity):
    name: str
    created_by: User
    description: str = ""
    signer: IamIntegration | None = None


@dataclass(eq=False, kw_only=True)
class Attachment(Entity):
    type: str
    value: str
    name: str | None = None


@dataclass(eq=False, kw_only=True)
class DataRow(Entity):
    dataset: Dataset
    created_by: User
    row_data: str
    media_type: str
    external_id: str | None = None
    global_key: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    attachments: list[Attachment] = field(default_factory=list)
    media_attributes: Json = field(default_factory=dict)
    text_layer_url: str | None = None
    labels: list[Label] = field(default_factory=list)
    processing_error: str | None = None
    processed_at: float = 0.0
    last_activity_at: datetime = field(default_factory=now)

    @property
    def processed(self) -> bool:
        return time.monotonic() >= self.processed_at

    def touch(self) -> None:
        """Note activity. The documentation names the creation and modification of labels, metadata, the place in the
        workflow, comments and reviews. Nothing else but an update of the data row itself moves the time here, also
        where the service may do more.
        """
        super().touch()
        self.last_activity_at = self.updated_at


@dataclass(eq=False, kw_only=True)
class Batch(Entity):
    name: str
    created_by: User
    priority: int
    consensus_settings: Json | None = None


@dataclass(eq=False, kw_only=True)
class TaskQueue(Entity):
    name: str
    queue_type: str
    description: str = ""


@dataclass(eq=False, kw_only=True)
class QueuedRow:
    """A data row in a project: which batch sent it there, and where in the workflow it is."""

    data_row: DataRow
    batch: Batch
    queue: TaskQueue | None
    priority: int
    expected_labels: int = 1
    workflow_history: list[Json] = field(default_factory=list)
    skipped: bool = False
    reserved_for: User | None = None


@dataclass(eq=False, kw_only=True)
class Review(Entity):
    score: float
    created_by: User
    label: Label
    project: Project


@dataclass(eq=False, kw_only=True)
class Label(Entity):
    project: Project
    data_row: DataRow
    created_by: User
    annotations: list[Any] = field(default_factory=list)
    skipped: bool = False
    is_benchmark_reference: bool = False
    benchmark_agreement: float | None = None
    agreement: float | None = None
    seconds_to_label: float = 0.0
    seconds_to_review: float = 0.0
    reviews: list[Review] = field(default_factory=list)
    content_last_updated_at: datetime = field(default_factory=now)
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(eq=False, kw_only=True)
class Benchmark(Entity):
    reference_label: Label
    created_by: User
    average_agreement: float | None = None
    completed_count: int = 0
    last_activity: datetime | None = None


@dataclass(eq=False, kw_only=True)
class Project(Entity):
    name: str
    created_by: User
    allowed_media_type: str
    description: str | None = None
    auto_audit_number_of_labels: int = 1
    auto_audit_percentage: float = 1.0
    is_benchmark_enabled: bool = False
    is_consensus_enabled: bool = False
    editor_task_type: str | None = None
    model_setup_complete: bool | None = None
    upload_type: str | None = None
    ontology: Ontology | None = None
    instructions_url: str | None = None
    showing_predictions_to_labelers: bool = False
    batches: list[Batch] = field(default_factory=list)
    queues: list[TaskQueue] = field(default_factory=list)
    rows: dict[str, QueuedRow] = field(default_factory=dict)
    labels: list[Label] = field(default_factory=list)
    benchmarks: list[Benchmark] = field(default_factory=list)
    resource_tags: list[ResourceTag] = field(default_factory=list)
    setup_complete: datetime | None = None


@dataclass(eq=False, kw_only=True)
class MetadataSchema(Entity):
    name: str
    kind: str
    reserved: bool = False
    options: list[MetadataSchema] = field(default_factory=list)


@dataclass(eq=False, kw_only=True)
class Task(Entity):
    """Work that takes a moment. `result` and `errors` are URLs, or for some types JSON in a string."""

    name: str
    type: str
    created_by: User
    status: str = "IN_PROGRESS"
    completion_percentage: float = 0.0
    result: str | None = None
    errors: str | None = None
    metadata: Json = field(default_factory=dict)
    output: Json = field(default_factory=dict)


@dataclass(eq=False, kw_only=True)
class AnnotationImport(Entity):
    kind: str
    name: str
    project: Project
    created_by: User
    input_file_url: str
    state: str = "RUNNING"
    progress: str | None = None
    error_file_url: str | None = None
    status_file_url: str | None = None
    predictions: list[Any] = field(default_factory=list)
