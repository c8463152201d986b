"""Items with their labels, in the form that the page draws."""

from __future__ import annotations

import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.labels.mask_budget import MaskBudget
from airflow_annotation.labels.masks import RLE, outline_length, rle_bbox
from airflow_annotation.labels.media import Medium, find_asked_media, find_medium, media_of_items, split_target
from airflow_annotation.labels.media_types import FILES
from airflow_annotation.labels.outlines import rle_to_polygons
from airflow_annotation.labels.types import CLASSIFICATION_TYPES
from airflow_annotation.plugins.page.shown_text import ShownText, shown_texts

_MASK_PIXELS: Final = 1 << 26
_MASK_SECONDS: Final = 5.0
"""Seconds after which no more masks are decoded, and seconds after which no more outlines are made."""

_IMAGES: Final = 3
"""Maximum number of shown images of an item with several images."""

_SHAPES: Final = 200
"""Maximum number of labels of a shown item or image."""

_OUTLINE_LENGTH: Final = 1 << 16
"""Maximum length of a mask's outline, as :func:`~airflow_annotation.labels.masks.outline_length` counts it. A mask with
a longer one is shown as its box."""

_OUTLINES_LENGTH: Final = 1 << 20
"""Maximum length of all outlines of a page, which are then some 16 MB. Masks after that are shown as their boxes."""

_COLUMNS: Final = (
    *("type", "label", "labels", "field", "target", "bbox", "rotation", "points", "text", "number"),
    *("time", "time_end", "span_start", "span_end"),
)
_PLACES: Final = ("bbox", "points", "mask_counts")
"""The columns with shapes: a drawn label has one of them."""

_SEEN: Final = frozenset({"image", "video", "audio"})
"""Kinds of media that are shown themselves. For other kinds, the texts of the item's data are shown."""


class ShownItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item, or one of its several images, as the page draws it. Coordinates are 0..1 of its width and height.

    :param target: which image of the item it is; empty if the item has only one
    :param texts: texts of the item's data, unless it is an image, video or sound
    :param has_file: whether the page reads a file of the kind ``media_type`` to show the item
    :param labels: labels as dictionaries: columns of the table ``labels``, and the ``annotator``. A mask is
        ``polygons``. A label on a page of a document has ``page``, counted from 0, and ``page_size``. A span of a
        conversation has ``messages``: the numbers, from 0, of its first and its last message. A span whose times are
        not numbers has these ``times`` as text and, if they are dates, as ``clock`` in seconds since 1970. For a video,
        the shapes are those of one frame
    :param drawn: number of objects with shapes; an object of a video counts once
    :param shown_at: time of the video's frame whose shapes are drawn, in seconds
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
    has_file: bool
    labels: list[dict[str, Any]]
    drawn: int
    shown_at: float | None


def page_budget() -> MaskBudget:
    """Return the limits for the masks of one page. Its time starts now."""
    return MaskBudget.of_pixels(_MASK_PIXELS)._replace(deadline=time.monotonic() + _MASK_SECONDS)


class Outlines:
    """The outlines of one page's masks, with limits, since the API server has other requests to answer."""

    def __init__(self) -> None:
        self._deadline = time.monotonic() + _MASK_SECONDS
        self._left = _OUTLINES_LENGTH

    def find(self, rle: RLE) -> list[list[Any]] | None:
        """Return a mask's polygons, each a list of rings with relative coordinates; None beyond the limits."""
        if time.monotonic() > self._deadline:
            return None
        length = outline_length(rle)
        if length > min(_OUTLINE_LENGTH, self._left):
            return None
        self._left -= length
        return [[ring.round(4).tolist() for ring in rings] for rings in rle_to_polygons(rle)]


def show_items(
    tables: Mapping[str, pa.Table], item_ids: Sequence[str], most: int, outlines: Outlines
) -> list[ShownItem]:
    """Return items as the page draws them. An item with several images comes once for each image with labels.

    :param tables: result of :func:`~airflow_annotation.labels.tables.collect_tables`
    :param item_ids: ids of the items, in the order of the result; ids that the tables do not have are left out
    :param most: maximum number of results
    :param outlines: outlines of the page's masks, the same object for the whole page
    """
    rows = {
        name: table.filter(pc.is_in(table["item_id"], pa.array(item_ids, pa.string())))
        for name, table in tables.items()
    }
    items = {row["item_id"]: row for row in rows["items"].to_pylist()}
    labels: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows["labels"].to_pylist():
        labels[row["item_id"]].append(row)
    annotators: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for row in rows["annotations"].to_pylist():
        if row["status"] != "draft":
            annotators[row["item_id"]][row["annotation_id"]] = row["annotator"] or "unknown"
    media = dict(zip(rows["items"]["item_id"].to_pylist(), media_of_items(rows["items"]), strict=True))
    shown = (
        (item_id, medium, drawn)
        for item_id in item_ids
        if item_id in items
        for medium, drawn in _labeled_images(media[item_id], labels[item_id])
    )
    return [
        _show_item(items[item_id], medium, drawn, annotators[item_id], outlines)
        for item_id, medium, drawn in itertools.islice(shown, most)
    ]


def _show_item(
    item: Mapping[str, Any],
    medium: Medium,
    labels: Sequence[Mapping[str, Any]],
    annotators: Mapping[str, str],
    outlines: Outlines,
) -> ShownItem:
    shapes = [row for row in labels if _is_shape(row)]
    frame = find_fullest_frame(shapes)
    on_frame = [row for row in labels if frame is None or row["frame"] == frame or not _is_shape(row)]
    texts = [] if item["media_type"] in _SEEN else shown_texts(item["data"], is_html=item["media_type"] == "html")
    return ShownItem(
        item_id=item["item_id"],
        item_key=item["item_key"],
        target=medium.target,
        url=item["item_url"],
        media_type=item["media_type"],
        width=medium.width,
        height=medium.height,
        status=item["status"],
        annotators=list(dict.fromkeys(annotators.values())),
        texts=texts,
        has_file=item["media_uri"] is not None and (item["media_type"] in FILES or not texts),
        labels=[_drawn(row, annotators, outlines) for row in on_frame[:_SHAPES]],
        drawn=len(once_each(shapes)),
        shown_at=next((row["time"] for row in shapes if row["frame"] == frame and row["time"] is not None), None),
    )


def _is_shape(row: Mapping[str, Any]) -> bool:
    return any(row[name] is not None for name in _PLACES)


def find_fullest_frame(shapes: Iterable[Mapping[str, Any]]) -> int | None:
    """Return the first of the video's frames with the most shapes, None if no shape has a frame.

    :param shapes: rows of the table ``labels``
    """
    counts = Counter(row["frame"] for row in shapes if row["frame"] is not None)
    return min(counts, key=lambda frame: (-counts[frame], frame), default=None)


def once_each(labels: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the labels without repeated objects: of an object in several frames of a video, only the first label.

    :param labels: rows of the table ``labels``
    """
    found: dict[Any, Mapping[str, Any]] = {}
    for place, row in enumerate(labels):
        of_object = (row["annotation_id"], row["origin"], row["field"], row["track_id"], row["label"])
        found.setdefault(place if row["track_id"] is None else of_object, row)
    return list(found.values())


def _labeled_images(
    media: Sequence[Medium], labels: Sequence[dict[str, Any]]
) -> list[tuple[Medium, list[dict[str, Any]]]]:
    """Return the images of an item with the labels on each. Of several images, return the first ones with labels."""
    found: list[list[dict[str, Any]]] = [[] for _ in media]
    for row in labels:
        at = find_medium(media, row["target"])
        places = find_asked_media(media, row["target"]) if row["type"] in CLASSIFICATION_TYPES else [at]
        for place in places:
            if place is not None:
                found[place].append(row)
    pairs = [(one, drawn) for one, drawn in zip(media, found, strict=True) if drawn or len(media) == 1]
    return pairs[:_IMAGES] or [(media[0], [])]


def _drawn(row: Mapping[str, Any], annotators: Mapping[str, str], outlines: Outlines) -> dict[str, Any]:
    drawn = {name: row[name] for name in _COLUMNS if row[name] is not None}
    drawn["annotator"] = annotators.get(row["annotation_id"], "unknown")
    page = split_target(row["target"] or "")[1]
    if page is not None or (row["type"] == "span" and row["time"] is None):
        drawn |= _place(row, page)
    if row["mask_counts"] is not None:
        height, width = row["mask_size"]
        rle = RLE((height, width), row["mask_counts"])
        polygons = outlines.find(rle)
        if polygons is None:
            x, y, across, down = rle_bbox(rle)
            return {**drawn, "bbox": [x / width, y / height, across / width, down / height], "rotation": 0.0}
        drawn["polygons"] = polygons
    return drawn


def _place(row: Mapping[str, Any], page: int | None) -> dict[str, Any]:
    """Return a label's place that no column of the table has: a page, messages, or times that are not numbers."""
    attributes = msgspec.json.decode(row["attributes"] or "{}")
    if not isinstance(attributes, dict):
        return {}
    if page is not None:
        return {"page": page, "page_size": attributes.get("page_size")}
    ends = [one for one in (attributes.get("start"), attributes.get("end")) if isinstance(one, str)]
    if len(ends) < 2:
        return {}
    if row["span_start"] is not None:
        # In a web page, the ends are paths of elements, not numbers.
        return {"messages": [int(one) for one in ends]} if all(one.isdecimal() for one in ends) else {}
    try:
        return {"times": ends, "clock": [_seconds(one) for one in ends]}
    except ValueError:
        return {"times": ends}


def _seconds(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
