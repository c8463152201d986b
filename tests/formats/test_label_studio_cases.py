"""Projects as people make them in Label Studio, in ``tests/labels/cases``: what is in a dataset made of them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats.image_names import ImageNames
from airflow_annotation.labels.label_studio.config import label_config_from_schema, label_schema_from_config
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.export import ExportSource, tables_from_export
from airflow_annotation.labels.label_studio.results import results_from_labels
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import LabelTables
from tests.support.datasets import item, polygon, write

CASES = Path(__file__).parents[1] / "labels" / "cases"


def read_case(name: str, change: Any = None) -> tuple[LabelTables, LabelSchema, str]:
    case = json.loads((CASES / f"{name}.json").read_text())
    if change is not None:
        change(case)
    config = LabelingConfig(case["label_config"])
    source = ExportSource(project="label-studio://host/projects/1", config=config, item_url="")
    tables = tables_from_export(json.dumps(case["tasks"]).encode(), source)
    return tables, label_schema_from_config(case["label_config"]), case["label_config"]


def write_case(folder: Path, name: str, dataset_format: str, change: Any = None, **options: Any) -> Path:
    tables, schema, _ = read_case(name, change)
    write(folder, [tables], dataset_format, schema=schema, **options)
    return folder


def lines_of(folder: Path) -> list[str]:
    (file,) = (folder / "labels" / "train").glob("*.txt")
    return file.read_text().splitlines()


def coco_of(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "annotations" / "instances_train.json").read_text())
    return read


def result_of(case: dict[str, Any]) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = case["tasks"][0]["annotations"][0]["result"]
    return result


def test_the_classes_of_questions_are_no_classes_of_objects(tmp_path: Path) -> None:
    def ask(case: dict[str, Any]) -> None:
        text = '<Text name="t" value="$t"/><Labels name="words" toName="t"><Label value="a_word"/></Labels></View>'
        case["label_config"] = case["label_config"].replace("</View>", text)

    folder = write_case(tmp_path, "F2_taxonomy_classes", "yolo", ask)
    assert 'names:\n  0: "car"\n  1: "truck"\n' in (folder / "data.yaml").read_text()
    assert lines_of(folder) == ["0 0.15 0.2 0.1 0.2"]


def test_an_image_folder_has_the_answers_of_a_taxonomy(tmp_path: Path) -> None:
    def answer(case: dict[str, Any]) -> None:
        asked = {"id": "q1", "type": "taxonomy", "from_name": "q", "to_name": "image"}
        result_of(case).append({**asked, "value": {"taxonomy": [["a_day", "sunny"]]}})

    folder = write_case(tmp_path, "F2_taxonomy_classes", "image_folder", answer)
    assert json.loads((folder / "train" / "metadata.jsonl").read_text())["q"] == ["a_day/sunny"]


def test_a_box_that_was_drawn_upwards_is_the_same_box(tmp_path: Path) -> None:
    (box,) = read_case("F3_negative_height")[0].labels.column("bbox").to_pylist()
    assert box == pytest.approx([0.163, 0.355, 0.529, 0.607], abs=1e-3)
    (line,) = lines_of(write_case(tmp_path / "yolo", "F3_negative_height", "yolo"))
    assert line == "0 0.4275 0.6585 0.529 0.607"
    (one,) = coco_of(write_case(tmp_path / "coco", "F3_negative_height", "coco"))["annotations"]
    assert one["bbox"] == pytest.approx([104.32, 170.4, 338.56, 291.36], abs=0.01)
    assert one["area"] == pytest.approx(98642.8, abs=0.1)
    (voc,) = (write_case(tmp_path / "voc", "F3_negative_height", "pascal_voc") / "Annotations").glob("*.xml")
    assert "<xmin>105</xmin><ymin>171</ymin><xmax>443</xmax><ymax>462</ymax>" in voc.read_text()


def test_a_turned_box_that_was_drawn_upwards_has_the_same_corners_clockwise(tmp_path: Path) -> None:
    def turn(case: dict[str, Any]) -> None:
        result_of(case)[0]["value"] |= {"x": 50, "y": 50, "width": 10, "height": -20, "rotation": 90}

    (line,) = lines_of(write_case(tmp_path, "F3_negative_height", "yolo", turn, task="obb"))
    corners = [float(number) for number in line.split()[1:]]
    pixels = [(x * 640, y * 480) for x, y in zip(corners[::2], corners[1::2], strict=True)]
    expected = [(320, 240), (416, 240), (416, 304), (320, 304)]
    assert [tuple(round(number) for number in pixel) for pixel in pixels] == expected


@pytest.mark.parametrize(
    ("dataset_format", "options"),
    [
        ("yolo", {}),
        ("yolo", {"task": "segment"}),
        ("yolo", {"task": "obb"}),
        ("pascal_voc", {}),
        ("semantic_masks", {}),
    ],
)
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"x": 20, "width": 0, "height": 10}, "boxes of no size"),
        ({"x": 130, "width": 10, "height": 10}, "labels outside of their image"),
    ],
)
def test_boxes_that_are_nothing_in_the_image_are_counted(
    tmp_path: Path, dataset_format: str, options: dict[str, Any], value: dict[str, Any], reason: str
) -> None:
    def spoil(case: dict[str, Any]) -> None:
        (region,) = result_of(case)
        nothing = {**region, "id": "r2", "value": {**region["value"], **value}}
        result_of(case).append(nothing)

    tables, schema, _ = read_case("F3_negative_height", spoil)
    left_out: Counter[str] = Counter()
    (file, *_) = write(tmp_path, [tables], dataset_format, schema, left_out, **options)["objects"]
    assert file.rows == 1
    assert left_out == {reason: 1}


@pytest.mark.parametrize(("dataset_format", "options"), [("yolo", {"task": "segment"}), ("semantic_masks", {})])
def test_a_polygon_of_two_points_is_counted_where_only_its_area_is_in_the_dataset(
    tmp_path: Path, dataset_format: str, options: dict[str, Any]
) -> None:
    labels = [
        polygon("car", (0.1, 0.1), (0.5, 0.5)),
        polygon("car", (0, 0), (0.5, 0), (0.5, 0.5), label_id="p"),
        polygon("car", (0.6, 0.6), (0.9, 0.9), parent_label_id="p"),
    ]
    left_out: Counter[str] = Counter()
    (file, *_) = write(tmp_path, [item("a", labels)], dataset_format, left_out=left_out, **options)["objects"]
    assert file.rows == 1
    assert left_out == {"shapes without an outline": 1, "parts of shapes without an outline": 1}
    left_out.clear()
    (file,) = write(tmp_path / "coco", [item("a", labels)], "coco", left_out=left_out, masks="polygons")["objects"]
    assert (file.rows, left_out) == (2, {})


def test_a_region_of_two_classes_is_an_object_of_each(tmp_path: Path) -> None:
    name = "F4_two_labels_on_a_box"
    expected = ["0 0.15 0.2 0.1 0.2", "1 0.15 0.2 0.1 0.2"]
    assert lines_of(write_case(tmp_path / "yolo", name, "yolo")) == expected
    annotations = coco_of(write_case(tmp_path / "coco", name, "coco"))["annotations"]
    assert [(one["category_id"], one["bbox"]) for one in annotations] == [(1, [64, 48, 64, 96]), (2, [64, 48, 64, 96])]
    (voc,) = (write_case(tmp_path / "voc", name, "pascal_voc") / "Annotations").glob("*.xml")
    assert [name in voc.read_text() for name in ("<name>car</name>", "<name>truck</name>")] == [True, True]


@pytest.mark.parametrize(("dataset_format", "options"), [("coco", {}), ("yolo", {"task": "pose"})])
def test_a_keypoint_of_no_object_is_an_error_or_is_counted(
    tmp_path: Path, dataset_format: str, options: dict[str, Any]
) -> None:
    tables, schema, _ = read_case("F5_keypoints_beside_boxes")
    with pytest.raises(AnnotationError, match=r"keypoint, 'n' of class 'nose', that belongs to no object.*drop"):
        write(tmp_path / "error", [tables], dataset_format, schema, **options)
    left_out: Counter[str] = Counter()
    (file,) = write(tmp_path / "drop", [tables], dataset_format, schema, left_out, loose_keypoints="drop", **options)[
        "objects"
    ]
    assert (file.rows, left_out) == (1, {"keypoints of no object": 1})


def test_points_alone_make_no_empty_files_for_pose(tmp_path: Path) -> None:
    def without_box(case: dict[str, Any]) -> None:
        del result_of(case)[0]

    with pytest.raises(AnnotationError, match="belongs to no object"):
        write_case(tmp_path, "F5_keypoints_beside_boxes", "yolo", without_box, task="pose", label_fields=["kp"])


def test_model_index_is_the_order_of_points(tmp_path: Path) -> None:
    def number(case: dict[str, Any]) -> None:
        labels = (
            '<Label value="tail" model_index="2"/><Label value="nose" model_index="0"/><Label value="ear" '
            'model_index="1"/>'
        )
        case["label_config"] = case["label_config"].replace('<Label value="nose"/>', labels)
        nose = result_of(case)[1]
        nose["parentID"] = "r1"
        tail = {**nose, "id": "t", "value": {"x": 40, "y": 25, "width": 0.5, "keypointlabels": ["tail"]}}
        result_of(case).insert(1, tail)

    name = "F5_keypoints_beside_boxes"
    _, schema, _ = read_case(name, number)
    assert schema.fields["kp"].classes == ("nose", "ear", "tail")
    found = coco_of(write_case(tmp_path / "coco", name, "coco", number))
    assert found["categories"][0]["keypoints"] == ["nose", "ear", "tail"]
    assert found["annotations"][0]["keypoints"] == pytest.approx([192, 240, 2, 0, 0, 0, 256, 120, 2])
    box = "0 0.15 0.2 0.1 0.2"
    yolo = write_case(tmp_path / "yolo", name, "yolo", number, task="pose")
    assert lines_of(yolo) == [f"{box} 0.3 0.5 2 0 0 0 0.4 0.25 2"]
    assert '0: ["nose", "ear", "tail"]' in (yolo / "data.yaml").read_text()
    given = {"task": "pose", "keypoints": ["tail", "nose", "ear"]}
    assert lines_of(write_case(tmp_path / "given", name, "yolo", number, **given)) == [
        f"{box} 0.4 0.25 2 0.3 0.5 2 0 0 0"
    ]


@pytest.mark.parametrize(
    ("labels", "names", "coco_ids"),
    [
        ({"truck": "0", "car": "1"}, ["truck", "car"], [0, 1]),
        ({"truck": "3", "car": "17"}, ["truck", "car"], [3, 17]),
        ({"truck": "3", "car": ""}, ["truck", "car"], [3, 4]),
        ({"truck": "1", "car": "1"}, ["car", "truck"], [1, 2]),
        ({"truck": "99999999999999999999", "car": "x"}, ["car", "truck"], [1, 2]),
    ],
)
def test_category_is_the_number_of_a_class(
    tmp_path: Path, labels: dict[str, str], names: list[str], coco_ids: list[int]
) -> None:
    def number(case: dict[str, Any]) -> None:
        tags = "".join(f'<Label value="{name}" category="{category}"/>' for name, category in labels.items())
        case["label_config"] = case["label_config"].replace('<Label value="car"/><Label value="truck"/>', tags)
        result_of(case).append({**result_of(case)[0], "id": "r2", "value": {**result_of(case)[0]["value"]}})
        result_of(case)[-1]["value"]["rectanglelabels"] = ["truck"]

    name = "F4_two_labels_on_a_box"
    coco = coco_of(write_case(tmp_path / "coco", name, "coco", number))
    assert [(one["id"], one["name"]) for one in coco["categories"]] == list(zip(coco_ids, names, strict=True))
    by_id = {one["id"]: one["name"] for one in coco["categories"]}
    assert [by_id[one["category_id"]] for one in coco["annotations"]] == ["car", "truck", "truck"]
    folder = write_case(tmp_path / "yolo", name, "yolo", number)
    assert [names[int(line.split()[0])] for line in lines_of(folder)] == ["car", "truck", "truck"]
    assert (folder / "data.yaml").read_text().endswith(f'names:\n  0: "{names[0]}"\n  1: "{names[1]}"\n')
    _, schema, _ = read_case(name, number)
    assert LabelSchema.from_dict(schema.to_dict()) == schema
    assert label_schema_from_config(label_config_from_schema(schema)) == schema
    given = write_case(tmp_path / "given", name, "coco", number, classes=["car", "truck"])
    assert [one["id"] for one in coco_of(given)["categories"]] == [1, 2]


def test_a_taxonomy_of_text_is_a_span_and_goes_back(tmp_path: Path) -> None:
    tables, schema, config = read_case("F6_taxonomy_labeling")
    (row,) = tables.labels.to_pylist()
    assert (row["type"], row["span_start"], row["span_end"]) == ("span", 0, 17)
    assert (row["label"], row["text"]) == ("Animal/Moth", "Adela caeruleella")
    assert schema.fields["t"].type == "spans"
    (record,) = results_from_labels([row], LabelingConfig(config))
    assert (
        record["value"]
        == json.loads((CASES / "F6_taxonomy_labeling.json").read_text())["tasks"][0]["annotations"][0]["result"][0][
            "value"
        ]
    )


def test_a_note_on_a_region_lands_and_goes_back() -> None:
    tables, _, config = read_case("F7_region_notes")
    (row,) = tables.labels.to_pylist()
    assert json.loads(row["attributes"]) == {"note": "blurred, ask the botanist"}
    (record,) = results_from_labels([row], LabelingConfig(config), find_size=lambda _: (640, 480))
    assert record["meta"] == {"text": ["blurred, ask the botanist"]}


@pytest.mark.parametrize("path", [["N/A"], ["a/b", "c"], ["a", "b/c"], ["a\\", "b"]])
def test_a_separator_in_a_name_of_a_taxonomy_is_part_of_the_name(path: list[str]) -> None:
    def rename(case: dict[str, Any]) -> None:
        choices = "".join(f'<Choice value="{name}">' for name in path) + "</Choice>" * len(path)
        config = '<View><Image name="image" value="$image"/><Taxonomy name="q" toName="image">{}</Taxonomy></View>'
        case["label_config"] = config.format(choices)
        answer = {"id": "q1", "type": "taxonomy", "from_name": "q", "to_name": "image", "value": {"taxonomy": [path]}}
        case["tasks"][0]["annotations"][0]["result"] = [answer]

    tables, schema, config = read_case("F2_taxonomy_classes", rename)
    (row,) = tables.labels.to_pylist()
    assert row["label"] in schema.fields["q"].classes
    (record,) = results_from_labels([row], LabelingConfig(config))
    assert record["value"] == {"taxonomy": [path]}


@pytest.mark.parametrize(
    ("media_uri", "stem", "suffix"),
    [
        ("gs://b/shot#12.png", "shot_12", ".png"),
        ("/data/why?.jpg", "why", ".jpg"),
        ("s3://b/50%20off.jpg", "50_20off", ".jpg"),
        ("https://h/50%20off.jpg?v=2#top", "50_off", ".jpg"),
        ("/data/local-files/?d=pets/cat%231.jpg", "cat_1", ".jpg"),
        ("https://studio/data/local-files/?d=pets/50%20off%3F.jpg", "50_off", ".jpg"),
        ("azure-blob://c/a?b#c.png", "a_b_c", ".png"),
        ("abfs://c@account/a/50%20off.tif", "50_20off", ".tif"),
        ("file:///data/a#b?.jpeg", "a_b", ".jpeg"),
    ],
)
def test_only_urls_of_the_web_have_queries_and_escapes(media_uri: str, stem: str, suffix: str) -> None:
    name = ImageNames().item_name("1", "key", media_uri)
    assert (name.rpartition("-")[0], name[-len(suffix) :]) == (stem, suffix)


def test_names_below_an_image_root_are_those_of_the_files() -> None:
    assert ImageNames("gs://b").item_name("1", "key", "gs://b/50%20off.jpg") == "50%20off.jpg"
    assert ImageNames("gs://b").item_name("1", "key", "gs://b/a#b?.jpg") == "a#b?.jpg"
    assert ImageNames("https://h").item_name("1", "key", "https://h/50%20off.jpg") == "50 off.jpg"
    assert ImageNames("https://h").item_name("1", "key", "https://h/a%23b.jpg?v=2#top") == "a#b.jpg"
    local = "/data/local-files/?d=pets"
    assert ImageNames(local).item_name("1", "key", f"{local}/50%20off.jpg") == "50 off.jpg"
