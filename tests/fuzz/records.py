"""Records of both tools as their exports have them, one of each kind: what is mutated."""

from __future__ import annotations

import base64
import io
from typing import Any, Final

import numpy as np
from PIL import Image

from airflow_annotation.labels.masks import mask_to_rle, rle_to_bitmask, rle_to_brush

Json = Any

WIDTH, HEIGHT = 40, 30
_MASK = mask_to_rle(np.pad(np.ones((10, 12), np.bool_), ((5, 15), (8, 20))))
_BOX = {"x": 10.0, "y": 20.0, "width": 30.0, "height": 40.0, "rotation": 0}

CONFIG: Final = """
<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="objects" toName="image"><Label value="car"/><Label value="bus"/></RectangleLabels>
  <EllipseLabels name="rounds" toName="image"><Label value="wheel"/></EllipseLabels>
  <PolygonLabels name="areas" toName="image"><Label value="road"/></PolygonLabels>
  <VectorLabels name="lines" toName="image"><Label value="lane"/></VectorLabels>
  <KeyPointLabels name="joints" toName="image"><Label value="hip"/><Label value="knee"/></KeyPointLabels>
  <BrushLabels name="things" toName="image"><Label value="leaf"/></BrushLabels>
  <BitmaskLabels name="spots" toName="image"><Label value="rust"/></BitmaskLabels>
  <Choices name="weather" toName="image"><Choice value="sun"/><Choice value="rain"/></Choices>
  <Taxonomy name="place" toName="image"><Choice value="EU"><Choice value="FR"/></Choice></Taxonomy>
  <Number name="count" toName="image"/>
  <Rating name="stars" toName="image"/>
  <TextArea name="note" toName="image"/>
  <DateTime name="seen" toName="image"/>
  <Text name="story" value="$story"/>
  <Labels name="names" toName="story"><Label value="city"/></Labels>
  <HyperText name="page" value="$page"/>
  <HyperTextLabels name="marks" toName="page"><Label value="title"/></HyperTextLabels>
  <Audio name="sound" value="$sound"/>
  <Labels name="voices" toName="sound"><Label value="anna"/></Labels>
  <Text name="left" value="$left"/><Text name="right" value="$right"/>
  <Pairwise name="better" toName="left,right"/>
  <List name="answers" value="$answers"/>
  <Ranker name="order" toName="answers"/>
  <Paragraphs name="talk" value="$talk"/>
  <ParagraphLabels name="tones" toName="talk"><Label value="glad"/></ParagraphLabels>
  <Chat name="chat" value="$chat"/>
  <Pdf name="paper" value="$paper"/>
  <OcrLabels name="ocr" toName="paper"><Label value="typo"/></OcrLabels>
  <Relations><Relation value="holds"/></Relations>
</View>
"""
VIDEO_CONFIG: Final = """
<View>
  <Video name="clip" value="$clip" frameRate="$rate"/>
  <VideoRectangle name="box" toName="clip"/>
  <Labels name="tracks" toName="clip"><Label value="bus"/></Labels>
  <VideoVectorLabels name="lanes" toName="clip"><Label value="left"/></VideoVectorLabels>
  <TimelineLabels name="scenes" toName="clip"><Label value="rain"/></TimelineLabels>
</View>
"""


def _region(id_: str, type_: str, field: str, value: Json, target: str = "image", **more: Json) -> Json:
    record = {"id": id_, "type": type_, "from_name": field, "to_name": target, "origin": "manual", "value": value}
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0} if target == "image" else {}
    return {**record, **size, **more}


def _regions() -> list[Json]:
    points = [[10.0, 20.0], [30.0, 20.0], [30.0, 40.0]]
    vertices = [{"x": x, "y": y, "id": str(x), "prevPointId": None, "isBezier": False} for x, y in points]
    return [
        _region("a", "rectanglelabels", "objects", {**_BOX, "rectanglelabels": ["car"]}),
        _region("b", "rectanglelabels", "objects", {**_BOX, "rotation": 30, "rectanglelabels": ["bus"]}, score=0.5),
        _region("c", "ellipselabels", "rounds", _ellipse()),
        _region("d", "polygonlabels", "areas", {"points": points, "closed": True, "polygonlabels": ["road"]}),
        _region("e", "vectorlabels", "lines", {"vertices": vertices, "closed": False, "vectorlabels": ["lane"]}),
        _region("f", "keypointlabels", "joints", {"x": 1.0, "y": 2.0, "width": 1, "keypointlabels": ["hip"]}),
        _region("g", "brushlabels", "things", {"format": "rle", "rle": rle_to_brush(_MASK), "brushlabels": ["leaf"]}),
        _region("h", "bitmasklabels", "spots", {"imageDataURL": rle_to_bitmask(_MASK), "bitmasklabels": ["rust"]}),
        _region("i", "choices", "weather", {"choices": ["sun"]}),
        _region("j", "taxonomy", "place", {"taxonomy": [["EU", "FR"], ["EU"]]}),
        _region("k", "number", "count", {"number": 5}),
        _region("l", "rating", "stars", {"rating": 4}),
        _region("m", "textarea", "note", {"text": ["one", "two"]}),
        _region("n", "datetime", "seen", {"datetime": "2026-01-02"}),
        _region("o", "labels", "names", {"start": 2, "end": 5, "text": "abc", "labels": ["city"]}, "story"),
        _region("p", "hypertextlabels", "marks", _span(), "page"),
        _region("q", "labels", "voices", {"start": 0.5, "end": 1.5, "channel": 0, "labels": ["anna"]}, "sound"),
        _region("r", "pairwise", "better", {"selected": "left"}, "better"),
        _region("s", "ranker", "order", {"ranker": {"order": ["a", "b"]}}, "answers"),
        _region("t", "paragraphlabels", "tones", _paragraph_span(), "talk"),
        _region("u", "chatmessage", "chat", {"chatmessage": {"role": "user", "content": "Hi", "createdAt": 5}}, "chat"),
        _region("v", "ocrlabels", "ocr", {**_BOX, "ocrtext": "Hi", "ocrlabels": ["typo"], "pageIndex": 1}, "paper"),
        {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right", "labels": ["holds"]},
    ]


def _ellipse() -> Json:
    return {"x": 50.0, "y": 50.0, "radiusX": 10.0, "radiusY": 5.0, "rotation": 15, "ellipselabels": ["wheel"]}


def _paragraph_span() -> Json:
    return {"start": "0", "end": "0", "startOffset": 3, "endOffset": 5, "paragraphlabels": ["glad"]}


def _span() -> Json:
    place = {"start": "/p[1]/text()[1]", "end": "/p[1]/text()[1]", "startOffset": 1, "endOffset": 4}
    return {**place, "globalOffsets": {"start": 11, "end": 14}, "text": "abc", "hypertextlabels": ["title"]}


def _task(data: Json, regions: list[Json]) -> Json:
    times = {"created_at": "2026-01-02T03:04:05.678901Z", "updated_at": "2026-01-02T03:04:06Z"}
    submission = {"completed_by": 1, "was_cancelled": False, "ground_truth": False, "lead_time": 3.5, **times}
    return {
        "data": data,
        "meta": {},
        "annotations": [{"id": 10, **submission, "result": regions, "result_count": len(regions)}],
        "drafts": [{"id": 30, "user": "a@b.c", "result": [], **times}],
        "predictions": [20],
        "total_predictions": 1,
        **times,
    }


def label_studio_tasks() -> list[Json]:
    """Return tasks of an image with one region each, one with all of them, and tasks of a sound."""
    facts = {"item_key": "k", "media_uri": "gs://b/1.jpg", "width": WIDTH, "height": HEIGHT}
    facts["talk"] = [{"author": "anna", "text": "\U0001f600 I am glad."}]
    facts["story"], facts["left"], facts["right"] = "A abc \U0001f600 city.", "Yes.", "No."
    facts["answers"] = [{"id": "a", "title": "A", "body": "One."}, {"id": "b", "title": "B", "body": "Two."}]
    data = {"image": "https://a/1.jpg", **facts, "camera": {"id": 3, "tags": ["a", None, 1.5]}}
    sound = {"sound": "https://a/1.wav", "item_key": "k"}
    heard = [region for region in _regions() if region.get("from_name") in {"voices", "note", "weather"}]
    images = [_task(data, regions) for regions in (*([region] for region in _regions()), _regions(), [])]
    return [_task(sound, heard), _task(sound, heard[:1]), *images]


def label_studio_videos() -> list[Json]:
    """Return tasks of a video."""
    keys = [{"frame": frame, **_BOX, "enabled": True, "time": frame / 25} for frame in (1, 5)]
    vertices = [{"x": 1.0, "y": 2.0, "id": "v"}, {"x": 3.0, "y": 4.0, "id": "w", "prevPointId": "v"}]
    paths = [{"frame": frame, "vertices": vertices, "closed": False, "enabled": frame < 3} for frame in (1, 3)]
    regions = [
        _region("a", "videorectangle", "box", {"sequence": keys, "framesCount": 10, "labels": ["bus"]}, "clip"),
        _region("b", "videovectorlabels", "lanes", _lane(paths), "clip"),
        _region("c", "timelinelabels", "scenes", _scene(), "clip"),
    ]
    data = {"clip": "https://a/1.mp4", "frame_rate": 25, "frame_count": 10, "rate": 25}
    return [_task(data, [region]) for region in regions]


def _scene() -> Json:
    return {"ranges": [{"start": 2, "end": 6}], "timelinelabels": ["rain"]}


def _lane(paths: list[Json]) -> Json:
    return {"sequence": paths, "framesCount": 10, "videovectorlabels": ["left"]}


ONTOLOGY: Final = {
    "tools": [
        {"tool": "rectangle", "name": "objects: car", "featureSchemaId": "s-box"},
        {"tool": "polygon", "name": "areas: road", "featureSchemaId": "s-polygon"},
        {"tool": "line", "name": "lines: lane", "featureSchemaId": "s-line"},
        {"tool": "point", "name": "joints: hip", "featureSchemaId": "s-point"},
        {"tool": "raster-segmentation", "name": "things: leaf", "featureSchemaId": "s-mask"},
        {"tool": "named-entity", "name": "names: city", "featureSchemaId": "s-span"},
    ],
    "classifications": [
        {"type": "radio", "name": "weather", "featureSchemaId": "s-radio", "options": [{"value": "sun"}]},
        {"type": "checklist", "name": "tags", "featureSchemaId": "s-list", "options": [{"value": "wet"}]},
        {"type": "text", "name": "count", "instructions": "count (a number)", "featureSchemaId": "s-number"},
    ],
}


def _png() -> str:
    file = io.BytesIO()
    Image.fromarray(np.eye(HEIGHT, WIDTH, dtype=np.uint8) * 255).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def _objects() -> list[Json]:
    points = [{"x": 1.0, "y": 2.0}, {"x": 9.0, "y": 2.0}, {"x": 9.0, "y": 8.0}, {"x": 1.0, "y": 2.0}]
    shapes: list[tuple[str, str, str, Json]] = [
        ("box", "ImageBoundingBox", "bounding_box", {"top": 2.0, "left": 1.0, "height": 9.0, "width": 8.0}),
        ("polygon", "ImagePolygon", "polygon", points),
        ("line", "ImagePolyline", "line", points[:3]),
        ("point", "ImagePoint", "point", points[0]),
        ("mask", "ImageSegmentationMask", "mask", {"size": list(_MASK.size), "counts": _MASK.counts}),
        ("mask", "ImageSegmentationMask", "mask", {"size": [2, 3], "counts": [2, 3, 1]}),
        ("mask", "ImageSegmentationMask", "composite_mask", {"png": _png(), "color_rgb": [255, 255, 255]}),
        ("span", "TextEntity", "location", {"start": 1, "end": 4, "token": "abcd"}),
        ("span", "DocumentEntityToken", "location", {"groups": [{"page_number": 2, "tokens": ["t"], "text": "a"}]}),
        ("best", "MessageSingleSelection", "selected_message", {"message_id": "m", "parent_message_id": "p"}),
        ("order", "MessageRanking", "ranked_messages", {"ranked_messages": [{"message_id": "m", "order": 1}]}),
    ]
    named = [(f"f{n}", *shape) for n, shape in enumerate(shapes)]
    return [
        {"feature_id": id_, "feature_schema_id": f"s-{tool}", "name": tool, "annotation_kind": kind, key: value}
        | {"classifications": [_answers()[0]] if n % 3 == 0 else [], "confidence": 0.5}
        for n, (id_, tool, kind, key, value) in enumerate(named)
    ]


def _answers() -> list[Json]:
    return [
        {"feature_id": "q1", "name": "weather", "feature_schema_id": "s-radio", "radio_answer": {"name": "sun"}},
        {"feature_id": "q2", "name": "tags", "feature_schema_id": "s-list", "checklist_answers": [{"name": "wet"}]},
        {"feature_id": "q3", "name": "count", "feature_schema_id": "s-number", "text_answer": {"content": "5"}},
    ]


def _row(annotations: Json, media: Json) -> Json:
    times = {"created_at": "2026-01-02T03:04:05.678+00:00", "updated_at": "2026-01-02T03:04:06.000+00:00"}
    label = {
        "id": "label",
        "label_kind": "Default",
        "label_details": {**times, "created_by": "a@b.c"},
        "performance_details": {"seconds_to_create": 4, "skipped": False},
        "annotations": annotations,
    }
    place = {"workflow_status": "DONE", "batch_id": "b", "priority": 5, "consensus_expected_label_count": 1}
    return {
        "data_row": {"global_key": "k", "external_id": "e", "row_data": "https://a/1.jpg", "details": times},
        "media_attributes": media,
        "metadata_fields": [{"schema_id": "m", "schema_name": "camera", "schema_kind": "Number", "value": 3}],
        "attachments": [{"type": "IMAGE", "value": "https://a/b"}],
        "experiments": {},
        "projects": {"p": {"name": "P", "labels": [label], "project_details": place}},
    }


def labelbox_rows() -> list[Json]:
    """Return data rows of an image with one object or answer each, and one with all of them."""
    media = {"width": WIDTH, "height": HEIGHT, "mime_type": "image/jpeg", "asset_type": "image"}
    several: list[tuple[list[Json], list[Json]]] = [([one], []) for one in _objects()]
    several += [*(([], [one]) for one in _answers()), (_objects(), _answers())]
    return [
        _row({"objects": objects, "classifications": answers, "relationships": []}, media)
        for objects, answers in several
    ]


def labelbox_videos() -> list[Json]:
    """Return data rows of a video."""
    media = {"width": WIDTH, "height": HEIGHT, "mime_type": "video/mp4", "frame_rate": 25, "frame_count": 10}
    box = _objects()[0]
    return [
        _row(
            {
                "frames": {
                    "1": {"objects": {"f0": box}, "classifications": _answers()[:1]},
                    "5": {"objects": {"f0": box}, "classifications": []},
                },
                "segments": {"f0": [[1, 7]], "q1": [[1, 3]]},
                "key_frame_feature_map": {"f0": [1, 5]},
            },
            media,
        )
    ]
