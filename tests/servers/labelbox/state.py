"""Everything that the stand-in knows, and the clock that finishes its asynchronous work."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

from .entities import (
    AnnotationImport,
    DataRow,
    Dataset,
    Entity,
    IamIntegration,
    Json,
    Label,
    MetadataSchema,
    Ontology,
    Project,
    ResourceTag,
    Role,
    RootSchemaNode,
    Task,
    User,
    new_id,
)
from .errors import NotFoundError

E = TypeVar("E", bound=Entity)

ROLES = ("NONE", "LABELER", "REVIEWER", "TEAM_MANAGER", "PROJECT_LEAD", "ADMIN")
"""Names of the organization and project roles that a new Labelbox organization has."""

RESERVED_METADATA = (
    ("cko8s9r5v0001h2dk9elqdidh", "tag", "CustomMetadataString", ()),
    (
        "cko8sbczn0002h2dkdaxb5kal",
        "split",
        "CustomMetadataEnum",
        (
            ("cko8sbscr0003h2dk04w86hof", "train"),
            ("cko8sc2yr0004h2dk69aj5x63", "valid"),
            ("cko8scbz70005h2dkastwhgqt", "test"),
        ),
    ),
    ("cko8sdzv70006h2dk8jg64zvb", "captureDateTime", "CustomMetadataDateTime", ()),
)
"""The metadata fields that every organization has, with the ids that the service gives them."""


@dataclass
class Settings:
    """What a test may change.

    :param task_seconds: how long tasks and imports stay in progress; 0 finishes them within the request
    :param processing_seconds: how long new data rows count as being processed
    :param key_release_seconds: how long the global key of a deleted data row stays taken
    :param requests_per_minute: above it the service answers 429
    :param export_chunk_bytes: exports are handed out in files of about this size
    """

    task_seconds: float = 0.3
    processing_seconds: float = 0.0
    key_release_seconds: float = 0.0
    requests_per_minute: int | None = None
    export_chunk_bytes: int = 1_000_000


@dataclass
class StoredFile:
    content: bytes
    content_type: str
    name: str
    expires_at: float | None = None


@dataclass
class Job:
    due: float
    work: Callable[[], None]


@dataclass
class State:
    api_key: str
    base_url: str = ""
    settings: Settings = field(default_factory=Settings)
    lock: threading.RLock = field(default_factory=threading.RLock)
    organization: Entity = field(default_factory=Entity)
    roles: list[Role] = field(default_factory=lambda: [Role(name=name) for name in ROLES])
    users: dict[str, User] = field(default_factory=dict)
    resource_tags: dict[str, ResourceTag] = field(default_factory=dict)
    iam_integrations: dict[str, IamIntegration] = field(default_factory=dict)
    ontologies: dict[str, Ontology] = field(default_factory=dict)
    schema_nodes: dict[str, RootSchemaNode] = field(default_factory=dict)
    projects: dict[str, Project] = field(default_factory=dict)
    datasets: dict[str, Dataset] = field(default_factory=dict)
    data_rows: dict[str, DataRow] = field(default_factory=dict)
    global_keys: dict[str, DataRow] = field(default_factory=dict)
    held_keys: dict[str, float] = field(default_factory=dict)
    labels: dict[str, Label] = field(default_factory=dict)
    metadata_schemas: dict[str, MetadataSchema] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    imports: list[AnnotationImport] = field(default_factory=list)
    key_jobs: dict[str, Json] = field(default_factory=dict)
    files: dict[str, StoredFile] = field(default_factory=dict)
    masks: dict[tuple[str, int], bytes] = field(default_factory=dict)
    predictions: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    media: dict[str, Json] = field(default_factory=dict)
    web: dict[str, StoredFile] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    failing_tasks: dict[str, list[str]] = field(default_factory=dict)
    operations: Counter[str] = field(default_factory=Counter)
    operations_lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.owner = self.add_user("owner@example.com")
        for schema_id, name, kind, options in RESERVED_METADATA:
            self.metadata_schemas[schema_id] = MetadataSchema(
                id=schema_id,
                name=name,
                kind=kind,
                reserved=True,
                options=[
                    MetadataSchema(id=option_id, name=option, kind="CustomMetadataEnumOption", reserved=True)
                    for option_id, option in options
                ],
            )

    def add_user(self, email: str, role: str = "ADMIN") -> User:
        """Return the user with this e-mail address, who joins the organization if need be."""
        for user in self.users.values():
            if user.email == email:
                return user
        org_role = next(one for one in self.roles if one.name == role)
        user = User(email=email, name=email.partition("@")[0], nickname=email.partition("@")[0], org_role=org_role)
        self.users[user.id] = user
        return user

    def later(self, work: Callable[[], None]) -> None:
        """Do work once `task_seconds` have passed, or at once if that is 0."""
        if self.settings.task_seconds <= 0:
            work()
        else:
            self.jobs.append(Job(time.monotonic() + self.settings.task_seconds, work))

    def advance(self) -> None:
        """Do what has become due. Every request begins with it, so the clock needs no thread."""
        due = [job for job in self.jobs if job.due <= time.monotonic()]
        self.jobs = [job for job in self.jobs if job not in due]
        for job in due:
            job.work()

    def store(self, content: bytes, content_type: str, name: str = "file") -> str:
        """Keep a file and return its signed URL: anybody who has it can read the file."""
        key = new_id()
        self.files[key] = StoredFile(content, content_type, name)
        return f"{self.base_url}/storage/{key}/{quote(name)}?signature={new_id()}"

    def stored(self, url: str) -> StoredFile | None:
        """Return the file behind one of the stand-in's own URLs."""
        prefix = f"{self.base_url}/storage/"
        if not url.startswith(prefix):
            return None
        return self.files.get(url.removeprefix(prefix).partition("/")[0])

    def find_data_row(self, *, id: str | None = None, global_key: str | None = None) -> DataRow | None:  # noqa: A002 GraphQL's name
        row = self.data_rows.get(id) if id else self.global_keys.get(global_key or "")
        return None if row is None or row.deleted else row

    def key_is_taken(self, global_key: str) -> bool:
        return global_key in self.global_keys or self._is_held(global_key)

    def release_key(self, data_row: DataRow) -> None:
        if data_row.global_key is not None:
            self.global_keys.pop(data_row.global_key, None)
            self.held_keys[data_row.global_key] = time.monotonic()

    def _is_held(self, global_key: str) -> bool:
        released = self.held_keys.get(global_key)
        return released is not None and time.monotonic() < released + self.settings.key_release_seconds


def find(kind: str, entities: dict[str, E], identifier: str) -> E:
    """Return the entity with this id.

    :raises NotFoundError: there is none, or it was deleted
    """
    entity = entities.get(identifier)
    if entity is None or entity.deleted:
        raise NotFoundError(kind, identifier)
    return entity


def alive(entities: Iterable[E]) -> list[E]:
    return [entity for entity in entities if not entity.deleted]
