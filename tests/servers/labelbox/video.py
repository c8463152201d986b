"""Video annotations in exports: frames, segments and key frames."""

from __future__ import annotations

import itertools

from .annotations import Annotation, Keyframe
from .entities import Json

INTERPOLATED = ("bounding_box", "point", "line", "polygon")
"""Geometries that move linearly between key frames; masks are held."""


def render(annotations: list[Annotation], *, interpolated: bool) -> Json:
    """Return the `annotations` of a video label.

    :param interpolated: whether `frames` also has the frames between key frames
    """
    frames: dict[int, Json] = {}
    segments: dict[str, list[list[int]]] = {}
    key_frames: dict[str, list[int]] = {}
    timeless = []

    def at(frame: int) -> Json:
        return frames.setdefault(frame, {"objects": {}, "classifications": []})

    for annotation in annotations:
        feature_id = annotation.feature_id
        if annotation.segments:
            segments[feature_id] = [[one[0].frame, one[-1].frame] for one in annotation.segments]
            key_frames[feature_id] = [keyframe.frame for one in annotation.segments for keyframe in one]
            for segment in annotation.segments:
                for shown in _fill(segment) if interpolated else segment:
                    at(shown.frame)["objects"][feature_id] = _object(annotation, shown)
        elif annotation.spans:
            segments[feature_id] = [list(span) for span in annotation.spans]
            key_frames[feature_id] = sorted({frame for span in annotation.spans for frame in span})
            for start, end in annotation.spans:
                for frame in range(start, end + 1) if interpolated else sorted({start, end}):
                    at(frame)["classifications"].append(annotation.exported)
        else:
            timeless.append(annotation.exported)
    return {
        "frames": {str(frame): frames[frame] for frame in sorted(frames)},
        "segments": segments,
        "key_frame_feature_map": key_frames,
        "classifications": timeless,
    }


def _object(annotation: Annotation, keyframe: Keyframe) -> Json:
    return {**annotation.exported, **keyframe.geometry, "classifications": keyframe.classifications or []}


def _fill(segment: list[Keyframe]) -> list[Keyframe]:
    """Return a frame for every frame of a segment. Answers hold until the next key frame that has some."""
    filled = []
    answers = None
    for start, end in itertools.pairwise(segment):
        answers = start.classifications if start.classifications is not None else answers
        for frame in range(start.frame, end.frame):
            share = (frame - start.frame) / (end.frame - start.frame)
            filled.append(Keyframe(frame, _between(start.geometry, end.geometry, share), answers))
    last = segment[-1]
    answers = last.classifications if last.classifications is not None else answers
    filled.append(Keyframe(last.frame, last.geometry, answers))
    return filled


def _between(start: Json, end: Json, share: float) -> Json:
    (kind,) = (key for key in start if key in (*INTERPOLATED, "mask"))
    if kind == "mask" or share == 0 or len(start[kind]) != len(end[kind]):
        return start
    if isinstance(start[kind], list):
        return {kind: [_mix(one, other, share) for one, other in zip(start[kind], end[kind], strict=True)]}
    return {kind: _mix(start[kind], end[kind], share)}


def _mix(start: Json, end: Json, share: float) -> Json:
    return {key: value + (end[key] - value) * share for key, value in start.items()}
