"""Converts the places of spans in dialogues to characters, and back.

In a text and in HTML, Label Studio counts characters as Python does, one for each code point. In the paragraphs of a
dialogue, it counts units of UTF-16, as browsers do: an emoji has two. The table has characters everywhere. If the
tool's own numbers differ, they stay in the attributes, so that a span that is written back has the same place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import pyarrow as pa

from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.regions import LabelRows, Region

_LAST_OF_ONE_UNIT: Final = "\uffff"


def read_paragraphs(
    rows: LabelRows, regions: Sequence[Region], find_data: Callable[[int], Mapping[str, Any]], config: LabelingConfig
) -> LabelRows:
    """Return rows in which spans of dialogues count characters.

    :param rows: rows of the regions
    :param regions: records of the regions
    :param find_data: function that returns the data of a region's task, by the position of the region
    :param config: labeling config of the project
    """
    dialogues = {name for name, media in config.objects.items() if media.text_key}
    if not dialogues or not {"span_start", "attributes"} <= rows.columns.keys():
        return rows
    columns = {name: rows.columns[name].to_pylist() for name in ("span_start", "span_end", "attributes")}
    changed = False
    for place, position in enumerate(rows.regions.tolist()):
        region = regions[position]
        offsets = columns["span_start"][place], columns["span_end"][place]
        if region.to_name not in dialogues or None in offsets or columns["attributes"][place] is None:
            continue
        attributes = msgspec.json.decode(columns["attributes"][place], type=dict[str, Any])
        paragraphs = (attributes.get("start"), attributes.get("end"))
        texts = [config.objects[region.to_name].find_paragraph(find_data(position), one) for one in paragraphs]
        counted = [_characters(text, offset) for text, offset in zip(texts, offsets, strict=True)]
        if tuple(counted) != offsets:
            attributes |= {"startOffset": offsets[0], "endOffset": offsets[1]}
            columns["span_start"][place], columns["span_end"][place] = counted
            columns["attributes"][place] = msgspec.json.encode(attributes).decode()
            changed = True
    if not changed:
        return rows
    types = {name: rows.columns[name].type for name in columns}
    return LabelRows(
        rows.regions, rows.columns | {name: pa.array(values, types[name]) for name, values in columns.items()}
    )


def wide_dialogues(data: Mapping[str, Any], config: LabelingConfig) -> dict[str, Any]:
    """Return the dialogues in a task's data in which characters and units of UTF-16 differ.

    :param data: data of the task
    :param config: labeling config of the project
    """
    keys = {media.data_key for media in config.objects.values() if media.text_key}
    return {
        key: data[key]
        for key in keys & data.keys()
        if max(msgspec.json.encode(data[key]).decode(), default="") > _LAST_OF_ONE_UNIT
    }


def units_of(text: str, characters: int) -> int:
    """Convert a number of characters to units of UTF-16. Beyond the end of the text, each counts as one."""
    inside = text[:characters]
    return len(inside.encode("utf-16-le", "surrogatepass")) // 2 + characters - len(inside)


def _characters(text: str, units: int) -> int:
    """Convert a number of units of UTF-16 to characters. Beyond the end of the text, each counts as one."""
    if max(text, default="") <= _LAST_OF_ONE_UNIT:
        return units
    encoded = text.encode("utf-16-le", "surrogatepass")
    inside = encoded[: units * 2].decode("utf-16-le", "ignore")
    return len(inside) + max(units - len(encoded) // 2, 0)
