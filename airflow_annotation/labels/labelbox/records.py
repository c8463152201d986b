"""The records of a Labelbox export, typed; :mod:`airflow_annotation.labels.labelbox.lines` decodes them.

The format is that of exports of version 2, newline-delimited JSON with one data row a line, described with samples at
https://docs.labelbox.com/reference/export-quick-reference and the pages for each media type beside it.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec


class Point(msgspec.Struct, gc=False):
    """Pixels from the top left corner."""

    x: float
    y: float


class Box(msgspec.Struct, gc=False):
    """Pixels."""

    left: float
    top: float
    width: float
    height: float


class Mask(msgspec.Struct, gc=False):
    """Where a mask is: a file, which is the object's own or has a color for each object, or the mask itself.

    :param url: of an image
    :param color_rgb: the object's color in it, None where all that is not black is the object
    :param png: an image as base64
    :param size: height and width, with ``counts``
    :param counts: COCO's RLE, compressed or not
    """

    url: str | None = None
    color_rgb: tuple[int, int, int] | None = None
    png: str | None = None
    size: tuple[int, int] | None = None
    counts: str | list[int] | None = None


class Words(msgspec.Struct, gc=False):
    """Words of a page of a document."""

    page_number: int
    id: str = ""
    tokens: list[str] = []
    text: str = ""


class Location(msgspec.Struct, gc=False):
    """Characters of a text, the last one included, or words of a document."""

    start: int | None = None
    end: int | None = None
    token: str | None = None
    groups: list[Words] = []


class PageSize(msgspec.Struct, gc=False):
    """Of a page of a document, in points."""

    width: float
    height: float


class Message(msgspec.Struct, gc=False):
    """A message that was chosen, and the one that it answers."""

    message_id: str
    model_config_name: str | None = None
    parent_message_id: str | None = None
    order: int = 0

    @property
    def chosen(self) -> list[Message]:
        """The message."""
        return [self]


class Messages(msgspec.Struct, gc=False):
    """Messages that were chosen, or put in order."""

    messages: list[Message] = []
    ranked_messages: list[Message] = []
    parent_message_id: str | None = None

    @property
    def chosen(self) -> list[Message]:
        """The messages, the best first."""
        return sorted(self.ranked_messages, key=lambda one: one.order) or self.messages


class ConversationalLocation(msgspec.Struct, gc=False):
    """Characters of one message."""

    message_id: str
    location: Location


class Relationship(msgspec.Struct, gc=False):
    """The ids of two objects."""

    source: str
    target: str


class Choice(msgspec.Struct, gc=False):
    """An answer that was chosen, and the answers to what it led to."""

    name: str = ""
    feature_schema_id: str | None = None
    classifications: list[Answer] = []
    confidence: float | None = None


class Text(msgspec.Struct, gc=False):
    """An answer that was written."""

    content: str = ""
    classifications: list[Answer] = []
    confidence: float | None = None


class Answer(msgspec.Struct, gc=False):
    """A classification: the answer to a question about the item, an object, a message, or an answer."""

    feature_id: str | None = None
    feature_schema_id: str | None = None
    name: str = ""
    message_id: str | None = None
    radio_answer: Choice | None = None
    checklist_answers: list[Choice] | None = None
    text_answer: Text | None = None
    conversational_radio_answer: Choice | None = None
    conversational_checklist_answers: list[Choice] | None = None
    conversational_text_answer: Text | None = None
    confidence: float | None = None

    @property
    def radio(self) -> Choice | None:
        """The one that was chosen."""
        return self.radio_answer or self.conversational_radio_answer

    @property
    def checklist(self) -> list[Choice] | None:
        """The ones that were chosen."""
        return self.checklist_answers if self.checklist_answers is not None else self.conversational_checklist_answers

    @property
    def text(self) -> Text | None:
        """What was written."""
        return self.text_answer or self.conversational_text_answer


class Object(msgspec.Struct, gc=False):
    """Something that was drawn, marked or related.

    :param parent_id: of the object that this is a part of, where one was taken apart; not in exports
    """

    feature_id: str | None = None
    feature_schema_id: str | None = None
    name: str = ""
    annotation_kind: str = ""
    classifications: list[Answer] = []
    bounding_box: Box | None = None
    polygon: list[Point | list[Point]] | None = None
    line: list[Point] | None = None
    point: Point | None = None
    mask: Mask | None = None
    composite_mask: Mask | None = None
    location: Location | None = None
    conversational_location: ConversationalLocation | None = None
    unidirectional_relationship: Relationship | None = None
    bidirectional_relationship: Relationship | None = None
    selected_message: Message | None = None
    selected_messages: Messages | None = None
    ranked_messages: Messages | None = None
    page_number: int | None = None
    page_dimensions: PageSize | None = None
    confidence: float | None = None
    parent_id: str | None = None

    @property
    def chosen_messages(self) -> list[Message]:
        """The messages that were chosen, the best first."""
        one = self.selected_message or self.selected_messages or self.ranked_messages
        return [] if one is None else one.chosen


O = TypeVar("O")  # noqa: E741 - an object, decoded or raw
A = TypeVar("A")


class Frame(msgspec.Struct, Generic[O, A], gc=False):
    """What is set in one frame of a video, or at one time of a recording."""

    objects: dict[str, O] = {}
    classifications: list[A] = []


class Annotations(msgspec.Struct, Generic[O, A], gc=False):
    """What a label says.

    :param frames: what is set in frames, counted from 1; the tool interpolates between these frames
    :param timestamp: the same of sound, by milliseconds
    :param segments: first and last frame (or millisecond) in which a feature is there, by its id
    :param key_frame_feature_map: for each feature the frames that a person set, or whether a person set the frame
    """

    objects: list[O] = []
    classifications: list[A] = []
    relationships: list[O] = []
    frames: dict[int, Frame[O, A]] = {}
    timestamp: dict[int, Frame[O, A]] = {}
    segments: dict[str, list[tuple[int, int]]] = {}
    key_frame_feature_map: dict[str, list[int] | dict[int, bool]] = {}


class LabelDetails(msgspec.Struct, gc=False):
    """Who made a label, and when."""

    created_at: str | None = None
    updated_at: str | None = None
    created_by: str | None = None


class PerformanceDetails(msgspec.Struct, gc=False):
    """How a label was made, and how far it agrees with others."""

    seconds_to_create: float | None = None
    skipped: bool | None = None
    benchmark_reference_label: str | None = None
    consensus_score: float | None = None


class Label(msgspec.Struct, Generic[O, A], gc=False):
    """One submission."""

    id: str
    label_details: LabelDetails | None = None
    performance_details: PerformanceDetails | None = None
    annotations: Annotations[O, A] | None = None


class ProjectDetails(msgspec.Struct, gc=False):
    """Where a data row is in a project's workflow."""

    workflow_status: str | None = None
    batch_id: str | None = None
    batch_name: str | None = None
    ontology_id: str | None = None
    priority: int | None = None
    selected_label_id: str | None = None
    consensus_expected_label_count: int | None = None


class Project(msgspec.Struct, Generic[O, A], gc=False):
    """A data row's part in a project."""

    name: str | None = None
    labels: list[Label[O, A]] = []
    project_details: ProjectDetails | None = None


class Run(msgspec.Struct, Generic[O, A], gc=False):
    """A model run that has predictions of the data row."""

    name: str | None = None
    predictions: list[Label[O, A]] = []


class Experiment(msgspec.Struct, Generic[O, A], gc=False):
    """A model."""

    name: str | None = None
    runs: dict[str, Run[O, A]] = {}


class DataRowDetails(msgspec.Struct, gc=False):
    """When and from where a data row came."""

    dataset_id: str | None = None
    dataset_name: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    last_activity_at: str | None = None


class DataRow(msgspec.Struct, gc=False):
    """An item."""

    id: str
    external_id: str | None = None
    global_key: str | None = None
    row_data: str | None = None
    details: DataRowDetails | None = None


class MediaAttributes(msgspec.Struct, gc=False):
    """What Labelbox found out about the media: numbers, or what somebody wrote there."""

    width: Any = None
    height: Any = None
    mime_type: str | None = None
    asset_type: str | None = None
    frame_rate: Any = None
    frame_count: Any = None


class MetadataField(msgspec.Struct, gc=False):
    """A value that somebody attached."""

    schema_name: str
    value: Any = None


class Attachment(msgspec.Struct, gc=False):
    """Something that people see beside the media."""

    type: str | None = None
    value: str | None = None
    name: str | None = None


class DescribedRow(msgspec.Struct, gc=False):
    """A data row, and what somebody attached to it."""

    data_row: DataRow
    metadata_fields: list[MetadataField] = []
    attachments: list[Attachment] = []


class Row(DescribedRow, Generic[O, A], gc=False):
    """A line."""

    media_attributes: MediaAttributes = msgspec.field(default_factory=MediaAttributes)
    projects: dict[str, Project[O, A]] = {}
    experiments: dict[str, Experiment[O, A]] = {}


TypedRow = Row[Object, Answer]
TypedLabel = Label[Object, Answer]
