"""How far people agree about what they draw and mark, against other implementations of the same measures."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval, Params
from scipy.optimize import linear_sum_assignment

from airflow_annotation.labels.agreement import measure_agreement
from airflow_annotation.labels.agreement.overlap import box_iou, quad_iou
from airflow_annotation.labels.masks import mask_to_rle
from tests.support.annotators import (
    BOXES,
    HEIGHT,
    WIDTH,
    Item,
    Label,
    agreement,
    box,
    box_of,
    choice,
    item_rows,
    landing,
    summary,
    value,
)


@settings(max_examples=40)
@given(BOXES, BOXES)
def test_boxes_are_matched_so_that_their_overlap_is_the_greatest(one: list[Label], other: list[Label]) -> None:
    total = 0.0
    for name in ("car", "person"):
        sides = [[label["bbox"] for label in labels if label["label"] == name] for labels in (one, other)]
        if all(sides):
            ious = coco_mask.iou(*(np.array(side) for side in sides), [0] * len(sides[1]))
            total += ious[linear_sum_assignment(ious, maximize=True)].sum()
    count = (len(one) + len(other)) / 2
    if count:
        assert value(one, other) == pytest.approx(total / count)
    else:
        assert not item_rows(agreement({"a": one, "b": other}))


def test_a_crowd_is_matched_as_scipy_does() -> None:
    chance = random.Random(5)
    sides = [[box_of([chance.uniform(0.2, 0.6) for _ in range(4)]) for _ in range(40)] for _ in range(2)]
    ious = coco_mask.iou(*(np.array([label["bbox"] for label in side]) for side in sides), [0] * 40)
    assert value(*sides) == pytest.approx(ious[linear_sum_assignment(ious, maximize=True)].sum() / 40)


@settings(max_examples=40)
@given(BOXES, BOXES, st.randoms())
def test_agreement_is_symmetric_whole_for_oneself_and_the_same_in_any_order(
    one: list[Label], other: list[Label], chance: random.Random
) -> None:
    items: list[Item] = [{"a": one, "b": other, "c": one}, {"a": choice("sun"), "b": choice("rain")}]
    report = agreement(*items)
    swapped = agreement(*({who: item[who] for who in reversed(list(item))} for item in items))
    renamed = agreement(
        *({{"a": "c", "c": "a"}.get(who, who): labels for who, labels in item.items()} for item in items)
    )
    shuffled_item = {"a": chance.sample(one, len(one)), "b": chance.sample(other, len(other)), "c": one}
    shuffled = agreement(shuffled_item, items[1])
    for again in (swapped, renamed, shuffled):
        assert [row["value"] for row in item_rows(again)] == pytest.approx([row["value"] for row in item_rows(report)])
    assert swapped.summary == report.summary
    if one:
        assert value(one, one) == pytest.approx(1)
        assert summary(report, annotator="a", other="c", label=None)["value"] == pytest.approx(1)


def test_objects_that_one_person_has_count_as_nothing_shared() -> None:
    first, second = box(0.1, 0.1, 0.2, 0.2), box(0.5, 0.5, 0.2, 0.2)
    report = agreement({"a": [first, second], "b": [first]})
    assert item_rows(report)[0]["value"] == pytest.approx(1 / 1.5)
    assert summary(report, label="car")["count"] == 1.5
    assert value([first], [{**first, "label": "person"}]) == 0
    # Two of three have nothing, so one pair agrees.
    assert value([first], [], []) == pytest.approx(1 / 3)


@settings(max_examples=40)
@given(st.lists(st.tuples(*[st.floats(0.2, 0.6)] * 4, st.floats(-180, 180)), min_size=2, max_size=2))
def test_rotated_boxes_agree_as_their_pixels_do(boxes: list[tuple[float, ...]]) -> None:
    labels = [box_of([*one[:2], *(side / 2 for side in one[2:4])], rotation=one[4]) for one in boxes]
    scale = 40
    masks = []
    for x, y, width, height, turn in boxes:
        angle = np.radians(turn)
        along, down = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        corner = np.array([x * WIDTH + WIDTH, y * HEIGHT + HEIGHT])
        right, below = along * width / 2 * WIDTH, down * height / 2 * HEIGHT
        corners = np.array([corner, corner + right, corner + right + below, corner + below]) * (scale / 10)
        size = (HEIGHT * 3 * scale // 10, WIDTH * 3 * scale // 10)
        masks.append(coco_mask.frPyObjects([corners.ravel().tolist()], *size)[0])
    expected = coco_mask.iou([masks[0]], [masks[1]], [0])[0, 0]
    assert value([labels[0]], [labels[1]]) == pytest.approx(expected, abs=0.02)


@given(
    st.tuples(*[st.floats(-1, 1)] * 2, *[st.floats(0.1, 1)] * 2),
    st.tuples(*[st.floats(-1, 1)] * 2, *[st.floats(0.1, 1)] * 2),
)
def test_the_overlap_of_quadrilaterals_is_exact(one: tuple[float, ...], other: tuple[float, ...]) -> None:
    sides = np.array([one]), np.array([other])
    corners = [
        np.stack([of[:, :2], of[:, :2] + of[:, 2:] * (1, 0), of[:, :2] + of[:, 2:], of[:, :2] + of[:, 2:] * (0, 1)], 1)
        for of in sides
    ]
    assert quad_iou(*corners) == pytest.approx(box_iou(*sides), abs=1e-12)
    assert quad_iou(corners[0], corners[0]) == pytest.approx(1)


def test_masks_polygons_and_ellipses_agree_by_their_pixels() -> None:
    masks = []
    for left in (20, 40):
        mask = np.zeros((HEIGHT, WIDTH), np.bool_)
        mask[10:60, left : left + 60] = True
        rle = mask_to_rle(mask)
        masks.append({"type": "instance", "label": "car", "mask_size": rle.size, "mask_counts": rle.counts})
    assert value([masks[0]], [masks[1]]) == pytest.approx(40 / 80)
    polygons = [
        {"type": "polygon", "label": "car", "points": [[x, 0.1], [x + 0.3, 0.1], [x + 0.3, 0.6], [x, 0.6]]}
        for x in (0.1, 0.2)
    ]
    assert value([polygons[0]], [polygons[1]]) == pytest.approx(40 / 80)
    # A mask and a polygon, and a box, of one place are the same.
    assert value([polygons[0]], [masks[0]]) == pytest.approx(1)
    assert value([box(0.1, 0.1, 0.3, 0.5)], [masks[1]]) == pytest.approx(40 / 80)
    ellipse = {"type": "ellipse", "label": "car", "bbox": [0.1, 0.1, 0.3, 0.5]}
    assert value([ellipse], [masks[0]]) == pytest.approx(np.pi / 4, abs=0.01)


def test_parts_of_one_mask_may_have_several_sizes() -> None:
    def painted(height: int, width: int, columns: slice) -> Label:
        mask = np.zeros((height, width), np.bool_)
        mask[:, columns] = True
        rle = mask_to_rle(mask)
        return {"type": "segmentation", "label": "road", "mask_size": rle.size, "mask_counts": rle.counts}

    left, right = painted(HEIGHT, WIDTH, slice(0, 100)), painted(50, 100, slice(50, 100))
    assert value([left, right], [painted(HEIGHT, WIDTH, slice(0, 200))]) == 1


@pytest.mark.parametrize("track", [{}, {"track_id": "t", "frame": 0}])
def test_a_mask_agrees_with_an_outline_where_the_size_of_the_image_is_not_known(track: dict[str, Any]) -> None:
    pixels = np.zeros((60, 80), np.bool_)
    pixels[15:45, 20:60] = True
    rle = mask_to_rle(pixels)
    mask = {"type": "instance", "label": "car", "mask_size": list(rle.size), "mask_counts": rle.counts, **track}
    corners = [[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]]
    outline = {"type": "polygon", "label": "car", "points": corners, **track}
    batch = landing({"a": [mask], "b": [outline]})
    sizes = {side: pa.nulls(1, pa.int32()) for side in ("width", "height")}
    columns = {field.name: sizes.get(field.name, batch.items.column(field.name)) for field in batch.items.schema}
    unknown = batch._replace(items=pa.RecordBatch.from_arrays([*columns.values()], schema=batch.items.schema))
    alike = measure_agreement([unknown]).items["value"].to_pylist()
    assert alike == pytest.approx([1.0] * 3, abs=0.01)


def test_semantic_masks_agree_by_class() -> None:
    def painted(name: str, rows: slice) -> Label:
        mask = np.zeros((HEIGHT, WIDTH), np.bool_)
        mask[rows] = True
        rle = mask_to_rle(mask)
        return {"type": "segmentation", "label": name, "mask_size": rle.size, "mask_counts": rle.counts}

    # The road of the first person is in two strokes.
    report = agreement(
        {
            "a": [painted("road", slice(0, 20)), painted("road", slice(20, 40)), painted("sky", slice(50, 60))],
            "b": [painted("road", slice(0, 40)), painted("sky", slice(50, 70))],
        }
    )
    assert summary(report, label="road")["value"] == pytest.approx(1)
    assert summary(report, label="sky")["value"] == pytest.approx(1 / 2)


@settings(max_examples=40)
@given(st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=17, max_size=17))
def test_keypoints_agree_by_cocos_oks(points: list[tuple[float, ...]]) -> None:
    sigmas = Params("keypoints").kpt_oks_sigmas
    parent = {"label_id": "person", **box(0.2, 0.2, 0.5, 0.5, "person")}
    sides = [
        [
            parent,
            *(
                {"type": "keypoint", "label": f"point {index}", "field": "points", "label_id": f"p{index}"}
                | {"parent_label_id": "person", "point_index": index, "points": [[point[at], point[at + 1]]]}
                for index, point in enumerate(points)
            ),
        ]
        for at in (0, 2)
    ]
    report = agreement(
        dict(zip("ab", sides, strict=True)), keypoint_sigmas={str(index): one for index, one in enumerate(sigmas)}
    )
    (found,) = (row["value"] for row in item_rows(report) if row["field"] == "points")
    area = 0.25 * WIDTH * HEIGHT
    evaluation = COCOeval(iouType="keypoints")
    evaluation._gts[1, 1] = [{"area": area, "bbox": [40, 20, 100, 50], "keypoints": coco_points(points, 0)}]
    evaluation._dts[1, 1] = [{"score": 1, "keypoints": coco_points(points, 2)}]
    assert found == pytest.approx(evaluation.computeOks(1, 1)[0, 0], abs=1e-9)


def coco_points(points: Iterable[tuple[float, ...]], at: int) -> list[float]:
    return [number for point in points for number in (point[at] * WIDTH, point[at + 1] * HEIGHT, 2)]


def test_a_point_that_one_person_has_not_set_counts_as_nothing() -> None:
    points = [
        {"type": "keypoint", "label": name, "parent_label_id": "g", "label_id": name, "points": [[x, 0.5]]}
        for name, x in (("nose", 0.3), ("ear", 0.6))
    ]
    assert value(points, points[:1]) == pytest.approx(1 / 2)
    assert value(points[:1], points[:1]) == pytest.approx(1)


def test_spans_agree_by_the_characters_or_the_time_that_they_share() -> None:
    def span(label: str, **bounds: float) -> Label:
        return {"type": "span", "label": label, **bounds}

    assert value([span("name", span_start=0, span_end=4)], [span("name", span_start=2, span_end=6)]) == pytest.approx(
        2 / 6
    )
    assert value([span("name", time=1.0, time_end=2.0)], [span("name", time=1.0, time_end=3.0)]) == pytest.approx(1 / 2)
    assert value([span("name", span_start=0, span_end=4)], [span("place", span_start=0, span_end=4)]) == 0


def test_polylines_agree_by_what_runs_along_each_other() -> None:
    def line(*points: list[float]) -> Label:
        return {"type": "polyline", "label": "lane", "points": points}

    assert value([line([0.1, 0.5], [0.9, 0.5])], [line([0.9, 0.501], [0.1, 0.501])]) == pytest.approx(1)
    assert value([line([0.1, 0.5], [0.9, 0.5])], [line([0.1, 0.8], [0.9, 0.8])]) == 0
    half = value([line([0.1, 0.5], [0.9, 0.5])], [line([0.1, 0.5], [0.5, 0.5])])
    assert half == pytest.approx(2 * 0.5 / 1.5, abs=0.02)


def test_tracks_agree_over_all_their_frames() -> None:
    def track(*frames: tuple[int, float], **columns: Any) -> list[Label]:
        return [
            box(x, 0, 0.2, 0.2, track_id="t", label_id="t", frame=frame, is_keyframe=True, **columns)
            for frame, x in frames
        ]

    # The box of the second person is where the other one's would be, with a key frame less.
    assert value(track((0, 0.0), (5, 0.25), (10, 0.5)), track((0, 0.0), (10, 0.5))) == pytest.approx(1)
    # Frames 0 to 9 and 5 to 14 of the same place share 5 of 15.
    assert value(track((0, 0.1), (9, 0.1)), track((5, 0.1), (14, 0.1))) == pytest.approx(5 / 15)
    hidden = [*track((0, 0.1), attributes='{"enabled": false}'), *track((9, 0.1))]
    assert value(track((0, 0.1), (9, 0.1)), hidden) == pytest.approx(2 / 10)


def test_tracks_are_shown_as_long_as_their_rows_say() -> None:
    def track(*rows: tuple[int, int, float]) -> list[Label]:
        return [
            box(x, 0, 0.2, 0.2, track_id="t", label_id="t", frame=frame, frame_end=end, is_keyframe=True)
            for frame, end, x in rows
        ]

    assert value(track((0, 99, 0.1)), track((0, 49, 0.1))) == pytest.approx(50 / 100)
    # Between its segments an object is not shown, and it stays where it was until it disappears.
    assert value(track((0, 9, 0.1), (90, 99, 0.1)), track((0, 99, 0.1))) == pytest.approx(20 / 100)
    assert value(track((0, 9, 0.1), (90, 99, 0.7)), track((0, 9, 0.1), (90, 99, 0.7))) == 1
    assert value(track((0, 9, 0.1), (90, 99, 0.7)), track((0, 9, 0.1))) == pytest.approx(10 / 20)
    assert value(track((0, 4, 0.1), (5, 9, 0.6)), track(*((at, at, 0.1 + at / 10) for at in range(6)))) > 0.5
    # A few bytes can say that an object is shown for years.
    assert value(track((0, 2_000_000_000, 0.1)), track((0, 2_000_000_000, 0.1))) == 1


def test_frames_are_those_of_the_tool_where_those_of_the_file_are_not_known() -> None:
    def track(shift: float) -> list[Label]:
        return [
            box(x + shift, 0, 0.1, 0.2, track_id="t", label_id="t", tool_frame=frame, is_keyframe=True)
            for frame, x in ((1, 0.0), (101, 0.5))
        ]

    between = {**track(0)[0], "tool_frame": 51, "bbox": [0.25, 0, 0.1, 0.2]}
    assert value(track(0), [track(0)[0], between, track(0)[1]]) == pytest.approx(1)
    assert value(track(0), track(0.05)) == pytest.approx(1 / 3)


def test_pages_and_frames_are_compared_by_themselves() -> None:
    first = box(0.1, 0.1, 0.2, 0.2)
    assert value([{**first, "target": "image[0]"}], [{**first, "target": "image[1]"}]) == 0
    assert value([{**first, "frame": 1}], [{**first, "frame": 1}]) == 1
    assert value([{**first, "frame": 1}], [{**first, "frame": 2}]) == 0
