"""Spans of dialogues: where they are, in characters.

In a text and in HTML Label Studio counts characters as Python does, one for each code point. In the paragraphs of a
dialogue it counts as browsers do, in units of UTF-16, where an emoji is two. The table has characters everywhere; the
tool's own numbers stay in the attributes where they differ, so that a span that is written again is there again.
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
    """Return rows in which the spans of dialogues count characters.

    :param rows: of the regions
    :param regions: the records
    :param find_data: returns the data of a region's task, by the position of the region
    :param config: the project's labeling config
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
    """Return from a task's data the dialogues in which characters and units of UTF-16 differ.

    :param data: the task's
    :param config: the project's labeling config
    """
    keys = {media.data_key for media in config.objects.values() if media.text_key}
    return {
        key: data[key]
        for key in keys & data.keys()
        if max(msgspec.json.encode(data[key]).decode(), default="") > _LAST_OF_ONE_UNIT
    }


def units_of(text: str, characters: int) -> int:
    """Return how many units of UTF-16 so many characters are; what is behind the text counts as it is."""
    inside = text[:characters]
    return len(inside.encode("utf-16-le", "surrogatepass")) // 2 + characters - len(inside)


def _characters(text: str, units: int) -> int:
    """Return how many characters so many units of UTF-16 are; what is behind the text counts as it is."""
    if max(text, default="") <= _LAST_OF_ONE_UNIT:
        return units
    encoded = text.encode("utf-16-le", "surrogatepass")
    inside = encoded[: units * 2].decode("utf-16-le", "ignore")
    return len(inside) + max(units - len(encoded) // 2, 0)
