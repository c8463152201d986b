"""The templates of Label Studio's own library, and records that people make with each of their tags.

The records are as https://labelstud.io/tags/ and the editor have them. A tag without records here fails the tests, so
that a template of a later release is not left out.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from xml.etree import ElementTree

import numpy as np
import yaml  # type: ignore[import-untyped]  # comes with Airflow, its types do not

from airflow_annotation.labels.masks import mask_to_rle, rle_to_brush

Record = dict[str, Any]
Row = dict[str, Any]

FOLDERS: Final = ("annotation_templates", "core/examples")
WIDTH, HEIGHT = 640, 480
TEXT = "Ada Lovelace wrote to Charles Babbage in London."
FRAMES, FRAME_RATE = 100, 25.0


class Template(NamedTuple):
    """A template.

    :param name: its place in the package
    :param config: the labeling config
    """

    name: str
    config: str


def find_templates(environment: Path) -> list[Template]:
    """Return the templates of an installed Label Studio, those that say the same once.

    :param environment: the Python environment that it is in
    """
    (package,) = environment.glob("lib/*/site-packages/label_studio")
    found: dict[str, Template] = {}
    for folder in FOLDERS:
        for path in sorted((package / folder).rglob("config.*")):
            text = path.read_text(encoding="utf-8")
            config = yaml.safe_load(text)["config"] if path.suffix in (".yml", ".yaml") else text
            name = path.parent.relative_to(package).as_posix()
            found.setdefault(ElementTree.canonicalize(config, strip_text=True), Template(name, config))
    return list(found.values())


class Element(NamedTuple):
    """A tag of a config: its name in lower case, its attributes, those too, and what can be chosen in it."""

    tag: str
    attributes: dict[str, str]
    classes: list[Any]

    @property
    def name(self) -> str:
        return self.attributes["name"]

    @property
    def targets(self) -> list[str]:
        return [name for name in self.attributes.get("toname", "").split(",") if name]

    @property
    def is_about_regions(self) -> bool:
        return self.attributes.get("perregion") == "true"


def read_elements(config: str) -> list[Element]:
    """Return the named tags of a config."""
    elements = []
    for element in ElementTree.fromstring(config).iter():
        attributes = {name.lower(): value for name, value in element.attrib.items()}
        if "name" in attributes:
            elements.append(Element(element.tag.lower(), attributes, _classes(element)))
    return elements


def _classes(element: ElementTree.Element) -> list[Any]:
    """Return each class that can be chosen, as records have it: of a taxonomy, and of nested choices, its path."""
    found: list[Any] = []

    def walk(parent: ElementTree.Element, path: list[str]) -> None:
        for child in parent:
            named = child.get("alias") or child.get("value") if child.tag in ("Label", "Choice") else None
            below = path if named is None else [*path, named]
            if named is not None:
                found.append(below if element.tag == "Taxonomy" or len(below) > 1 else named)
            walk(child, below)

    walk(element, [])
    return found


def sample_data(elements: list[Element]) -> dict[str, Any]:
    """Return a task's data for the tags that show something of it."""
    data: dict[str, Any] = {}
    for element in elements:
        for attribute, value in element.attributes.items():
            for key in re.findall(r"\$([\w-]+)", value):
                data.setdefault(key, _sample(element, attribute, key))
    return data


def _sample(element: Element, attribute: str, key: str) -> Any:
    if attribute == "valuelist":
        return [f"https://media.example/{key}/{page}.png" for page in range(3)]
    if element.tag in ("choices", "taxonomy") or element.tag.endswith("labels"):
        return [{"value": "first"}, {"value": "second"}]
    samples: dict[str, Any] = {
        "text": TEXT,
        "hypertext": f"<p>{TEXT}</p>" * 4,
        "paragraphs": [{"author": "A", "text": TEXT}, {"author": "B", "text": TEXT}],
        "chat": [{"role": "user", "content": "Hello"}],
        "list": [{"id": name, "title": name, "body": name} for name in ("first", "second", "third")],
        "table": {"name": "value"},
        "header": "a header",
        "timeseries": {"time": [1, 2], "value": [3, 4]} if element.attributes.get("valuetype") == "json" else None,
    }
    return samples.get(element.tag) or f"https://media.example/{key}.bin"


class Maker:
    """Makes the records of one submission to a template, with numbers and ids that occur once in it.

    :param config: the labeling config
    """

    def __init__(self, config: str) -> None:
        self.elements = read_elements(config)
        self._media = {element.name: element for element in self.elements if not element.targets}
        self._numbers = itertools.count(1)
        self._relations = re.findall(r'<Relation value="([^"]+)"', config)
        self._records: list[Record] = []
        self._regions: dict[str, list[Record]] = {}

    def records(self) -> list[Record]:
        """Return the records: for each control those that it makes, then the answers about the regions."""
        controls = [element for element in self.elements if element.targets or element.tag == "chat"]
        for control in sorted(controls, key=lambda control: control.is_about_regions):
            for target in [control.name] if control.tag in ("chat", "pairwise") else control.targets:
                if control.is_about_regions:
                    self._answer_about_regions(control, target)
                else:
                    self._label(control, target)
        if self._relations:
            self._relate()
        return self._records

    def number(self) -> float:
        """Return a number that no other part of the submission has, a part of 100."""
        return round(next(self._numbers) * 0.1103 + 5, 4)

    def _label(self, control: Element, target: str) -> None:
        shown = self._media.get(target, control)
        values = MAKERS[control.tag](self, control, shown)
        for value in values:
            self._add(control, target, value, shown)

    def _add(self, control: Element, target: str, value: Record, shown: Element, **more: Any) -> Record:
        record: Record = {
            "id": f"r{next(self._numbers)}",
            "from_name": control.name,
            "to_name": target,
            "type": {"chat": "chatmessage"}.get(control.tag, control.tag),
            "value": value,
            "origin": "manual",
            **more,
        }
        if shown.tag == "image":
            record |= {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
            if "valuelist" in shown.attributes:
                record["item_index"] = next(self._numbers) % 3
        self._records.append(record)
        if control.tag in REGION_TAGS or "start" in value:
            self._regions.setdefault(target, []).append(record)
        return record

    def _answer_about_regions(self, control: Element, target: str) -> None:
        """Add an answer about each region on the media. It has the region's id, and repeats its place."""
        assert self._regions.get(target), f"{control.name} asks about regions, of which none was made"
        for region in self._regions[target]:
            (answer, *_) = MAKERS[control.tag](self, control, control)
            place = {name: part for name, part in region["value"].items() if name not in (region["type"], "labels")}
            if region["type"] == "chatmessage":
                place = {}
            self._records.append(
                {**region, "from_name": control.name, "type": control.tag, "value": {**place, **answer}}
            )

    def _relate(self) -> None:
        regions = list(itertools.chain.from_iterable(self._regions.values()))
        ends = {"from_id": regions[0]["id"], "to_id": regions[1]["id"]}
        self._records.append({"type": "relation", "direction": "bi", "labels": self._relations[:1], **ends})


Make = Callable[[Maker, Element, Element], Iterator[Record]]


def _each_class(control: Element) -> list[Any]:
    """Return what to choose: two classes, of tags whose classes come from the task's data the ones of the sample."""
    return control.classes[:2] or ["first", "second"]


def _choices(_: Maker, control: Element, __: Element) -> Iterator[Record]:
    classes = _each_class(control)
    yield {control.tag: classes if control.attributes.get("choice") == "multiple" else classes[-1:]}


def _taxonomy(_: Maker, control: Element, __: Element) -> Iterator[Record]:
    yield {"taxonomy": control.classes[-2:]}


def _labels(maker: Maker, control: Element, shown: Element) -> Iterator[Record]:
    """Yield parts of a text or a sound; on images, shapes bring the records of ``Labels``."""
    for class_ in _each_class(control):
        if shown.tag == "audio":
            yield {"start": maker.number(), "end": maker.number(), "channel": 0, "labels": [class_]}
        elif shown.tag == "text":
            start = int(maker.number())
            yield {"start": start, "end": start + 7, "text": TEXT[start : start + 7], "labels": [class_]}
        else:
            assert shown.tag in ("image", "video"), f"no records of Labels on {shown.tag}"


def _paragraphs(maker: Maker, control: Element, _: Element) -> Iterator[Record]:
    for class_ in _each_class(control):
        start = int(maker.number())
        place = {"start": "0", "end": "1", "startOffset": start, "endOffset": start + 4}
        yield {**place, "text": TEXT[start : start + 4], "paragraphlabels": [class_]}


def _hypertext(maker: Maker, control: Element, _: Element) -> Iterator[Record]:
    for class_ in _each_class(control):
        start = int(maker.number())
        place = {"start": "/p[1]/text()[1]", "end": "/p[1]/b[2]", "startOffset": start, "endOffset": start + 4}
        offsets = {"globalOffsets": {"start": start + 100, "end": start + 104}}
        yield {**place, **offsets, "text": TEXT[start : start + 4], "hypertextlabels": [class_]}


def _time_series(maker: Maker, control: Element, shown: Element) -> Iterator[Record]:
    """Yield a range, and an instant; times are text where the series has a format of them."""
    for instant, class_ in zip((False, True), _each_class(control) * 2, strict=False):
        start, end = maker.number(), maker.number()
        times: list[Any] = [start, start if instant else end]
        if "timeformat" in shown.attributes:
            times = [f"2020-03-{int(time)}T10:00:00.{int(time * 1000)}" for time in times]
        yield {"start": times[0], "end": times[1], "instant": instant, control.tag: [class_]}


def _classed(maker: Maker, control: Element, shown: Element, value: Record) -> Record:
    """Return a shape's value with a class, for a tag that has classes; for one that has none, beside ``Labels``."""
    if control.tag.endswith("labels"):
        return {**value, control.tag: _each_class(control)[:1]}
    labels = next(one for one in maker.elements if one.tag == "labels" and one.targets == control.targets)
    shape = maker._add(control, control.targets[0], value, shown)
    maker._records.append(
        {**shape, "from_name": labels.name, "type": "labels", "value": {**value, "labels": labels.classes[:1]}}
    )
    return {}


def _box(maker: Maker) -> Record:
    return {name: maker.number() for name in ("x", "y", "width", "height")} | {"rotation": maker.number()}


def _shape(value: Callable[[Maker], Record]) -> Make:
    def make(maker: Maker, control: Element, shown: Element) -> Iterator[Record]:
        if made := _classed(maker, control, shown, value(maker)):
            yield made

    return make


def _polygon(maker: Maker) -> Record:
    return {"points": [[maker.number(), maker.number()] for _ in range(4)], "closed": True}


def _ellipse(maker: Maker) -> Record:
    sizes = {"radiusX": maker.number(), "radiusY": maker.number()}
    return {"x": 50 + maker.number(), "y": 50 + maker.number(), **sizes, "rotation": 0}


def _keypoint(maker: Maker) -> Record:
    return {name: maker.number() for name in ("x", "y", "width")}


def _brush(maker: Maker) -> Record:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[int(maker.number()) :, int(maker.number()) :] = True
    return {"format": "rle", "rle": rle_to_brush(mask_to_rle(mask))}


def _ocr(maker: Maker) -> Record:
    return {**_box(maker), "ocrtext": "INVOICE", "pageIndex": 2}


def _video_rectangle(maker: Maker, control: Element, _: Element) -> Iterator[Record]:
    labels = next((one for one in maker.elements if one.tag == "labels"), None)
    frames = [
        {**_box(maker), "rotation": 0.0, "frame": frame, "enabled": frame != 41, "time": frame / FRAME_RATE}
        for frame in (11, 25, 41)
    ]
    classes = {"labels": labels.classes[:1]} if labels else {}
    yield {"sequence": frames, "framesCount": FRAMES, "duration": FRAMES / FRAME_RATE, **classes}


def _timeline(_: Maker, control: Element, __: Element) -> Iterator[Record]:
    for number, class_ in enumerate(control.classes):
        ranges = [{"start": 10 * number + 1, "end": 10 * number + 7}]
        yield {"ranges": ranges, "timelinelabels": [class_]}


def _ranker(_: Maker, control: Element, __: Element) -> Iterator[Record]:
    yield {"ranker": {control.name: ["second", "first", "third"]}}


def _chat(maker: Maker, _: Element, __: Element) -> Iterator[Record]:
    for role in ("user", "assistant"):
        yield {
            "chatmessage": {
                "role": role,
                "content": f"said {maker.number()}",
                "createdAt": 1764400000000 + int(1000 * maker.number()),
            }
        }


def _pairwise(_: Maker, __: Element, ___: Element) -> Iterator[Record]:
    yield {"selected": "right"}


def _text(maker: Maker, _: Element, __: Element) -> Iterator[Record]:
    yield {"text": [f"first {maker.number()}", f"second\n{maker.number()}"]}


def _rating(maker: Maker, control: Element, _: Element) -> Iterator[Record]:
    yield {"rating": int(maker.number()) % int(control.attributes.get("maxrating", 5)) + 1}


def _nothing(_: Maker, __: Element, ___: Element) -> Iterator[Record]:
    """Of tags that people label nothing with."""
    return iter(())


MAKERS: Final[dict[str, Make]] = {
    "brushlabels": _shape(_brush),
    "chat": _chat,
    "choices": _choices,
    "ellipselabels": _shape(_ellipse),
    "filter": _nothing,
    "hypertextlabels": _hypertext,
    "keypointlabels": _shape(_keypoint),
    "labels": _labels,
    "ocrlabels": _shape(_ocr),
    "pairwise": _pairwise,
    "paragraphlabels": _paragraphs,
    "polygon": _shape(_polygon),
    "polygonlabels": _shape(_polygon),
    "ranker": _ranker,
    "rating": _rating,
    "rectangle": _shape(_box),
    "rectanglelabels": _shape(_box),
    "taxonomy": _taxonomy,
    "textarea": _text,
    "timelinelabels": _timeline,
    "timeserieslabels": _time_series,
    "videorectangle": _video_rectangle,
}
"""What makes the values of each tag."""

REGION_TAGS: Final = frozenset(tag for tag in MAKERS if tag.endswith("labels")) | {"rectangle", "polygon", "chat"}
"""What makes regions, about which others ask."""
