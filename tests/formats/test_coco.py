from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.masks import RLE, mask_to_rle, rle_to_mask
from airflow_annotation.labels.tables import LabelTables
from tests.support.datasets import (
    SCHEMA,
    add_images,
    box,
    image_index,
    item,
    mask,
    point,
    polygon,
    read_coco,
    submission,
    write,
)


def coco_annotations(folder: Path, *batches: Any, **options: Any) -> list[dict[str, Any]]:
    write(folder, batches, "coco", **options)
    found: list[dict[str, Any]] = read_coco(folder)["annotations"]
    return found


def ring() -> np.ndarray[Any, Any]:
    pixels = np.zeros((100, 200), np.uint8)
    pixels[20:60, 40:120] = 1
    pixels[30:50, 60:80] = 0
    return pixels


def test_boxes_are_in_pixels_and_categories_count_from_one(tmp_path: Path) -> None:
    found = coco_annotations(tmp_path, item("a", [box("person", 0.1, 0.2, 0.25, 0.5), box("car", 0, 0, 1, 1)]))
    assert found == [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 3 - 1,
            "bbox": [20, 20, 50, 50],
            "area": 2500,
            "iscrowd": 0,
            "annotation_id": "a-0",
            "label_id": "r0",
        },
        {**found[0], "id": 2, "category_id": 1, "bbox": [0, 0, 200, 100], "area": 20000, "label_id": "r1"},
    ]
    assert [category["name"] for category in read_coco(tmp_path)["categories"]] == ["car", "person", "tree"]


def test_objects_lead_back_to_their_labels_whatever_these_are_called(tmp_path: Path) -> None:
    names = ["plain", 'a "quoted" one', "back\\slash", "line\nend", "Stra\u00dfe"]
    labels = [box("car", 0, 0, 0.5, 0.5, label_id=name) for name in names]
    labels += [polygon("tree", (0, 0), (1, 0), (1, 1), label_id="outline")]
    found = coco_annotations(tmp_path, item("a", labels))
    assert [(one["annotation_id"], one["label_id"]) for one in found] == [("a-0", name) for name in (*names, "outline")]


def score(folder: Path, kind: str, category: int) -> float:
    """Return the average precision of a model that finds just what is labeled."""
    coco = COCO(str(folder / "annotations" / "instances_train.json"))
    found = coco.loadAnns(coco.getAnnIds(catIds=[category]))
    scoring = COCOeval(coco, coco.loadRes([{**one, "score": 0.9} for one in found]), kind)
    scoring.params.catIds = [category]
    scoring.evaluate()
    scoring.accumulate()
    scoring.summarize()
    return float(scoring.stats[0])


@pytest.mark.parametrize("attributes", [None, '{"truncated": "yes"}'])
def test_cocoeval_scores_boxes_by_their_outlines_where_asked(tmp_path: Path, attributes: str | None) -> None:
    labels = [box("car", 0.1, 0.2, 0.25, 0.5, attributes=attributes), mask("car", mask_to_rle(ring()))]
    write(tmp_path / "a", [item("a", labels)], "coco")
    assert score(tmp_path / "a", "bbox", 1) == pytest.approx(1)
    assert ["segmentation" in one for one in read_coco(tmp_path / "a")["annotations"]] == [False, True]
    write(tmp_path / "b", [item("a", labels)], "coco", box_polygons=True)
    assert score(tmp_path / "b", "segm", 1) == pytest.approx(1)
    assert read_coco(tmp_path / "b")["annotations"][0]["segmentation"] == [[20, 20, 70, 20, 70, 70, 20, 70]]


@pytest.mark.parametrize("attributes", [None, '{"truncated": "yes"}'])
def test_cocoeval_scores_keypoints_where_objects_without_any_have_zeros(tmp_path: Path, attributes: str | None) -> None:
    labels = [
        box("person", 0, 0, 0.5, 1, label_id="p"),
        point("hip", 0.25, 0.5, parent_label_id="p", point_index=0),
        box("person", 0.5, 0, 0.5, 1, attributes=attributes),
    ]
    write(tmp_path / "a", [item("a", labels)], "coco")
    assert ["keypoints" in one for one in read_coco(tmp_path / "a")["annotations"]] == [True, False]
    write(tmp_path / "b", [item("a", labels)], "coco", empty_keypoints=True)
    found = read_coco(tmp_path / "b")["annotations"]
    assert [(one["num_keypoints"], one["keypoints"]) for one in found] == [
        (1, [50, 50, 2, 0, 0, 0, 0, 0, 0]),
        (0, [0] * 9),
    ]
    scoring = COCOeval(*[COCO(str(tmp_path / "b" / "annotations" / "instances_train.json"))] * 2, "keypoints")
    for one in scoring.cocoDt.anns.values():
        one["score"] = 0.9
    scoring.params.kpt_oks_sigmas = np.full(3, 0.05)
    scoring.evaluate()
    scoring.accumulate()
    scoring.summarize()
    assert scoring.stats[0] == pytest.approx(1)


def test_images_without_labels_are_kept_and_images_nobody_looked_at_by_choice(tmp_path: Path) -> None:
    batches = [item("empty", []), item("unseen"), item("skipped", submission([], status="skipped"))]
    write(tmp_path / "a", batches, "coco")
    assert [image["item_key"] for image in read_coco(tmp_path / "a")["images"]] == ["empty"]
    assert read_coco(tmp_path / "a")["annotations"] == []
    write(tmp_path / "b", batches, "coco", include_unlabeled=True)
    assert [image["item_key"] for image in read_coco(tmp_path / "b")["images"]] == ["empty", "unseen", "skipped"]


def test_a_rotated_box_has_its_corners_as_segmentation_and_the_box_around_them(tmp_path: Path) -> None:
    # 40 x 20 pixels, turned by 90 degrees clockwise about the top left corner at (100, 20).
    (found,) = coco_annotations(tmp_path, item("a", [box("car", 0.5, 0.2, 0.2, 0.2, rotation=90)]))
    assert found["bbox"] == pytest.approx([80, 20, 20, 40])
    assert found["segmentation"][0] == pytest.approx([100, 20, 100, 60, 80, 60, 80, 20])
    assert found["area"] == pytest.approx(800)


def test_an_ellipse_has_the_box_around_it_however_it_is_turned(tmp_path: Path) -> None:
    ellipse = {"type": "ellipse", "label": "car", "bbox": [0.5, 0.2, 0.2, 0.2], "rotation": 90}
    (found,) = coco_annotations(tmp_path, item("a", [ellipse]))
    assert found["bbox"] == pytest.approx([80, 20, 20, 40])
    assert found["area"] == pytest.approx(np.pi * 20 * 10)
    assert len(found["segmentation"][0]) == 128


def test_polygons_with_one_parent_are_parts_of_one_object(tmp_path: Path) -> None:
    triangle = [(0.0, 0.0), (0.1, 0.0), (0.0, 0.2)]
    moved = [(x + 0.5, y) for x, y in triangle]
    labels = [
        polygon("tree", *triangle, label_id="one"),
        polygon("tree", *moved, parent_label_id="one"),
        polygon("car", *moved, parent_label_id="one"),
    ]
    found = coco_annotations(tmp_path, item("a", labels))
    assert [len(one["segmentation"]) for one in found] == [2, 1]
    assert found[0]["bbox"] == [0, 0, 120, 20]
    assert found[0]["area"] == pytest.approx(400)


def test_polygons_whose_parent_is_not_in_the_dataset_are_an_object_of_each_class(tmp_path: Path) -> None:
    triangle = [(0.0, 0.0), (0.1, 0.0), (0.0, 0.2)]
    moved = [(x + 0.5, y) for x, y in triangle]
    part = {"parent_label_id": "gone", "labels": ["tree", "car"]}
    labels = [polygon("tree", *triangle, **part), polygon("tree", *moved, **part)]
    found = coco_annotations(tmp_path, item("a", labels))
    assert [len(one["segmentation"]) for one in found] == [2, 2]
    assert len({one["category_id"] for one in found}) == 2


def test_masks_are_exact_with_their_holes(tmp_path: Path) -> None:
    (found,) = coco_annotations(tmp_path, item("a", [mask("car", mask_to_rle(ring()))]))
    assert (found["bbox"], found["area"], found["iscrowd"]) == ([40, 20, 80, 40], 2800, 0)
    read = RLE(tuple(found["segmentation"]["size"]), found["segmentation"]["counts"])
    assert np.array_equal(rle_to_mask(read), ring())


def test_masks_are_polygons_where_asked(tmp_path: Path) -> None:
    (found,) = coco_annotations(tmp_path, item("a", [mask("car", mask_to_rle(ring()))]), masks="polygons")
    assert found["segmentation"] == [[40, 20, 120, 20, 120, 60, 40, 60]]


def test_an_empty_mask_is_left_out(tmp_path: Path) -> None:
    assert coco_annotations(tmp_path, item("a", [mask("car", mask_to_rle(ring() * 0))])) == []


def test_attributes_are_kept_and_one_of_them_makes_a_crowd(tmp_path: Path) -> None:
    attributes = json.dumps({"iscrowd": "yes", "colour": ["red", "blue"]})
    found = coco_annotations(tmp_path, item("a", [box("car", 0, 0, 0.5, 0.5, attributes=attributes)]))
    assert found[0]["iscrowd"] == 1
    assert found[0]["attributes"] == {"iscrowd": "yes", "colour": ["red", "blue"]}


def test_keypoints_are_their_parents_in_the_order_of_the_skeleton(tmp_path: Path) -> None:
    labels = [
        box("person", 0, 0, 0.5, 1, label_id="p"),
        point("foot", 0.25, 1, parent_label_id="p", point_index=2, visibility=1),
        point("hip", 0.25, 0.5, parent_label_id="p", point_index=0),
    ]
    (found,) = coco_annotations(tmp_path, item("a", labels), skeleton=[[1, 2], [2, 3]])
    assert found["keypoints"] == [50, 50, 2, 0, 0, 0, 50, 100, 1]
    assert found["num_keypoints"] == 2
    category = read_coco(tmp_path)["categories"][1]
    assert (category["keypoints"], category["skeleton"]) == (["hip", "knee", "foot"], [[1, 2], [2, 3]])


def person(*points: dict[str, Any]) -> LabelTables:
    return item("a", [box("person", 0, 0, 0.5, 1, label_id="p"), *({**one, "parent_label_id": "p"} for one in points)])


def test_the_name_of_a_point_says_its_place_whatever_the_order_of_the_config(tmp_path: Path) -> None:
    points = [point("hip", 0.1, 0.5, point_index=0), point("foot", 0.3, 0.5, point_index=2)]
    (found,) = coco_annotations(tmp_path, person(*points), keypoints=["foot", "knee", "hip"])
    assert found["keypoints"] == pytest.approx([60, 50, 2, 0, 0, 0, 20, 50, 2])


def test_the_number_of_a_point_says_its_place_where_points_have_no_name(tmp_path: Path) -> None:
    points = [point("hip", 0.1, 0.5, point_index=1), point("hip", 0.3, 0.5, point_index=0)]
    (found,) = coco_annotations(tmp_path, person(*points), keypoints=["left", "right"])
    assert found["keypoints"] == pytest.approx([60, 50, 2, 20, 50, 2])


@pytest.mark.parametrize(
    ("odd", "options"),
    [
        (point("tail", 0.3, 0.5), {}),
        (point("tail", 0.3, 0.5, point_index=0), {}),
        (point("foot", 0.3, 0.5, point_index=0), {"keypoints": ["hip", "knee"]}),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_point_of_an_unknown_class_takes_no_place_of_another(
    tmp_path: Path, odd: dict[str, Any], options: dict[str, Any], *, is_first: bool
) -> None:
    hip = point("hip", 0.1, 0.5)
    batch = person(odd, hip) if is_first else person(hip, odd)
    with pytest.raises(AnnotationError, match=r"Item 'a' has a keypoint \('r\d' of class '(tail|foot)'\) that is none"):
        coco_annotations(tmp_path / "error", batch, **options)
    left_out: Counter[str] = Counter()
    write(tmp_path, [batch], "coco", left_out=left_out, unknown_classes="drop", **options)
    (found,) = read_coco(tmp_path)["annotations"]
    assert (found["keypoints"][:3], found["num_keypoints"]) == (pytest.approx([20, 50, 2]), 1)
    assert left_out == {"keypoints of unknown classes": 1}


def test_points_of_a_place_that_is_taken_are_counted(tmp_path: Path) -> None:
    left_out: Counter[str] = Counter()
    points = [point("hip", x, 0.5) for x in (0.1, 0.2, 0.3)]
    write(tmp_path, [person(*points, point("knee", 0.4, 0.5))], "coco", left_out=left_out)
    (found,) = read_coco(tmp_path)["annotations"]
    assert found["keypoints"] == pytest.approx([20, 50, 2, 80, 50, 2, 0, 0, 0])
    assert left_out == {"keypoints of a place that is taken": 2}


def test_a_point_that_no_object_of_its_region_has_is_counted_once(tmp_path: Path) -> None:
    left_out: Counter[str] = Counter()
    region = box("person", 0, 0, 0.5, 1, label_id="p", labels=["person", "car"])
    points = [point("hip", x, 0.5, parent_label_id="p") for x in (0.1, 0.2)]
    (file,) = write(tmp_path, [item("a", [region, *points])], "coco", left_out=left_out)["objects"]
    assert (file.rows, left_out) == (2, {"keypoints of a place that is taken": 1})


def test_all_points_of_a_label_are_points_of_its_object(tmp_path: Path) -> None:
    several = {**point("person", 0, 0), "points": [[0.1, 0.5], [0.2, 0.5], [0.3, 0.5]]}
    for name, more in (("parent", {"parent_label_id": "p"}), ("alone", {})):
        (*_, found) = coco_annotations(tmp_path / name, item("a", [{**several, **more}]), classes=["person"])
        assert found["keypoints"] == pytest.approx([20, 50, 2, 40, 50, 2, 60, 50, 2]), name
        assert found["bbox"] == pytest.approx([20, 50, 40, 0]), name


def test_several_points_with_the_name_of_one_are_counted(tmp_path: Path) -> None:
    left_out: Counter[str] = Counter()
    several = {**point("knee", 0, 0), "points": [[0.1, 0.5], [0.2, 0.5]]}
    write(tmp_path, [person(several)], "coco", left_out=left_out)
    assert read_coco(tmp_path)["annotations"][0]["keypoints"] == pytest.approx([0, 0, 0, 20, 50, 2, 0, 0, 0])
    assert left_out == {"keypoints of a place that is taken": 1}


def test_a_point_without_a_place_is_counted(tmp_path: Path) -> None:
    left_out: Counter[str] = Counter()
    write(tmp_path, [person({**point("knee", 0, 0), "points": []})], "coco", left_out=left_out)
    assert left_out == {"shapes without points": 1}


def test_a_point_of_two_classes_is_a_point_of_each(tmp_path: Path) -> None:
    (found,) = coco_annotations(tmp_path, person(point("hip", 0.1, 0.5, labels=["hip", "foot"], point_index=0)))
    assert found["keypoints"] == pytest.approx([20, 50, 2, 0, 0, 0, 20, 50, 2])


def test_each_object_of_a_region_of_two_classes_has_its_points_and_parts(tmp_path: Path) -> None:
    both = {"labels": ["person", "car"]}
    labels = [
        box("person", 0, 0, 0.5, 1, label_id="p", **both),
        point("hip", 0.1, 0.5, parent_label_id="p"),
        polygon("person", (0, 0), (0.5, 0), (0.5, 1), label_id="q", **both),
        polygon("person", (0.6, 0), (0.9, 0), (0.9, 1), parent_label_id="q", **both),
    ]
    found = coco_annotations(tmp_path, item("a", labels))
    assert [one.get("num_keypoints") for one in found] == [1, 1, None, None]
    assert [len(one.get("segmentation", ())) for one in found] == [0, 0, 2, 2]


def test_points_of_an_object_that_is_no_shape_get_the_fields_name_as_class(tmp_path: Path) -> None:
    labels = [point("hip", 0.1, 0.1, parent_label_id="p"), point("knee", 0.2, 0.3, parent_label_id="p")]
    (found,) = coco_annotations(tmp_path, item("a", labels), classes=["joints"])
    assert found["bbox"] == pytest.approx([20, 10, 20, 20])
    assert found["keypoints"] == pytest.approx([20, 10, 2, 40, 30, 2, 0, 0, 0])


def test_frames_of_videos_are_images_with_tracks(tmp_path: Path) -> None:
    def frame(number: int, track: str) -> dict[str, Any]:
        return box("car", 0.1, 0.1, 0.1, 0.1, frame=number, track_id=track)

    video = item("v", [frame(7, "x"), frame(3, "x"), frame(3, "y")], media_type="video", media_uri="gs://v/clip.mp4")
    other = item("w", [frame(0, "x")], media_type="video", media_uri="gs://v/clip.mp4")
    write(tmp_path, [video, other], "coco")
    coco = read_coco(tmp_path)
    assert [(image["video_id"], image["frame_index"]) for image in coco["images"]] == [(1, 3), (1, 7), (2, 0)]
    assert [(one["image_id"], one["track_id"]) for one in coco["annotations"]] == [(1, 1), (1, 2), (2, 1), (3, 3)]
    assert [(track["video_id"], track["name"]) for track in coco["tracks"]] == [(1, "x"), (1, "y"), (2, "x")]
    names = [image["file_name"] for image in coco["images"]]
    assert names[0].startswith("clip-")
    assert names[0].endswith("-000003.jpg")
    assert len(set(names)) == 3


def test_a_video_whose_frame_rate_is_not_known_is_named(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"video 'v' have no frame.*frame rate"):
        write(tmp_path, [item("v", [box("car", 0, 0, 1, 1, tool_frame=3)], media_type="video")], "coco")


def test_an_image_of_unknown_size_is_named_if_it_has_objects(tmp_path: Path) -> None:
    unknown = {"width": None, "height": None}
    write(tmp_path, [item("a", [], **unknown)], "coco")
    assert "width" not in read_coco(tmp_path)["images"][0]
    with pytest.raises(AnnotationError, match=r"width and height of item 'b' are not known"):
        write(tmp_path, [item("b", [box("car", 0, 0, 1, 1)], **unknown)], "coco")


def test_pycocotools_reads_every_kind_of_label(tmp_path: Path) -> None:
    labels = [
        box("car", 0.1, 0.1, 0.2, 0.2, rotation=30),
        polygon("tree", (0.1, 0.1), (0.6, 0.1), (0.6, 0.7)),
        mask("car", mask_to_rle(ring())),
        {"type": "ellipse", "label": "car", "bbox": [0.5, 0.2, 0.2, 0.2], "rotation": 10.0},
    ]
    write(tmp_path, [item("a", labels), item("b", [])], "coco")
    coco = COCO(str(tmp_path / "annotations" / "instances_train.json"))
    assert coco.getImgIds() == [1, 2]
    for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[1])):
        assert coco.annToMask(annotation).sum() == pytest.approx(annotation["area"], rel=0.1)


def test_supervision_agrees_on_boxes_and_masks(tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision")
    labels = [box("person", 0.1, 0.2, 0.25, 0.5), mask("car", mask_to_rle(ring()))]
    write(tmp_path, [item("a", labels), item("b", [])], "coco", label_fields=["objects", "masks"])
    add_images(tmp_path)
    read = supervision.DetectionDataset.from_coco(
        str(tmp_path / "images" / "train"), str(tmp_path / "annotations" / "instances_train.json"), force_masks=True
    )
    found = {Path(path).name: detections for path, _, detections in read}
    a, b = (image["file_name"] for image in read_coco(tmp_path)["images"])
    assert read.classes == ["car", "person"]
    assert found[a].xyxy.tolist() == [[20, 20, 70, 70], [40, 20, 120, 60]]
    assert [read.classes[one] for one in found[a].class_id] == ["person", "car"]
    assert np.array_equal(found[a].mask[1], ring())
    assert len(found[b]) == 0


def test_image_names_lead_back_to_items(tmp_path: Path) -> None:
    write(tmp_path, [item("a", []), item("b", [])], "coco")
    rows = image_index(tmp_path).to_pylist()
    assert [row["item_key"] for row in rows] == ["a", "b"]
    assert rows[0]["file"] == f"images/train/{read_coco(tmp_path)['images'][0]['file_name']}"
    assert (rows[0]["media_uri"], rows[0]["frame"], rows[0]["width"]) == ("gs://photos/a.jpg", None, 200)


def test_the_schemas_classes_are_sorted_and_those_given_keep_their_order(tmp_path: Path) -> None:
    write(tmp_path, [item("a", [])], "coco", schema=SCHEMA, classes=["tree", "bus", "car"])
    names = [(category["id"], category["name"]) for category in read_coco(tmp_path)["categories"]]
    assert names == [(1, "tree"), (2, "bus"), (3, "car")]
