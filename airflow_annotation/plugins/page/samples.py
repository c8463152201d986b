"""The items of a run that were labeled last: who labeled them, as what, and what was drawn on some of them."""

from __future__ import annotations

import io
import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from airflow_annotation.exceptions import MediaError
from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProject
from airflow_annotation.labels.mask_budget import MaskBudget
from airflow_annotation.labels.masks import RLE, outline_length, rle_bbox
from airflow_annotation.labels.media import Medium, find_asked_media, find_medium, media_of_items
from airflow_annotation.labels.outlines import rle_to_polygons
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.tables import collect_tables
from airflow_annotation.labels.types import CLASSIFICATION_TYPES, LISTS_NO_CLASSES
from airflow_annotation.media.access import AllowedMedia
from airflow_annotation.media.ranges import open_media_in_place

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

_LARGEST_IMAGE: Final = 25 << 20
_IMAGE_TYPES: Final = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}
_COLUMNS: Final = ("type", "label", "labels", "field", "bbox", "rotation", "points", "text", "number", "frame")


class Count(msgspec.Struct, frozen=True):
    """How often something is there."""

    name: str
    count: int


class ShownItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item, or one of its several images, as the page draws it; coordinates are 0..1 of its width and height.

    :param target: which image of the item it is, empty where the item has no other
    :param labels: of the latest submission: columns of the table ``labels``, and ``polygons`` in place of a mask
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
    labels: list[dict[str, Any]]


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
    :param classes: labels by class, those of several by each, those without one by their type
    :param waiting_for_review: submissions whose item waits for a reviewer
    :param pace: None where too few items were completed to tell
    :param items: some of the items
    """

    counted: int
    people: list[Count]
    classes: list[Count]
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
        classes=count_classes(labels),
        waiting_for_review=sum(items[row["item_id"]]["status"] == "in_review" for row in submissions),
        pace=find_pace(_completion_times(items, submissions)),
        items=[
            ShownItem(
                item_id=item_id,
                item_key=items[item_id]["item_key"],
                target=medium.target,
                url=items[item_id]["item_url"],
                media_type=items[item_id]["media_type"],
                width=medium.width,
                height=medium.height,
                status=items[item_id]["status"],
                annotators=[row["annotator"] or "unknown" for row in submissions if row["item_id"] == item_id],
                labels=[_drawn(row, deadline) for row in drawn[:_SHAPES]],
            )
            for item_id, medium, drawn in shown[:SHOWN]
        ],
    )


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


def count_classes(labels: Iterable[Mapping[str, Any]]) -> list[Count]:
    """Return how many labels each class has, the most frequent first.

    :param labels: rows of the table; those of several classes count for each, those without a class by their type
    """
    found: Counter[str] = Counter()
    for row in labels:
        # The column has other things than classes for some: further texts, entries in their order.
        several = list(dict.fromkeys(row["labels"] or ())) if row["type"] not in LISTS_NO_CLASSES else []
        found.update(several or [row["label"] or row["type"]])
    return _counts(found)


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


def find_image(
    hook: AnnotationHook, project_id: str, item_id: str, target: str = "", *, is_in_project: bool = False
) -> str | tuple[bytes, str]:
    """Return the image of an item with its media type where the tool holds it, else the URL that browsers get it from.

    Only from the tool itself anything is read: whoever makes items may put any URL there. Browsers are sent to no host
    of a private network either.

    :param hook: of the tool, which says where the image is and with what key it is read
    :param project_id: the project
    :param item_id: the item
    :param target: which of its images, where it has several
    :param is_in_project: the item was just read from the project, so the tool need not look for it there
    :raises MediaError: it has none, it is too large, or it is no image
    """
    from PIL import Image

    find = hook.find_own_copy if is_in_project else hook.find_media
    found = find(project_id, item_id, target)
    if found is None:
        raise MediaError("The tool does not say where the media of this item is.")
    url, headers = found
    allowed = AllowedMedia(is_own=hook.is_own_url)
    if not headers:
        allowed.check_url(url)
        return url
    with closing(open_media_in_place(url, headers=headers, find_client=allowed.client_for)) as file:
        content = file.read(_LARGEST_IMAGE + 1)
    if len(content) > _LARGEST_IMAGE:
        raise MediaError("The media of this item is too large to be shown here.")
    try:
        with Image.open(io.BytesIO(content), formats=list(_IMAGE_TYPES)) as image:
            return content, _IMAGE_TYPES[image.format or ""]
    except (OSError, KeyError, Image.DecompressionBombError) as error:
        raise MediaError("The media of this item is no image that is shown here.") from error


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


def _drawn(row: dict[str, Any], deadline: float) -> dict[str, Any]:
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
