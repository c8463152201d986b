"""Reads the columns of ``items`` that come from a task's data."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from airflow_annotation.labels.columns import INT_MAX, positive_number, whole_number
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.media_objects import MediaObject
from airflow_annotation.labels.label_studio.regions import Region
from airflow_annotation.labels.media import Medium, encode_media, find_target, page_target
from airflow_annotation.labels.media_types import FILES, MEDIA_TYPES
from airflow_annotation.labels.odd_values import OddValues


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any, lowest: int = 0) -> bool:
    return type(value) is int and lowest <= value <= INT_MAX  # True does not count as a number


def _is_side(value: Any) -> bool:
    return _is_count(value, 1)


def _is_rate(value: Any) -> bool:
    return positive_number(value) is not None


RESERVED_KEYS: Final[dict[str, Callable[[Any], bool]]] = {
    "item_key": _is_text,
    "media_uri": _is_text,
    "width": _is_side,
    "height": _is_side,
    "frame_count": _is_count,
    "frame_rate": _is_rate,
}
"""Keys of a task's data that have their own columns in ``items``, each with a check whether its value can come from
this provider's uploads. Other values under such a key stay in ``items.data``."""

_OF_PAGES: Final = ("media_uri", "width", "height")
"""The keys whose values are lists if this provider uploaded an item of several images."""

_PLACE: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:/)?/\S+")

_SIDES: Final = ("original_width", "original_height")


def find_item_key(data: Mapping[str, Any], config: LabelingConfig) -> str:
    """Return the ``item_key`` of a task: its own, else the URI of its first media, or empty text without both.

    :param data: data of the task
    :param config: the labeling config
    """
    for name in ("item_key", "media_uri"):
        if isinstance(value := data.get(name), str) and value:
            return value
    for media in config.main_objects:
        value = data.get(media.data_key) if media.data_key not in RESERVED_KEYS else None
        if isinstance(value, str) and value:
            return value
        if value is not None:
            break
    return next((uri for _, uri in config.list_images(data) if uri), "")


def read_data(
    data: Mapping[str, Any], regions: Iterable[Region], config: LabelingConfig, odd: OddValues
) -> dict[str, Any]:
    """Take the values that have their own columns out of a task's data. The rest is the data that the caller attached.

    :param data: data of the task
    :param regions: records of its results, which contain the sizes of its images
    :param config: the labeling config
    :param odd: counter of the values that columns cannot hold
    """
    facts: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    pages = _find_pages(data, config)
    for name, value in data.items():
        fits = RESERVED_KEYS.get(name)
        if fits is None:
            rest[name] = value
        elif pages and name in _OF_PAGES and isinstance(value, list):
            continue
        elif fits(value):
            facts[name] = float(value) if name == "frame_rate" else value
        else:
            rest[name] = value
            if value is not None:
                odd.note(f"data.{name}")
    main = next((media for media in config.main_objects if media.data_key in rest), None)
    shown = rest[main.data_key] if main is not None else None
    if config.may_show_several or isinstance(shown, list):
        regions = list(regions)
        media = _several_images(_shown_images(facts, pages, data, config), regions, config, odd)
        if len(media) > 1:
            for name in _OF_PAGES:
                facts.pop(name, None)
            return {**facts, "media": encode_media(media), "data": _encode(rest)}
        for one in media:
            own = zip(_OF_PAGES, (one.uri, one.width, one.height), strict=True)
            facts |= {name: value for name, value in own if value is not None}
    if main is not None and isinstance(shown, str) and _is_place(shown, main):
        del rest[main.data_key]
        facts.setdefault("media_uri", shown)
    if "width" not in facts or "height" not in facts:
        seen = next((region for region in regions if region.original_width and region.original_height), None)
        sides = _size_of(seen, odd) if seen else None
        facts |= zip(("width", "height"), sides, strict=True) if sides else ()
    return {**facts, "data": _encode(rest)}


def _is_place(value: str, media: MediaObject) -> bool:
    """Return whether a value is the URI of media. The value of a text may be the text itself."""
    if media.media_type in FILES or media.media_type not in MEDIA_TYPES or media.value_type == "url":
        return True
    return not media.value_type and _PLACE.fullmatch(value) is not None  # servers may be configured to read URLs there


def _shown_images(
    facts: Mapping[str, Any], pages: Sequence[Medium], data: Mapping[str, Any], config: LabelingConfig
) -> list[Medium]:
    """Return the images of a task with the properties in its data."""
    media = [
        Medium(target, uri)
        if not pages or (number := config.page_number(target)) is None
        else msgspec.structs.replace(pages[number], target=target)
        for target, uri in config.list_images(data)
    ]
    if media and "media_uri" in facts:  # the upload of this provider is the first one
        media[0] = Medium(media[0].target, facts["media_uri"], facts.get("width"), facts.get("height"))
    return media


def _several_images(
    media: list[Medium], regions: Iterable[Region], config: LabelingConfig, odd: OddValues
) -> list[Medium]:
    """Return the images of a task with the sizes in its regions, and also images that only regions name."""
    for region in regions:
        if not region.original_width or not region.original_height:
            continue
        shown = config.find_object(region.to_name)
        if shown is None or shown.media_type != "image":
            continue
        target = page_target(region.to_name, region.item_index)
        place = find_target(media, target)
        if place is None:
            place = len(media)
            media.append(Medium(target))
        if media[place].width is None and (sides := _size_of(region, odd)):
            media[place] = Medium(media[place].target, media[place].uri, *sides)
    return media


def _find_pages(data: Mapping[str, Any], config: LabelingConfig) -> list[Medium]:
    """Return the images that this provider uploaded as one item; none if the task now shows other images."""
    shown, uris = config.several_images, data.get("media_uri")
    if shown is None or not isinstance(uris, list):
        return []
    places = data.get(shown.data_key)
    if not isinstance(places, list) or len(uris) != len(places):
        return []
    sides = [side if isinstance(side := data.get(name), list) else [] for name in ("width", "height")]
    return [
        Medium("", uri if isinstance(uri, str) else None, whole_number(width, 1), whole_number(height, 1))
        for uri, width, height in itertools.islice(itertools.zip_longest(uris, *sides), len(uris))
    ]


def _size_of(region: Region, odd: OddValues) -> tuple[int, int] | None:
    width, height = (whole_number(getattr(region, side), 1) for side in _SIDES)
    if width is None or height is None:
        odd.note(", ".join(_SIDES))
        return None
    return width, height


def _encode(rest: Mapping[str, Any]) -> str:
    return msgspec.json.encode(rest).decode() if rest else "{}"
