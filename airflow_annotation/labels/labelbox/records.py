"""Types of the records of a Labelbox export, which :mod:`airflow_annotation.labels.labelbox.lines` decodes.

This is the format of exports of version 2: newline-delimited JSON with one data row for each line. It is described with
samples at https://docs.labelbox.com/reference/export-quick-reference and the pages for each media type next to it.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec


class Point(msgspec.Struct, gc=False):
    """A point, in pixels from the top left corner."""

    x: float
    y: float


class Box(msgspec.Struct, gc=False):
    """A box, in pixels."""

    left: float
    top: float
    width: float
    height: float


class Mask(msgspec.Struct, gc=False):
    """A mask, or the place of one: a file for one object, or a file with a color for each object.

    :param url: URL of an image
    :param color_rgb: color of the object in the image, None if all pixels that are not black are the object
    :param png: image as base64
    :param size: height and width in pixels, with ``counts``
    :param counts: COCO's RLE, compressed or not
    """

    url: str | None = None
    color_rgb: tuple[int, int, int] | None = None
    png: str | None = None
    size: tuple[int, int] | None = None
    counts: str | list[int] | None = None


class Words(msgspec.Struct, gc=False):
    """Words on a page of a document."""

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
    """Size of a page of a document, in points."""

    width: float
    height: float


class Message(msgspec.Struct, gc=False):
    """A chosen message, and the message that it answers."""

    message_id: str
    model_config_name: str | None = None
    parent_message_id: str | None = None
    order: int = 0

    @property
    def chosen(self) -> list[Message]:
        """The message."""
        return [self]


class Messages(msgspec.Struct, gc=False):
    """Messages that were chosen or ordered."""

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
    """A chosen answer, and the answers to the questions to which it led."""

    name: str = ""
    feature_schema_id: str | None = None
    classifications: list[Answer] = []
    confidence: float | None = None


class Text(msgspec.Struct, gc=False):
    """A written answer."""

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
        """The chosen answer."""
        return self.radio_answer or self.conversational_radio_answer

    @property
    def checklist(self) -> list[Choice] | None:
        """The chosen answers."""
        return self.checklist_answers if self.checklist_answers is not None else self.conversational_checklist_answers

    @property
    def text(self) -> Text | None:
        """The written text."""
        return self.text_answer or self.conversational_text_answer


class Object(msgspec.Struct, gc=False):
    """A drawn or marked object, or a relation.

    :param parent_id: id of the object of which this is a part, if one was split; not in exports
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
        """The chosen messages, the best first."""
        one = self.selected_message or self.selected_messages or self.ranked_messages
        return [] if one is None else one.chosen


O = TypeVar("O")  # noqa: E741 - an object, decoded or raw
A = TypeVar("A")


class Frame(msgspec.Struct, Generic[O, A], gc=False):
    """The objects and answers that are set in one frame of a video, or at one time of a recording."""

    objects: dict[str, O] = {}
    classifications: list[A] = []


class Annotations(msgspec.Struct, Generic[O, A], gc=False):
    """The content of a label.

    :param frames: objects and answers that are set in frames, counted from 1; the tool interpolates between these
        frames
    :param timestamp: the same for sound, by milliseconds
    :param segments: first and last frame (or millisecond) of each segment in which a feature exists, by the feature's
        id
    :param key_frame_feature_map: for each feature, the frames that a person set, or whether a person set the frame
    """

    objects: list[O] = []
    classifications: list[A] = []
    relationships: list[O] = []
    frames: dict[int, Frame[O, A]] = {}
    timestamp: dict[int, Frame[O, A]] = {}
    segments: dict[str, list[tuple[int, int]]] = {}
    key_frame_feature_map: dict[str, list[int] | dict[int, bool]] = {}


class LabelDetails(msgspec.Struct, gc=False):
    """The annotator and the times of a label."""

    created_at: str | None = None
    updated_at: str | None = None
    created_by: str | None = None


class PerformanceDetails(msgspec.Struct, gc=False):
    """The work on a label, and its agreement with others."""

    seconds_to_create: float | None = None
    skipped: bool | None = None
    benchmark_reference_label: str | None = None
    consensus_score: float | None = None


class MeasuredLabel(msgspec.Struct, gc=False):
    """A submission, and what Labelbox measured of it."""

    performance_details: PerformanceDetails | None = None

    @property
    def skipped(self) -> bool:
        """Whether its annotator skipped the data row."""
        return self.performance_details is not None and bool(self.performance_details.skipped)


class Label(MeasuredLabel, Generic[O, A], kw_only=True, gc=False):
    """One submission, with its content."""

    id: str
    label_details: LabelDetails | None = None
    annotations: Annotations[O, A] | None = None


class ProjectDetails(msgspec.Struct, gc=False):
    """The place of a data row in a project's workflow."""

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
    """The origin of a data row, and the time when it was created."""

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
    """Labelbox's properties of the media: numbers, or values that somebody wrote there."""

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
    """Content that people see next to the media."""

    type: str | None = None
    value: str | None = None
    name: str | None = None


class DescribedRow(msgspec.Struct, gc=False):
    """A data row, and the metadata and attachments that somebody added."""

    data_row: DataRow
    metadata_fields: list[MetadataField] = []
    attachments: list[Attachment] = []


class Row(DescribedRow, Generic[O, A], gc=False):
    """A line of an export."""

    media_attributes: MediaAttributes = msgspec.field(default_factory=MediaAttributes)
    projects: dict[str, Project[O, A]] = {}
    experiments: dict[str, Experiment[O, A]] = {}


TypedRow = Row[Object, Answer]
TypedLabel = Label[Object, Answer]
