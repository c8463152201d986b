"""Label rows of every type that Label Studio has, for round trips: a config that asks for all, and what it may say."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.masks import mask_to_rle

if TYPE_CHECKING:
    from airflow_annotation.hooks.annotation import AnnotationProject
    from airflow_annotation.hooks.label_studio import LabelStudioHook

Row = dict[str, Any]

CONFIG: Final = """
<View>
  <Image name="image" value="$photo"/>
  <RectangleLabels name="objects" toName="image"><Label value="car"/><Label value="person"/></RectangleLabels>
  <EllipseLabels name="rounds" toName="image"><Label value="wheel"/></EllipseLabels>
  <PolygonLabels name="areas" toName="image"><Label value="road"/></PolygonLabels>
  <VectorLabels name="lines" toName="image"><Label value="lane"/></VectorLabels>
  <KeyPointLabels name="joints" toName="image">
    <Label value="hip"/><Label value="knee"/><Label value="foot"/>
  </KeyPointLabels>
  <Choices name="mood" toName="clip"><Choice value="calm"/><Choice value="busy"/></Choices>
  <Choices name="weather" toName="image"><Choice value="sun"/><Choice value="rain"/></Choices>
  <Choices name="tags" toName="image" choice="multiple"><Choice value="day"/><Choice value="wet"/></Choices>
  <Taxonomy name="place" toName="image"><Choice value="EU"><Choice value="FR"/></Choice></Taxonomy>
  <Number name="count" toName="image"/>
  <Rating name="stars" toName="image"/>
  <TextArea name="note" toName="image"/>
  <DateTime name="seen" toName="image"/>
  <Taxonomy name="objects.model" toName="image" perRegion="true" whenTagName="objects">
    <Choice value="A"><Choice value="A1"/></Choice><Choice value="B"/>
  </Taxonomy>
  <Rating name="objects.rating" toName="image" perRegion="true" whenTagName="objects"/>
  <DateTime name="objects.seen" toName="image" perRegion="true" whenTagName="objects"/>
  <Choices name="objects.occluded" toName="image" perRegion="true" whenTagName="objects"><Choice value="yes"/></Choices>
  <Choices name="objects.parts" toName="image" perRegion="true" whenTagName="objects" choice="multiple">
    <Choice value="door"/><Choice value="wheel"/>
  </Choices>
  <TextArea name="objects.plate" toName="image" perRegion="true" whenTagName="objects"/>
  <Number name="objects.age" toName="image" perRegion="true" whenTagName="objects"/>
  <Labels name="kind" toName="image"><Label value="old"/><Label value="new"/></Labels>
  <Rectangle name="frame" toName="image"/>
  <BrushLabels name="things" toName="image"><Label value="leaf"/><Label value="twig"/></BrushLabels>
  <BrushLabels name="ground" toName="image"><Label value="grass" category="1"/></BrushLabels>
  <BitmaskLabels name="spots" toName="image"><Label value="rust"/></BitmaskLabels>
  <Text name="story" value="$story"/>
  <Labels name="names" toName="story"><Label value="city"/></Labels>
  <Choices name="names.sure" toName="story" perRegion="true" whenTagName="names"><Choice value="yes"/></Choices>
  <HyperText name="page" value="$page"/>
  <HyperTextLabels name="marks" toName="page"><Label value="title"/><Label value="link"/></HyperTextLabels>
  <Choices name="marks.sure" toName="page" perRegion="true" whenTagName="marks"><Choice value="yes"/></Choices>
  <Paragraphs name="talk" value="$talk" nameKey="author" textKey="text"/>
  <ParagraphLabels name="tones" toName="talk"><Label value="glad"/><Label value="sad"/></ParagraphLabels>
  <TimeSeries name="series" value="$series" timeColumn="time"><Channel column="speed"/></TimeSeries>
  <TimeSeriesLabels name="events" toName="series"><Label value="run"/></TimeSeriesLabels>
  <Audio name="sound" value="$sound"/>
  <Labels name="voices" toName="sound"><Label value="anna"/></Labels>
  <Text name="left" value="$left"/><Text name="right" value="$right"/>
  <Pairwise name="better" toName="left,right"/>
  <List name="answers" value="$answers"/>
  <Ranker name="order" toName="answers"/>
  <Ranker name="sorted" toName="answers"><Bucket name="good" title="Good"/><Bucket name="bad"/></Ranker>
  <Chat name="chat" value="$chat"/>
  <Pdf name="paper" value="$paper"/>
  <OcrLabels name="ocr" toName="paper"><Label value="typo"/><Label value="name"/></OcrLabels>
  <Relations><Relation value="holds"/><Relation value="near"/></Relations>
  <Video name="clip" value="$clip" frameRate="25"/>
  <VideoRectangle name="tracks.box" toName="clip"/>
  <Labels name="tracks" toName="clip"><Label value="bus"/><Label value="tram"/></Labels>
  <Choices name="tracks.colour" toName="clip" perRegion="true" whenTagName="tracks"><Choice value="red"/></Choices>
  <VideoVectorLabels name="lanes" toName="clip"><Label value="left"/><Label value="right"/></VideoVectorLabels>
  <TimelineLabels name="scenes" toName="clip"><Label value="rain"/><Label value="night"/></TimelineLabels>
</View>
"""
"""Every control that rows are read from, on every kind of media."""

_MORE: Final = " And more of it." * 8
"""What makes texts longer than the spans that are drawn in them."""

DATA: Final[dict[str, Any]] = {
    "photo": "https://photos/1.jpg",
    "story": "Berlin is far from Paris and from London. " * 3 + _MORE,
    "page": f"<h1>Title</h1><p>Some text{_MORE}</p>",
    "talk": [
        {"author": "anna", "text": f"How are you?{_MORE}"},
        {"author": "ben", "text": f"I am \U0001f600 glad.{_MORE}"},
    ],
    "series": {"time": [0, 1, 2], "speed": [3, 4, 5]},
    "sound": "https://sounds/1.mp3",
    "clip": "https://videos/1.mp4",
    "left": "One answer",
    "right": "Another answer",
    "answers": [{"id": id_, "title": id_.upper()} for id_ in ("a", "b", "c")],
    "chat": [{"role": "user", "content": "How are you?"}],
    "paper": "https://papers/1.pdf",
}
"""A task's."""

FRAME_RATE: Final = 25
FRAMES: Final = 100
WIDTH, HEIGHT = 64, 48

_TARGETS: Final[dict[str, str | None]] = {
    "names": "story",
    "marks": "page",
    "tones": "talk",
    "events": "series",
    "voices": "sound",
    "mood": "clip",
    "tracks": "clip",
    "lanes": "clip",
    "scenes": "clip",
    "better": None,
    "order": "answers",
    "sorted": "answers",
    "chat": "chat",
    "ocr": "paper[2]",
}
"""The media of each field that is not asked of the image."""

FIELDS: Final = (
    ("objects", "detection"),
    ("kind", "detection"),
    ("rounds", "ellipse"),
    ("areas", "polygon"),
    ("lines", "polyline"),
    ("lines", "polygon"),
    ("joints", "keypoint"),
    ("things", "instance"),
    ("ground", "segmentation"),
    ("spots", "instance"),
    ("weather", "classification"),
    ("tags", "classifications"),
    ("place", "classifications"),
    ("count", "scalar"),
    ("stars", "rating"),
    ("better", "pairwise"),
    ("order", "ranking"),
    ("sorted", "ranking"),
    ("chat", "message"),
    ("ocr", "detection"),
    ("note", "text"),
    ("seen", "text"),
    ("names", "span"),
    ("marks", "span"),
    ("tones", "span"),
    ("events", "span"),
    ("voices", "span"),
    ("mood", "classification"),
    ("tracks", "detection"),
    ("lanes", "polyline"),
    ("lanes", "polygon"),
    ("scenes", "classification"),
)
"""Each field with the types that its labels may have."""

_ASKED: Final[dict[str, dict[str, Any]]] = {
    "objects": {
        "occluded": "yes",
        "parts": ["door", "wheel"],
        "plate": "AB",
        "age": 2.5,
        "model": ["A/A1"],
        "rating": 4,
        "seen": "2026-01-01",
        "score": 0.25,
    },
    "names": {"sure": "yes"},
    "marks": {"sure": "yes"},
    "tracks": {"colour": "red"},
}
"""What may be asked of each region of a field."""

_FRACTIONS: Final = st.floats(0, 1, allow_subnormal=False)
_POINTS: Final = st.lists(_FRACTIONS, min_size=2, max_size=2)


@st.composite
def submissions(
    draw: st.DrawFn, fields: Sequence[tuple[str, str]] = FIELDS, min_size: int = 0, max_size: int = 6
) -> list[Row]:
    """The rows of one submission in their order: objects, answers, parts of objects, and relations between them."""
    rows: list[Row] = []
    for number, (field, type_) in enumerate(
        draw(st.lists(st.sampled_from(fields), min_size=min_size, max_size=max_size))
    ):
        id_ = f"r{number}"
        rows += [{"label_id": id_, **row} for row in draw(_object_rows(field, type_, id_))]
        if field == "objects" and draw(st.booleans()):
            rows += draw(_skeletons(id_))
    ids = sorted(
        {row["label_id"] for row in rows if row["target"] == "image" and (row.get("bbox") or row.get("points"))}
    )
    if len(ids) > 1:
        ends = st.lists(st.sampled_from(ids), min_size=2, max_size=2, unique=True)
        rows += [draw(_relations(*draw(ends))) for _ in range(draw(st.integers(0, 1)))]
    return rows


@st.composite
def _object_rows(draw: st.DrawFn, field: str, type_: str, id_: str) -> list[Row]:
    """The rows of one record; of a video it is many."""
    row: Row = {"field": field, "type": type_, "target": _TARGETS.get(field, "image"), **draw(_classes(field, type_))}
    asked = _ASKED.get(field, {})
    attributes = (
        {name: asked[name] for name in draw(st.lists(st.sampled_from(sorted(asked)), unique=True))} if asked else {}
    )
    if field in ("tracks", "lanes"):
        return [
            {**row, "track_id": id_, **frame, "attributes": _document(attributes | hidden)}
            for frame, hidden in draw(_key_frames(type_))
        ]
    if field == "scenes":
        starts = draw(st.lists(st.integers(1, FRAMES - 9), min_size=1, max_size=3))
        return [{**row, **_frames(start, start + draw(st.integers(0, 9)))} for start in starts]
    if field == "sorted":
        buckets = draw(st.lists(st.sampled_from(["good", "bad", None]), unique=True, min_size=1))
        entries = [draw(st.lists(st.sampled_from("abc"), unique=True)) for _ in buckets]
        return [
            {**row, "label_id": f"{id_}.{bucket or '_'}", "parent_label_id": id_, "label": bucket, "labels": ids}
            for bucket, ids in zip(buckets, entries, strict=True)
        ]
    if type_ == "span":
        row |= draw(_spans(field))
    else:
        row |= draw(_shapes_and_answers(field, type_))
    attributes = json.loads(row.get("attributes") or "{}") | attributes
    return [{**row, "attributes": _document(attributes)}]


def _document(attributes: Mapping[str, Any]) -> str | None:
    return json.dumps(attributes) if attributes else None


@st.composite
def _classes(draw: st.DrawFn, field: str, type_: str) -> Row:
    control = LabelingConfig(CONFIG).controls[field]
    if not control.classes or type_ == "ranking":
        return {}
    most = 1 if type_ == "classification" and not control.tag.endswith("labels") else None
    several = draw(st.lists(st.sampled_from(list(control.classes)), unique=True, min_size=1, max_size=most))
    return {"label": several[0], "labels": several if len(several) > 1 else None}


@st.composite
def _boxes(draw: st.DrawFn) -> Row:
    x, y = draw(_FRACTIONS), draw(_FRACTIONS)
    bbox = [x, y, draw(st.floats(0, 1 - x)), draw(st.floats(0, 1 - y))]
    return {"bbox": bbox, "rotation": draw(st.just(0.0) | st.floats(0, 359))}


def _has_its_middle_inside(box: Row) -> bool:
    """Return whether Label Studio takes a box as an ellipse: not if turning it moves its middle out of the image."""
    x, y, width, height = box["bbox"]
    cos, sin = math.cos(math.radians(box["rotation"])), math.sin(math.radians(box["rotation"]))
    middle_x = x + width / 2 * cos - height / 2 * sin * HEIGHT / WIDTH
    middle_y = y + width / 2 * sin * WIDTH / HEIGHT + height / 2 * cos
    return bool(middle_x <= 1 and middle_y <= 1)


@st.composite
def _masks(draw: st.DrawFn) -> Row:
    mask = mask_to_rle(draw(arrays(np.bool_, (HEIGHT, WIDTH), fill=st.booleans())))
    return {"mask_size": list(mask.size), "mask_counts": mask.counts}


@st.composite
def _texts(draw: st.DrawFn) -> Row:
    texts = draw(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=3))
    return {"text": "\n".join(texts), "labels": texts if len(texts) > 1 else None}


def _shapes_and_answers(field: str, type_: str) -> st.SearchStrategy[Row]:
    texts = st.text(st.characters(codec="utf-8"))
    sent_at = st.sampled_from([None, '{"createdAt":1764417600000.0}'])
    by_field: dict[str, st.SearchStrategy[Row]] = {
        "seen": st.fixed_dictionaries({"text": st.dates().map(str)}),
        "stars": st.fixed_dictionaries({"number": st.integers(1, 5)}),
        "better": st.fixed_dictionaries({"label": st.sampled_from(["left", "right"])}),
        "order": st.fixed_dictionaries({"labels": st.permutations(list("abc"))}),
        "chat": st.fixed_dictionaries(
            {"label": st.sampled_from(["user", "assistant"]), "text": texts, "attributes": sent_at}
        ),
        "ocr": st.tuples(_boxes(), st.fixed_dictionaries({"text": st.none() | texts})).map(lambda two: two[0] | two[1]),
    }
    if field in by_field:
        return by_field[field]
    least = 3 if field == "areas" else 2
    path = st.fixed_dictionaries({"points": st.lists(_POINTS, min_size=least, max_size=5)})
    by_type: dict[str, st.SearchStrategy[Row]] = {
        "detection": _boxes(),
        "ellipse": _boxes().filter(_has_its_middle_inside),
        "polygon": path,
        "polyline": path,
        "keypoint": st.fixed_dictionaries({"points": _POINTS.map(lambda point: [point])}),
        "instance": _masks(),
        "segmentation": _masks(),
        "scalar": st.fixed_dictionaries({"number": st.floats(allow_nan=False, allow_infinity=False)}),
        "text": _texts(),
    }
    return by_type.get(type_, st.just({}))


@st.composite
def _spans(draw: st.DrawFn, field: str) -> Row:
    if field in ("voices", "events"):
        start = draw(st.floats(0, 9))
        time = {"time": start, "time_end": draw(st.just(start) | st.floats(9, 99))}
        if field == "voices":
            return time | draw(st.sampled_from([{}, {"attributes": '{"channel":1}'}]))
        dates = {"attributes": '{"start":"2026-01-01 10:00","end":"2026-01-01 10:30"}'}
        return draw(st.sampled_from([time, dates]))
    start = draw(st.integers(0, 9))
    place: Row = {"span_start": start, "span_end": draw(st.integers(9, 99)), "text": draw(st.none() | st.text())}
    elements: Row = {"start": "/h1[1]/text()[1]", "end": "/p[1]/text()[1]"}
    offsets = {"startOffset": start, "endOffset": 4}
    said: dict[str, list[Row]] = {
        "names": [{}],
        "marks": [{}, elements, elements | offsets],
        "tones": [{"start": "0", "end": "1"}, {"start": "1", "end": "1"}],
    }
    attributes = draw(st.sampled_from(said[field]))
    if field == "tones":
        attributes = attributes | _units(place, attributes)
    return {**place, "attributes": _document(attributes)}


def _units(place: Row, paragraphs: Row) -> Row:
    """What Label Studio says of a place in paragraphs, which it counts as browsers do, where that differs."""
    counted = {}
    for side in ("start", "end"):
        text, characters = DATA["talk"][int(paragraphs[side])]["text"], place[f"span_{side}"]
        counted[f"{side}Offset"] = characters + sum(ord(character) > 0xFFFF for character in text[:characters])
    return counted if list(counted.values()) != [place["span_start"], place["span_end"]] else {}


@st.composite
def _key_frames(draw: st.DrawFn, type_: str) -> list[tuple[Row, Row]]:
    """Key frames of an object, each with the attributes that are its own."""
    count = draw(st.integers(2, 4))
    frames = sorted(draw(st.lists(st.integers(1, FRAMES), unique=True, min_size=1, max_size=4)))
    path = st.fixed_dictionaries({"points": st.lists(_POINTS, min_size=count, max_size=count)})
    return [
        (
            {**draw(_boxes() if type_ == "detection" else path), **_frames(frame), "is_keyframe": True},
            draw(st.sampled_from([{}, {"enabled": False}])),
        )
        for frame in frames
    ]


def _frames(start: int, end: int | None = None) -> Row:
    """The columns of one frame, or of a range."""
    row: Row = {"tool_frame": start, "frame": start - 1, "time": (start - 1) / FRAME_RATE}
    return row if end is None else {**row, "frame_end": end - 1, "time_end": end / FRAME_RATE}


@st.composite
def _skeletons(draw: st.DrawFn, parent: str) -> list[Row]:
    """Keypoints of an object, in any order."""
    classes = list(LabelingConfig(CONFIG).controls["joints"].classes)
    return [
        {
            "label_id": f"{parent}-{class_}",
            "parent_label_id": parent,
            "field": "joints",
            "type": "keypoint",
            "target": "image",
            "label": class_,
            "points": [draw(_POINTS)],
            "point_index": classes.index(class_),
        }
        for class_ in draw(st.lists(st.sampled_from(classes), unique=True))
    ]


@st.composite
def _relations(draw: st.DrawFn, start: str, end: str) -> Row:
    labels = draw(st.lists(st.sampled_from(["holds", "near"]), unique=True))
    return {
        "label_id": f"{start}-{end}",
        "field": "relation",
        "type": "relation",
        "target": None,
        "from_label_id": start,
        "to_label_id": end,
        "label": labels[0] if labels else None,
        "labels": labels if len(labels) > 1 else None,
        "attributes": json.dumps({"direction": draw(st.sampled_from(["left", "right", "bi"]))}),
    }


def assert_same_rows(actual: list[Row], expected: list[Row]) -> None:
    """Compare rows as far as the expected ones say: numbers to 1e-6, and what they do not say is not to be there."""
    assert [(row["label_id"], row["type"]) for row in actual] == [(row["label_id"], row["type"]) for row in expected]
    for row, original in zip(actual, expected, strict=True):
        for name in {*_COMPARED, *original}:
            value, wanted = row[name], original.get(name)
            if name == "attributes":
                assert json.loads(value or "{}") == json.loads(wanted or "{}")
            elif name == "points" and wanted is not None:
                assert value == [pytest.approx(point, abs=1e-6) for point in wanted]
            elif wanted is None or isinstance(wanted, (str, bool)) or name == "labels":
                assert value == wanted, name
            else:
                assert value == pytest.approx(wanted, abs=1e-6), name


_COMPARED: Final = (
    "parent_label_id",
    "label",
    "labels",
    "number",
    "text",
    "points",
    "point_index",
    "bbox",
    "rotation",
    "mask_size",
    "mask_counts",
    "track_id",
    "frame",
    "frame_end",
    "time",
    "time_end",
    "span_start",
    "span_end",
    "from_label_id",
    "to_label_id",
    "attributes",
)


def accept(hook: LabelStudioHook, project: AnnotationProject, model_version: str) -> None:
    """Submit each prediction as it is, as a person does in the browser."""
    query = {"filter": "filter:tasks:predictions_model_versions", "operator": "contains", "type": "List"}
    filters = {"conjunction": "and", "items": [{**query, "value": [model_version]}]}
    params = {"project": project.id, "fields": "all", "page_size": "1000", "query": json.dumps({"filters": filters})}
    for task in hook.client.request("GET", "/api/tasks/", params=params).json()["tasks"]:
        for prediction in task["predictions"]:
            answer = {"result": prediction["result"], "parent_prediction": prediction["id"], "lead_time": 1.0}
            hook.client.request("POST", f"/api/tasks/{task['id']}/annotations/", json=answer)
