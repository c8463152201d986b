"""The items of a run that were labeled last: who labeled them, as what, and what was drawn on some of them."""

from __future__ import annotations

import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProject
from airflow_annotation.labels.mask_budget import MaskBudget
from airflow_annotation.labels.masks import RLE, outline_length, rle_bbox
from airflow_annotation.labels.media import Medium, find_asked_media, find_medium, media_of_items
from airflow_annotation.labels.outlines import rle_to_polygons
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.tables import collect_tables
from airflow_annotation.labels.types import CLASSIFICATION_TYPES, LISTS_NO_CLASSES
from airflow_annotation.plugins.page.shown_text import ShownText, shown_texts

COUNTED: Final = 200
"""Items that people and classes are counted in: the last ones, so that the page stays quick however large a run is."""

SHOWN: Final = 12
"""Items that are shown with what was drawn on them."""

_IMAGES: Final = 3
"""Images that are shown of an item that has several."""

_SHAPES: Final = 200
"""Labels that are drawn on an item."""

_MASK_PIXELS: Final = 1 << 26
_OUTLINE_LENGTH: Final = 1 << 16
"""Ends of a mask's runs: one that is divided more finely is shown as its box."""

_MASK_SECONDS: Final = 5.0
"""After so long no more masks are decoded, or outlined: an API server has others to answer."""

_PAUSE: Final = timedelta(hours=1)
"""After so long without a completed item nobody was at work."""

_COLUMNS: Final = (
    *("type", "label", "labels", "field", "target", "bbox", "rotation", "points", "text", "number"),
    *("time", "time_end", "span_start", "span_end"),
)
_PLACES: Final = ("bbox", "points", "mask_counts")
"""The columns of which a label has one that is drawn."""

_PLAYED: Final = frozenset({"video", "audio"})


class Count(msgspec.Struct, frozen=True):
    """How often something is there."""

    name: str
    count: int


class FieldCounts(msgspec.Struct, frozen=True):
    """How many labels of each class a field has."""

    field: str
    classes: list[Count]


class ShownItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item, or one of its several images, as the page draws it; coordinates are 0..1 of its width and height.

    :param target: which image of the item it is, empty where the item has no other
    :param texts: what it shows where it is neither image, video nor sound
    :param labels: of the latest submission: columns of the table ``labels``, and ``polygons`` in place of a mask. Of a
        video, what is drawn is that of one frame.
    :param drawn: how many objects are drawn, those of a video once
    :param shown_at: seconds of the video's frame whose labels are drawn
    """

    item_id: str
    item_key: str
    target: str
    url: str | None
    media_type: str
    width: int | None
    height: int | None
    status: str
    annotators: list[str]
    texts: list[ShownText]
    labels: list[dict[str, Any]]
    drawn: int
    shown_at: float | None


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How fast people complete items while they work: a pause of more than an hour is no work.

    :param items: how many items it was seen of, those that were completed last
    :param hours: of work in which they were completed
    :param since: when the first of them was completed
    :param per_hour: items an hour of work
    """

    items: int
    hours: float
    since: datetime
    per_hour: float


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What the items show that were labeled last.

    :param counted: how many items that is
    :param people: submissions by who made them
    :param fields: labels by field and class
    :param waiting_for_review: submissions whose item waits for a reviewer
    :param pace: None where too few items were completed to tell
    :param items: some of the items
    """

    counted: int
    people: list[Count]
    fields: list[FieldCounts]
    waiting_for_review: int
    pace: Pace | None
    items: list[ShownItem]


def read_sample(hook: AnnotationHook, project: AnnotationProject) -> Sample:
    """Read the items of a project that were labeled last: few requests, however large it is.

    :param hook: of the tool
    :param project: the project
    """
    hook.mask_budget = MaskBudget.of_pixels(_MASK_PIXELS)._replace(deadline=time.monotonic() + _MASK_SECONDS)
    item_ids = hook.list_last_labeled(project.id, COUNTED)
    options = ReadOptions(annotations="latest")
    tables = collect_tables(hook.read_tables(project, options, item_ids) if item_ids else ())
    items = {row["item_id"]: row for row in tables["items"].to_pylist()}
    submissions = [row for row in tables["annotations"].to_pylist() if row["status"] != "draft"]
    labels = tables["labels"].to_pylist()
    deadline = time.monotonic() + _MASK_SECONDS
    people = Counter(row["annotator"] or "unknown" for row in submissions)
    labels_of: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in labels:
        labels_of[row["item_id"]].append(row)
    media = dict(zip(tables["items"]["item_id"].to_pylist(), media_of_items(tables["items"]), strict=True))
    shown = [
        (item_id, medium, drawn)
        for item_id in item_ids
        if item_id in items
        for medium, drawn in _labeled_images(media[item_id], labels_of[item_id])
    ]
    return Sample(
        counted=len(items),
        people=_counts(people),
        fields=count_classes(labels),
        waiting_for_review=sum(items[row["item_id"]]["status"] == "in_review" for row in submissions),
        pace=find_pace(_completion_times(items, submissions)),
        items=[
            _shown_item(
                items[item_id],
                medium,
                drawn,
                [row["annotator"] or "unknown" for row in submissions if row["item_id"] == item_id],
                deadline,
            )
            for item_id, medium, drawn in shown[:SHOWN]
        ],
    )


def _shown_item(
    item: Mapping[str, Any],
    medium: Medium,
    labels: Sequence[Mapping[str, Any]],
    annotators: list[str],
    deadline: float,
) -> ShownItem:
    shapes = [row for row in labels if _is_shape(row)]
    frame = find_fullest_frame(shapes)
    on_frame = [row for row in labels if frame is None or row["frame"] == frame or not _is_shape(row)]
    return ShownItem(
        item_id=item["item_id"],
        item_key=item["item_key"],
        target=medium.target,
        url=item["item_url"],
        media_type=item["media_type"],
        width=medium.width,
        height=medium.height,
        status=item["status"],
        annotators=annotators,
        texts=[] if item["media_type"] in {"image", *_PLAYED} else shown_texts(item["data"]),
        labels=[_drawn(row, deadline) for row in on_frame[:_SHAPES]],
        drawn=len(once_each(shapes)),
        shown_at=next((row["time"] for row in on_frame if row["frame"] == frame and row["time"] is not None), None),
    )


def _is_shape(row: Mapping[str, Any]) -> bool:
    return any(row[name] is not None for name in _PLACES)


def find_fullest_frame(shapes: Iterable[Mapping[str, Any]]) -> int | None:
    """Return the frame of a video that most shapes are on, the first of several such; None where none has a frame.

    :param shapes: rows of the table ``labels``
    """
    counts = Counter(row["frame"] for row in shapes if row["frame"] is not None)
    return min(counts, key=lambda frame: (-counts[frame], frame), default=None)


def once_each(labels: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the labels, of an object that is in many frames of a video only the first.

    :param labels: rows of the table
    """
    found: dict[Any, Mapping[str, Any]] = {}
    for place, row in enumerate(labels):
        of_object = (row["annotation_id"], row["origin"], row["field"], row["track_id"], row["label"])
        found.setdefault(place if row["track_id"] is None else of_object, row)
    return list(found.values())


def _labeled_images(
    media: Sequence[Medium], labels: Sequence[dict[str, Any]]
) -> list[tuple[Medium, list[dict[str, Any]]]]:
    """Return the images of an item with the labels on each; of several, the first ones with labels."""
    found: list[list[dict[str, Any]]] = [[] for _ in media]
    for row in labels:
        at = find_medium(media, row["target"])
        places = find_asked_media(media, row["target"]) if row["type"] in CLASSIFICATION_TYPES else [at]
        for place in places:
            if place is not None:
                found[place].append(row)
    pairs = [(one, drawn) for one, drawn in zip(media, found, strict=True) if drawn or len(media) == 1]
    return pairs[:_IMAGES] or [(media[0], [])]


def count_classes(labels: Iterable[Mapping[str, Any]]) -> list[FieldCounts]:
    """Return how many labels each class of each field has, the most frequent first; fields in the order of their names.

    An object of a video is one label, however many frames it is in.

    :param labels: rows of the table; those of several classes count for each, those without a class by their type
    """
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in once_each(labels):
        # The column has other things than classes for some: further texts, entries in their order.
        several = list(dict.fromkeys(row["labels"] or ())) if row["type"] not in LISTS_NO_CLASSES else []
        found[row["field"]].update(several or [row["label"] or row["type"]])
    return [FieldCounts(field, _counts(counter)) for field, counter in sorted(found.items())]


def find_pace(times: Iterable[datetime]) -> Pace | None:
    """Return how fast items were completed while somebody worked, None where they are too few to tell.

    :param times: when each of the items was completed
    """
    ordered = sorted(times)
    gaps = [later - earlier for earlier, later in itertools.pairwise(ordered)]
    worked = [gap for gap in gaps if gap <= _PAUSE]
    hours = sum(worked, timedelta()) / timedelta(hours=1)
    if not hours:
        return None
    # The item after a pause is left out with the pause: how long it took is not known.
    return Pace(items=len(worked), hours=hours, since=ordered[0], per_hour=len(worked) / hours)


def _completion_times(items: Mapping[str, Any], submissions: Iterable[Mapping[str, Any]]) -> list[datetime]:
    """Return when each of the completed items was: an item of several people when the last of them had finished."""
    times: dict[str, datetime] = {}
    for row in submissions:
        made, item = row["created_at"], items[row["item_id"]]
        if made is not None and row["status"] != "skipped" and item["status"] not in {"partial", "skipped"}:
            times[row["item_id"]] = max(made, times.get(row["item_id"], made))
    return list(times.values())


def _counts(counter: Counter[str]) -> list[Count]:
    return [Count(name, count) for name, count in sorted(counter.items(), key=lambda pair: (-pair[1], pair[0]))]


def _drawn(row: Mapping[str, Any], deadline: float) -> dict[str, Any]:
    drawn = {name: row[name] for name in _COLUMNS if row[name] is not None}
    if row["mask_counts"] is not None:
        height, width = row["mask_size"]
        rle = RLE((height, width), row["mask_counts"])
        x, y, across, down = rle_bbox(rle)
        if time.monotonic() > deadline or outline_length(rle) > _OUTLINE_LENGTH:
            return {**drawn, "bbox": [x / width, y / height, across / width, down / height], "rotation": 0.0}
        polygons: Iterable[Any] = rle_to_polygons(rle)
        drawn["polygons"] = [
            [[[round(float(x), 4), round(float(y), 4)] for x, y in ring] for ring in rings] for rings in polygons
        ]
    return drawn
