"""How far people agree, against other implementations of the same measures."""

from __future__ import annotations

import itertools
import random
import time
import tracemalloc
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval, Params
from scipy.optimize import linear_sum_assignment
from scipy.stats import kendalltau

from airflow_annotation.labels.agreement import AGREEMENT, AgreementMeter, AgreementReport, measure_agreement
from airflow_annotation.labels.agreement.answers import edit_distance
from airflow_annotation.labels.agreement.overlap import box_iou, quad_iou
from airflow_annotation.labels.masks import mask_to_rle
from airflow_annotation.labels.tables import LabelTables
from tests.support.generated import batch_of, project_uri
from tests.support.three_people import labeled_by_three

Label = dict[str, Any]
Item = Mapping[str, Sequence[Label]]
"""What each person labeled."""

WIDTH, HEIGHT = 200, 100


def landing(*items: Item, **columns: dict[str, Any]) -> LabelTables:
    """Return a landing of images, with what each annotator submitted for each; ``columns`` are an annotator's own."""
    rows, annotations, labels = [], [], []
    for number, item in enumerate(items):
        own = {"project": project_uri(), "item_id": str(number), "item_key": f"photo-{number}"}
        rows.append(
            own
            | {"tool": "label_studio", "media_type": "image", "width": WIDTH, "height": HEIGHT, "status": "labeled"}
            | {"annotation_count": len(item), "prediction_count": 0}
        )
        for annotator, given_labels in item.items():
            key = own | {"annotation_id": f"{number}-{annotator}", "origin": "person"}
            annotations.append(
                key
                | {"annotator": annotator, "status": "submitted", "label_count": len(given_labels)}
                | columns.get(annotator, {})
            )
            labels += [
                key | {"ordinal": ordinal, "label_id": f"r{ordinal}", "field": "field"} | label
                for ordinal, label in enumerate(given_labels)
            ]
    return batch_of(rows, annotations, labels)


def choice(*classes: str) -> list[Label]:
    return [{"type": "classification" if len(classes) < 2 else "classifications", "label": name} for name in classes]


def box(x: float, y: float, width: float, height: float, label: str = "car", **columns: Any) -> Label:
    return {"type": "detection", "label": label, "bbox": [x, y, width, height], **columns}


def box_of(numbers: Sequence[float], **columns: Any) -> Label:
    x, y, width, height = numbers
    return box(x, y, width, height, **columns)


def agreement(*items: Item, **settings: Any) -> AgreementReport:
    return measure_agreement([landing(*items)], **settings)


def value(*labels: Sequence[Label], **settings: Any) -> float:
    """Return how far people agree about one item."""
    (row,) = item_rows(agreement(dict(zip("abcdefgh", labels, strict=False)), **settings))
    return float(row["value"])


def item_rows(report: AgreementReport) -> list[dict[str, Any]]:
    return [row for row in report.items.to_pylist() if row["annotation_id"] is None]


def summary(report: AgreementReport, **chosen: Any) -> dict[str, Any]:
    """Return a row of the summary: of all annotators and classes, unless told otherwise."""
    wanted = {"label": None, "annotator": None, "other": None} | chosen
    (row,) = (row for row in report.summary.to_pylist() if all(row[name] == what for name, what in wanted.items()))
    return dict(row)


# Answers

ANSWERS = st.lists(
    st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["sun", "rain", "snow"]), max_size=4),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40)
@given(ANSWERS)
def test_alpha_of_classes_is_that_of_the_package_krippendorff(answers: list[dict[str, str]]) -> None:
    krippendorff = pytest.importorskip("krippendorff")
    report = agreement(*({who: choice(name) for who, name in item.items()} for item in answers))
    data = [[item.get(who) for item in answers] for who in "abcd"]
    try:
        expected = krippendorff.alpha(value_counts=counts_of(data), level_of_measurement="nominal")
    except (ValueError, AssertionError):
        expected = None
    found = report.summary.to_pylist()
    alpha = next((row["alpha"] for row in found if row["annotator"] is None and row["label"] is None), None)
    assert_close(alpha, expected)


@settings(max_examples=40)
@given(
    st.lists(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 5), max_size=4), min_size=1, max_size=12),
    st.sampled_from([("scalar", "interval"), ("rating", "ordinal")]),
)
def test_alpha_of_numbers_is_that_of_the_package_krippendorff(
    answers: list[dict[str, int]], kind: tuple[str, str]
) -> None:
    krippendorff = pytest.importorskip("krippendorff")
    type_, level = kind
    report = agreement(
        *({who: [{"type": type_, "number": float(number)}] for who, number in item.items()} for item in answers)
    )
    data = [[item.get(who) for item in answers] for who in "abcd"]
    counts, domain = counts_of(data), sorted({number for row in data for number in row if number is not None})
    try:
        expected = krippendorff.alpha(value_counts=counts, value_domain=domain, level_of_measurement=level)
    except (ValueError, AssertionError):
        expected = None
    alpha = next((row["alpha"] for row in report.summary.to_pylist() if row["annotator"] is None), None)
    assert_close(alpha, expected)


def counts_of(data: list[list[Any]]) -> Any:
    """Return how often each value is in each unit."""
    domain = sorted({name for row in data for name in row if name is not None})
    return np.array([[[row[unit] for row in data].count(name) for name in domain] for unit in range(len(data[0]))])


def assert_close(found: float | None, expected: float | None) -> None:
    if expected is None or not np.isfinite(expected):
        assert found is None
    else:
        assert found == pytest.approx(expected, abs=1e-9)


def test_alpha_of_the_example_in_krippendorffs_paper() -> None:
    # Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), example C: four observers, twelve units.
    data = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    answers = [
        {who: row[unit] for who, row in zip("abcd", data, strict=True) if row[unit] is not None} for unit in range(12)
    ]
    nominal = agreement(*({who: choice(str(number)) for who, number in item.items()} for item in answers))
    assert summary(nominal)["alpha"] == pytest.approx(0.743, abs=5e-4)
    for type_, alpha in (("rating", 0.815), ("scalar", 0.849)):
        report = agreement(
            *({who: [{"type": type_, "number": number}] for who, number in item.items()} for item in answers)
        )
        assert summary(report)["alpha"] == pytest.approx(alpha, abs=5e-4)


@settings(max_examples=40)
@given(st.lists(st.tuples(*[st.sampled_from(["sun", "rain", "snow"])] * 2), min_size=1, max_size=20))
def test_kappa_is_that_of_scikit_learn(answers: list[tuple[str, str]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    report = agreement(*({"ada": choice(one), "ben": choice(other)} for one, other in answers))
    ada, ben = zip(*answers, strict=True)
    found = summary(report, annotator="ada", other="ben")
    assert found["value"] == pytest.approx(metrics.accuracy_score(ada, ben))
    assert found["pairs"] == len(answers)
    expected = metrics.cohen_kappa_score(ada, ben) if len({*ada, *ben}) > 1 else None
    assert_close(found["kappa"], expected)
    for name in {*ada, *ben}:
        one, other = ([answer == name for answer in side] for side in (ada, ben))
        of_class = summary(report, label=name, annotator="ada", other="ben")
        assert of_class["value"] == pytest.approx(metrics.f1_score(one, other))
        assert_close(of_class["kappa"], metrics.cohen_kappa_score(one, other) if len({*one, *other}) > 1 else None)


def test_answers_of_several_classes_agree_by_what_they_share() -> None:
    several = {"type": "classifications"}
    sun, rain, wind = ({**several, "label": name} for name in ("sun", "rain", "wind"))
    assert value([sun, rain], [sun, wind]) == pytest.approx(1 / 3)
    assert value([sun], [{**several, "label": "sun", "labels": ["sun", "rain"]}]) == pytest.approx(1 / 2)
    # Nothing chosen is an answer, too, and two who have chosen nothing agree.
    assert value([sun], []) == 0
    assert value([sun], [], []) == pytest.approx(1 / 3)


def test_who_leaves_a_question_open_is_not_compared() -> None:
    report = agreement({"a": choice("sun"), "b": choice("sun"), "c": []})
    (row,) = item_rows(report)
    assert row["value"] == 1
    assert row["annotators"] == ["a", "b"]


def test_numbers_agree_by_their_distance() -> None:
    def number(of: float, type_: str = "scalar") -> list[Label]:
        return [{"type": type_, "number": of}]

    assert value(number(10), number(30)) == pytest.approx(1 - 20 / 40)
    assert value(number(0), number(0)) == 1
    assert value(number(-1), number(1)) == 0
    assert value(number(2, "rating"), number(3, "rating"), spans={"field": 4}) == pytest.approx(3 / 4)


@given(st.text(max_size=12), st.text(max_size=12))
def test_edits_are_counted_as_the_textbook_does(one: str, other: str) -> None:
    rows = [[*range(len(other) + 1)]]
    for number, character in enumerate(one, 1):
        row = [number]
        for place, facing in enumerate(other):
            row.append(min(row[-1] + 1, rows[-1][place + 1] + 1, rows[-1][place] + (character != facing)))
        rows.append(row)
    assert edit_distance(one, other) == rows[-1][-1]


def test_texts_agree_by_their_edit_distance() -> None:
    texts = [[{"type": "text", "text": text}] for text in ("kitten", "sitting")]
    assert value(*texts) == pytest.approx(1 - 3 / 7)


@given(st.permutations("abcde"), st.permutations("abcde"))
def test_rankings_agree_as_kendalls_tau_says(one: list[str], other: list[str]) -> None:
    rankings = [[{"type": "ranking", "labels": ranking}] for ranking in (one, other)]
    tau = kendalltau(*([ranking.index(entry) for entry in "abcde"] for ranking in (one, other))).statistic
    assert value(*rankings) == pytest.approx((1 + tau) / 2)


def test_rankings_with_buckets_agree_where_entries_are_in_the_same_ones() -> None:
    def ranking(**buckets: list[str]) -> list[Label]:
        return [{"type": "ranking", "label": name, "labels": entries} for name, entries in buckets.items()]

    assert value(ranking(good=["a", "b"], bad=["c"]), ranking(bad=["c"], good=["a", "b"])) == 1
    # Of a-b, a-c and b-c the last two are as they were.
    assert value(ranking(good=["a", "b"], bad=["c"]), ranking(good=["b", "a"], bad=["c"])) == pytest.approx(2 / 3)
    assert value(ranking(good=["a"]), ranking(bad=["a"])) == 0


# Objects

SIDES = st.floats(0.05, 0.5)
PLACES = st.floats(0, 0.5)
BOXES = st.lists(st.builds(box, PLACES, PLACES, SIDES, SIDES, st.sampled_from(["car", "person"])), max_size=5)


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


# Who is compared


def test_each_annotator_counts_once_and_only_with_what_was_submitted() -> None:
    later = {"annotator": "a", "updated_at": datetime(2026, 1, 1, tzinfo=timezone.utc)}
    item = {"a": choice("sun"), "b": choice("sun"), "c": choice("rain"), "d": choice("rain")}
    batch = landing(item, b=later, c={"status": "skipped"})
    report = measure_agreement([batch])
    # The later one of a's two is compared with d's.
    assert [row["annotator"] for row in report.items.to_pylist()] == [None, "a", "d"]
    assert [row["annotation_id"] for row in report.items.to_pylist()] == [None, "0-b", "0-d"]


def test_a_model_is_an_annotator_by_choice() -> None:
    model = {"origin": "prediction", "annotator": None, "model_version": "v1"}
    batch = landing({"a": choice("sun"), "model": choice("sun")}, model=model)
    origins = pa.array(["person", "prediction"])
    labels = batch.labels.set_column(4, batch.labels.schema.field("origin"), origins)
    batch = batch._replace(labels=labels)
    assert not measure_agreement([batch]).items.num_rows
    report = measure_agreement([batch], include_predictions=True)
    assert summary(report, annotator="a", other="v1")["value"] == 1


def test_people_without_a_name_are_different_people() -> None:
    nameless = {"annotator": None}
    batch = landing({"a": choice("sun"), "b": choice("sun"), "c": choice("rain")}, a=nameless, b=nameless, c=nameless)
    report = measure_agreement([batch])
    assert item_rows(report)[0]["value"] == pytest.approx(1 / 3)
    assert not [row for row in report.summary.to_pylist() if row["annotator"] is not None]


def test_agreement_with_the_ground_truth_is_said_of_each_submission() -> None:
    item = {"a": choice("sun"), "b": choice("rain"), "expert": choice("sun")}
    report = measure_agreement([landing(item, expert={"ground_truth": True})])
    found = {row["annotator"]: (row["value"], row["ground_truth"]) for row in report.items.to_pylist()}
    assert found == {None: (pytest.approx(1 / 3), None), "a": (0.5, 1), "b": (0, 0), "expert": (0.5, None)}


def test_ground_truth_counts_before_what_the_same_person_submitted_later() -> None:
    later = {"annotator": "a", "updated_at": datetime(2026, 1, 1, tzinfo=timezone.utc)}
    item = {"a": choice("sun"), "again": choice("rain"), "b": choice("sun")}
    report = measure_agreement([landing(item, a={"ground_truth": True}, again=later)])
    found = {row["annotation_id"]: row["ground_truth"] for row in report.items.to_pylist()}
    assert found == {None: None, "0-a": None, "0-b": 1}


def test_answers_of_several_kinds_in_one_field_are_counted_by_themselves() -> None:
    def answers(name: str, stars: float, count: float) -> list[Label]:
        return [*choice(name), {"type": "rating", "number": stars}, {"type": "scalar", "number": count}]

    one, other = answers("sun", 4, 10), answers("sun", 2, 10)
    report = agreement({"a": one[:2], "b": other[:2]}, {"a": other[:2], "b": other[:2]})
    values = {row["measure"]: row for row in report.summary.to_pylist() if row["annotator"] is row["label"] is None}
    assert values["match"]["value"] == 1
    assert values["distance"]["value"] == pytest.approx((1 - 2 / 6 + 1) / 2)
    # Krippendorff's alpha of ranks, for the units (4, 2) and (2, 2).
    assert values["distance"]["alpha"] == pytest.approx(0)
    batches = [landing({"a": one[2:], "b": other[2:]}), landing({"a": one[1:2], "b": other[1:2]})]
    (row,) = (row for row in measure_agreement(batches).summary.to_pylist() if row["annotator"] is None)
    assert row["alpha"] == pytest.approx(1 - 3 * (2 * 4) / (2 * 4 * (100 + 100 + 16 + 4) - 2 * 26**2))


@given(st.integers(1, 4))
def test_batches_of_any_size_give_the_same(size: int) -> None:
    chance = random.Random(7)
    items: list[Item] = [
        {
            who: [
                *choice(chance.choice(["sun", "rain"])),
                {**box(0.1, chance.random() / 2, 0.3, 0.3), "field": "boxes"},
            ]
            for who in chance.sample("abc", chance.randint(0, 3))
        }
        for _ in range(9)
    ]
    whole = landing(*items)
    meter = AgreementMeter()
    rows = []
    for first in range(0, len(items), size):
        ids = pa.array([str(number) for number in range(first, first + size)])
        parts = (table.filter(pa.compute.is_in(table["item_id"], value_set=ids)) for table in whole)
        rows.append(meter.add(LabelTables(*parts)))
    expected = measure_agreement([whole])
    key = lambda row: str([row[name] for name in ("item_id", "field", "annotation_id")])  # noqa: E731
    found = sorted(pa.Table.from_batches(rows, AGREEMENT).to_pylist(), key=key)
    assert found == sorted(expected.items.to_pylist(), key=key)
    for one, other in itertools.zip_longest(meter.summary().to_pylist(), expected.summary.to_pylist()):
        assert one == pytest.approx(other)


def test_memory_and_time_do_not_grow_with_the_items() -> None:
    batch = labeled_by_three(100)

    def cost(batches: int) -> tuple[float, int]:
        meter = AgreementMeter()
        meter.add(batch)  # imports, caches
        tracemalloc.start()
        started = time.process_time()
        for _ in range(batches):
            meter.add(batch)
        seconds, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return seconds, peak

    (few, least), (many, most) = cost(3), cost(30)
    assert most < least * 1.2
    assert many < few * 30
    # A million labels take some 13 seconds of the processor; this is far from a loop over labels or pairs of them.
    assert many / (30 * batch.labels.num_rows) < 200e-6


def test_an_empty_landing_has_no_agreement() -> None:
    report = measure_agreement([landing()])
    assert not report.items.num_rows
    assert not report.summary.num_rows
