"""Annotations: from the NDJSON of an import to the JSON of an export.

Both formats are Labelbox's documented ones. An annotation is turned into its exported form when it is made, so that
its ids stay the same from one export to the next; only video frames are rendered at export.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .entities import DataRow, Json, Project, new_id
from .errors import InvalidInputError
from .masks import binary_mask
from .media import text_of, tokens_of
from .ontologies import feature_value
from .schema import snake_case
from .state import State

KIND_PREFIX = {
    "AUDIO": "Audio",
    "CONVERSATIONAL": "ConversationalText",
    "HTML": "Html",
    "IMAGE": "Image",
    "PDF": "Document",
    "TEXT": "Text",
    "TMS_GEO": "Geospatial",
    "VIDEO": "Video",
}
KIND_SUFFIX = {
    "rectangle": "BoundingBox",
    "polygon": "Polygon",
    "line": "Polyline",
    "point": "Point",
    "superpixel": "SegmentationMask",
    "raster-segmentation": "SegmentationMask",
    "named-entity": "Entity",
    "edge": "Relationship",
}
GEOMETRY_KEY = {"rectangle": "bbox", "polygon": "polygon", "line": "line", "point": "point"}
MASK_TOOLS = ("superpixel", "raster-segmentation")


@dataclass
class Keyframe:
    frame: int
    geometry: Json
    classifications: list[Json] | None


@dataclass
class Annotation:
    """One object or classification of a label.

    :param feature: the tool or classification of the ontology
    :param exported: its exported form; of a video object the part that is the same in all frames
    :param segments: of video objects, the key frames of each segment
    :param spans: of video classifications that hold for some frames, first and last frame of each span
    """

    feature: Json
    uuid: str | None
    exported: Json
    segments: list[list[Keyframe]] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)

    @property
    def feature_id(self) -> str:
        return str(self.exported["feature_id"])

    @property
    def is_object(self) -> bool:
        return "tool" in self.feature


@dataclass
class Builder:
    """Makes the annotations of one label."""

    state: State
    project: Project
    data_row: DataRow

    def build(self, payload: Json) -> list[Annotation]:
        """Turn one line of an import into annotations: one, except for video masks, which hold several instances.

        :raises InvalidInputError: it does not fit the ontology, or is not well formed
        """
        if "masks" in payload:
            return self._video_masks(payload)
        feature = self._feature(payload)
        if "tool" not in feature:
            if self.project.allowed_media_type == "AUDIO" and _spans_of_answers(payload):
                return self._moments(feature, payload)
            return [self._root_classification(feature, payload)]
        annotation = Annotation(feature, payload.get("uuid"), self._head(feature))
        annotation.exported["annotation_kind"] = self._kind(feature["tool"], payload)
        annotation.exported["classifications"] = self.classifications(feature, payload.get("classifications"))
        if "messageEvaluationTask" in payload:
            annotation.exported |= _message_evaluation(payload["messageEvaluationTask"])
            del annotation.exported["value"]
        elif "segments" in payload:
            annotation.segments = [self._segment(feature, one) for one in payload["segments"]]
        elif feature["tool"] == "edge":
            annotation.exported["relationship"] = payload.get("relationship")
        else:
            annotation.exported |= self._geometry(feature, payload, annotation.feature_id, 1)
        return [annotation]

    # ---- features

    def _feature(self, payload: Json) -> Json:
        normalized = self.project.ontology.normalized if self.project.ontology else {"tools": [], "classifications": []}
        for feature in (*normalized["tools"], *normalized["classifications"]):
            if _is_named(feature, payload):
                return dict(feature)
        raise InvalidInputError(f"Feature not found in the ontology: {payload.get('name') or payload.get('schemaId')}")

    def _head(self, feature: Json) -> Json:
        name = feature["name"]
        return {
            "feature_id": new_id(),
            "feature_schema_id": feature["featureSchemaId"],
            "name": name,
            "value": feature_value(name),
        }

    def _kind(self, tool: str, payload: Json) -> str:
        if tool == "named-entity" and "textSelections" in payload:
            return "DocumentEntityToken"
        if tool.startswith("message-"):
            return "".join(word.capitalize() for word in tool.split("-"))
        prefix = KIND_PREFIX.get(self.project.allowed_media_type, "Image")
        return prefix + KIND_SUFFIX.get(tool, "Annotation")

    # ---- objects

    def _geometry(self, feature: Json, payload: Json, feature_id: str, index: int) -> Json:
        tool = feature["tool"]
        if tool in MASK_TOOLS:
            return self._mask(payload, feature_id, index)
        if tool == "named-entity":
            return self._entity(payload)
        key = GEOMETRY_KEY.get(tool)
        if key is None or key not in payload:
            raise InvalidInputError(f"The annotation has no geometry for the tool {tool}: {sorted(payload)}")
        return {"bbox": self._box, "polygon": _polygon, "line": _line, "point": _point}[key](payload)

    def _box(self, payload: Json) -> Json:
        box = {side: float(payload["bbox"][side]) for side in ("top", "left", "height", "width")}
        if "page" not in payload:
            return {"bounding_box": box}
        unit = str(payload.get("unit", "POINTS")).lower()
        exported: Json = {"page_number": payload["page"], "bounding_box": {**box, "unit": unit}}
        dimensions = self.data_row.media_attributes.get("pageDimensions")
        return exported | ({"page_dimensions": dimensions} if dimensions else {})

    def _entity(self, payload: Json) -> Json:
        if "textSelections" in payload:
            tokens = tokens_of(self.state, self.data_row.text_layer_url)
            groups = [
                {
                    "id": one["groupId"],
                    "page_number": one["page"],
                    "tokens": one["tokenIds"],
                    "text": " ".join(tokens.get(token_id, "") for token_id in one["tokenIds"]),
                }
                for one in payload["textSelections"]
            ]
            return {"location": {"groups": groups}}
        try:
            location: Json = {"start": payload["location"]["start"], "end": payload["location"]["end"]}
        except KeyError:
            raise InvalidInputError(f"The entity has no location: {sorted(payload)}") from None
        if "messageId" in payload:
            return {"conversational_location": {"message_id": payload["messageId"], "location": location}}
        text = text_of(self.state, self.data_row.row_data)
        if text is not None:
            location["token"] = text[location["start"] : location["end"] + 1]
        return {"location": location}

    def _mask(self, payload: Json, feature_id: str, index: int) -> Json:
        if "mask" not in payload:
            raise InvalidInputError(f"The annotation has no mask: {sorted(payload)}")
        self.state.masks[feature_id, index] = binary_mask(self.state, payload["mask"])
        path = f"/projects/{self.project.id}/annotations/{feature_id}/index/{index}/mask"
        return {"mask": {"url": f"{self.state.base_url}/api/v1{path}"}}

    # ---- video

    def _segment(self, feature: Json, segment: Json) -> list[Keyframe]:
        frames = []
        for one in segment["keyframes"]:
            answers = one.get("classifications")
            # The service keeps only the first level of classifications below a video object.
            classifications = None if answers is None else self.classifications(feature, answers, nested=False)
            frames.append(Keyframe(one["frame"], self._geometry(feature, one, "", one["frame"]), classifications))
        return sorted(frames, key=lambda keyframe: keyframe.frame)

    def _video_masks(self, payload: Json) -> list[Annotation]:
        """Turn composite masks, one image a frame with a colour for each instance, into one annotation an instance."""
        annotations = []
        for instance in payload["masks"]["instances"]:
            feature = self._feature(instance)
            annotation = Annotation(feature, payload.get("uuid"), self._head(feature))
            annotation.exported |= {"annotation_kind": self._kind(feature["tool"], payload), "classifications": []}
            keyframes = []
            for frame in payload["masks"]["frames"]:
                mask = {
                    "colorRGB": instance["colorRGB"],
                    "instanceURI": frame.get("instanceURI"),
                    "png": frame.get("imBytes"),
                }
                geometry = self._mask({"mask": mask}, annotation.feature_id, frame["index"])
                keyframes.append(Keyframe(frame["index"], geometry, None))
            annotation.segments = _runs(keyframes)
            annotations.append(annotation)
        return annotations

    # ---- classifications

    def _root_classification(self, feature: Json, payload: Json) -> Annotation:
        spans = payload.get("frames") or _spans_of_answers(payload)
        exported = self._classification(feature, payload, nested=True)
        annotation = Annotation(feature, payload.get("uuid"), exported)
        annotation.spans = [(one["start"], one["end"]) for one in spans]
        return annotation

    def _moments(self, feature: Json, payload: Json) -> list[Annotation]:
        """Turn answers about moments of a sound into annotations, one each: radios and texts have lists there, too."""
        if feature.get("scope") != "index":
            raise InvalidInputError(f"The classification {feature['name']} is not asked of moments")
        made = []
        for answer in payload["answer"]:
            one = {"text": answer.get("value"), "checklist": [answer]}.get(feature["type"], answer)
            exported = self._classification(feature, {**payload, "answer": one}, nested=False)
            spans = [(span["start"], span["end"]) for span in answer["frames"]]
            made.append(Annotation(feature, payload.get("uuid"), exported, spans=spans))
        return made

    def classifications(self, feature: Json, payloads: list[Json] | None, *, nested: bool = True) -> list[Json]:
        """Turn the answers below a tool or an option into their exported form.

        :param nested: whether answers below answers are kept
        """
        exported = []
        for payload in payloads or []:
            children = feature.get("classifications") or feature.get("options") or []
            child = next((one for one in children if _is_named(one, payload)), None)
            if child is None:
                name = payload.get("name") or payload.get("schemaId")
                raise InvalidInputError(f"Nested classification not found below {feature.get('name')}: {name}")
            exported.append(self._classification(child, payload, nested=nested))
        return exported

    def _classification(self, feature: Json, payload: Json, *, nested: bool) -> Json:
        answer = payload.get("answer", payload.get("answers"))
        exported = self._head(feature)
        prefix = ""
        if "messageId" in payload:
            exported["message_id"] = payload["messageId"]
            prefix = "conversational_"
        kind = feature["type"].removeprefix("response-")
        if kind == "radio" and isinstance(answer, dict):
            exported[prefix + "radio_answer"] = self._option(feature, answer, nested=nested)
        elif kind == "checklist" and isinstance(answer, list):
            exported[prefix + "checklist_answers"] = [self._option(feature, one, nested=nested) for one in answer]
        elif kind in ("text", "prompt") and isinstance(answer, str):
            exported[prefix + "text_answer"] = {"content": answer, "classifications": []}
        else:
            raise InvalidInputError(f"The answer does not fit the {kind} classification {feature['name']}: {answer!r}")
        return exported

    def _option(self, feature: Json, answer: Json, *, nested: bool) -> Json:
        for option in feature.get("options") or []:
            if _is_named(option, answer):
                return {
                    "feature_id": new_id(),
                    "feature_schema_id": option["featureSchemaId"],
                    "name": option.get("label", option["value"]),
                    "value": option["value"],
                    "classifications": self.classifications(option, answer.get("classifications")) if nested else [],
                }
        name = answer.get("name") or answer.get("schemaId")
        raise InvalidInputError(f"{name!r} is no option of the classification {feature['name']}")


def _is_named(feature: Json, payload: Json) -> bool:
    """Say whether an import means this feature: by its schema id, else by its name, or by an option's value."""
    if payload.get("schemaId"):
        return bool(feature["featureSchemaId"] == payload["schemaId"])
    return payload.get("name") in (feature.get("name"), feature.get("value"), feature.get("label")) and bool(
        payload.get("name")
    )


def _point_of(point: Json) -> Json:
    return {"x": float(point["x"]), "y": float(point["y"])}


def _polygon(payload: Json) -> Json:
    points = [_point_of(one) for one in payload["polygon"]]
    if points[0] != points[-1]:
        points.append(points[0])
    return {"polygon": points}


def _line(payload: Json) -> Json:
    return {"line": [_point_of(one) for one in payload["line"]]}


def _point(payload: Json) -> Json:
    return {"point": _point_of(payload["point"])}


def _message_evaluation(task: Json) -> Json:
    """Return the choice that was made among the answers of models."""
    data = {snake_case(key): value for key, value in task["data"].items()}
    for key in ("selected_messages", "ranked_messages"):
        if key in data:
            data[key] = [{snake_case(name): value for name, value in one.items()} for one in data[key]]
    if task["format"] == "message-single-selection":
        return {"selected_message": data}
    if task["format"] == "message-multi-selection":
        return {"selected_messages": {"messages": data.pop("selected_messages"), **data}}
    return {"ranked_messages": data}


def _spans_of_answers(payload: Json) -> list[Json]:
    """Return the frames that the answers of a checklist name, when the classification itself names none."""
    answers: Any = payload.get("answer", payload.get("answers"))
    found: list[Json] = []
    for answer in answers if isinstance(answers, list) else [answers]:
        for span in answer.get("frames", []) if isinstance(answer, dict) else []:
            if span not in found:
                found.append(span)
    return found


def _runs(keyframes: list[Keyframe]) -> list[list[Keyframe]]:
    """Split key frames into runs of consecutive frames: masks are not interpolated."""
    runs: list[list[Keyframe]] = []
    for keyframe in sorted(keyframes, key=lambda one: one.frame):
        if runs and runs[-1][-1].frame + 1 == keyframe.frame:
            runs[-1].append(keyframe)
        else:
            runs.append([keyframe])
    return runs
