"""What of the records that people make with Label Studio's templates is found in label rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from airflow_annotation.labels.label_studio.answer_values import join_path
from airflow_annotation.labels.label_studio.media_objects import DEFAULT_FRAME_RATE
from airflow_annotation.labels.masks import brush_to_rle
from tests.hooks.label_studio_templates import HEIGHT, WIDTH, Record, Row


def missing_values(record: Record, rows: list[Row], items: list[Row]) -> list[str]:
    """Return the parts of a record that the rows do not say.

    :param record: of a submission
    :param rows: the label rows of the record
    :param items: rows of ``items``, which have what a record says of its media
    """
    said = [_decoded(row) for row in rows]
    pool = [leaf for row in said for leaf in _leaves(row)]
    numbers = np.array([leaf for leaf in pool if isinstance(leaf, (int, float)) and not isinstance(leaf, bool)], float)
    texts = {leaf for leaf in pool if isinstance(leaf, str)}
    missing = []
    for path, value in _paths(record):
        if path[-1] in SAID_OTHERWISE:
            found = SAID_OTHERWISE[path[-1]](value, said, items)
        elif isinstance(value, (int, float)):
            found = bool(np.isclose(numbers, value).any() or np.isclose(numbers * 100, value).any())
        else:
            found = value in texts
        if not found:
            missing.append(f"{'.'.join(path)} = {value!r}")
    return missing


def _is_media_size(value: Any, _: list[Row], items: list[Row]) -> bool:
    return value in {leaf for item in items for leaf in _leaves(_decoded(item)) if isinstance(leaf, (int, float))}


def _is_on_page(value: Any, rows: list[Row], _: list[Row]) -> bool:
    return any(row["target"].endswith(f"[{value}]") for row in rows)


def _is_instant(value: Any, rows: list[Row], _: list[Row]) -> bool:
    ends = [(row["time"], row["time_end"]) for row in rows if row["time"] is not None]
    ends += [(row["attributes"]["start"], row["attributes"]["end"]) for row in rows if row["time"] is None]
    return all((start == end) == value for start, end in ends)


def _is_mask(value: Any, rows: list[Row], _: list[Row]) -> bool:
    mask = brush_to_rle(value, WIDTH, HEIGHT)
    return [(row["mask_size"], row["mask_counts"]) for row in rows] == [([*mask.size], mask.counts)]


def _has_paths(value: Any, rows: list[Row], _: list[Row]) -> bool:
    classes = [class_ if isinstance(class_, str) else join_path(class_) for class_ in value]
    leaves = [leaf for row in rows for leaf in _leaves(row)]
    return all(class_ in leaves for class_ in classes)


def _are_key_frames(value: Any, rows: list[Row], _: list[Row]) -> bool:
    """Return whether there is a row for each key frame: its number, box, turn, and whether the object ends there."""
    said = [
        [
            row["tool_frame"],
            *np.round(np.array(row["bbox"]) * 100, 6).tolist(),
            row["rotation"] or 0.0,
            (row["attributes"] or {}).get("enabled", True),
        ]
        for row in rows
    ]
    names = ("frame", "x", "y", "width", "height", "rotation", "enabled")
    return said == [[frame[name] for name in names] for frame in value]


def _is_ellipse(value: Any, rows: list[Row], _: list[Row]) -> bool:
    """Return whether there is the box around an ellipse that is not turned."""
    x, y, width, height = np.array(rows[0]["bbox"]) * 100
    said = [x + width / 2, y + height / 2, width / 2, height / 2, rows[0]["rotation"]]
    return bool(np.allclose(said, [value[name] for name in ("x", "y", "radiusX", "radiusY", "rotation")]))


def _are_ranges(value: Any, rows: list[Row], _: list[Row]) -> bool:
    """Return whether there is a row for each range of frames; a row ends at the end of the last one, in seconds."""
    ends = [round(row["time_end"] * DEFAULT_FRAME_RATE, 6) for row in rows]
    return [(row["tool_frame"], end) for row, end in zip(rows, ends, strict=True)] == [
        (part["start"], part["end"]) for part in value
    ]


def _is_own_target(value: Any, rows: list[Row], _: list[Row]) -> bool:
    return any((row["target"] or row["field"]).partition("[")[0] == value for row in rows)


SAID_OTHERWISE: Final[dict[str, Callable[[Any, list[Row], list[Row]], bool]]] = {
    "choices": _has_paths,
    "duration": lambda *_: True,  # of the file
    "framesCount": lambda *_: True,  # likewise
    "closed": lambda value, rows, _: [row["type"] for row in rows] == ["polygon" if value else "polyline"],
    "ellipse": _is_ellipse,
    "format": lambda value, *_: value == "rle",
    "from_name": lambda *_: True,  # checked with the field: a shape beside Labels is of their field
    "image_rotation": lambda value, *_: value == 0,
    "instant": _is_instant,
    "item_index": _is_on_page,
    "original_height": _is_media_size,
    "original_width": _is_media_size,
    "pageIndex": _is_on_page,
    "point size": lambda *_: True,  # how a keypoint is drawn
    "rle": _is_mask,
    "taxonomy": _has_paths,
    "ranges": _are_ranges,
    "sequence": _are_key_frames,
    "to_name": _is_own_target,  # a pair is about itself, and its row about nothing else
    "type": lambda *_: True,  # follows from the control, which the field tells
}
"""Parts of records that rows say in other words: by their names, what finds them."""


def rows_of(record: Record, rows: list[Row]) -> list[Row]:
    """Return the label rows of a record: those with its id, or of parts of it; of a relation, those with its ends."""
    if record["type"] == "relation":
        return [
            row for row in rows if (row["from_label_id"], row["to_label_id"]) == (record["from_id"], record["to_id"])
        ]
    return [row for row in rows if record["id"] in (row["label_id"], row["parent_label_id"], row["track_id"])]


def _decoded(row: dict[str, Any]) -> dict[str, Any]:
    documents = ("attributes", "raw", "media", "data")
    return {name: json.loads(value) if value and name in documents else value for name, value in row.items()}


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        for part in value:
            yield from _leaves(part)
    else:
        yield value


def _paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the parts of a record, each with the names that lead to it. What says itself otherwise is one part."""
    if path and path[-1] in SAID_OTHERWISE:
        yield path, value
    elif path == ("value",) and "keypointlabels" in value and "width" in value:
        yield (*path, "point size"), value["width"]
        yield from _paths({name: part for name, part in value.items() if name != "width"}, path)
    elif path == ("value",) and "radiusX" in value:
        yield (*path, "ellipse"), value
        yield from _paths({name: part for name, part in value.items() if name.endswith("labels")}, path)
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _paths(part, (*path, name))
    elif isinstance(value, list):
        for part in value:
            yield from _paths(part, path)
    else:
        yield path, value
