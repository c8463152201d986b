"""Items that show several images: each is an image of the dataset, of its own size, with the labels that are on it."""

from __future__ import annotations

import copy
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from airflow_annotation.labels.geometry import labels_to_pixels
from airflow_annotation.labels.label_studio.config import label_schema_from_config
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.export import ExportSource, tables_from_export
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import LabelTables
from tests.support.datasets import image_index, read_coco, write

CASES = Path(__file__).parents[1] / "labels" / "cases"
F1 = json.loads((CASES / "F1_pages.json").read_text())
QUESTION = '<Choices name="light" toName="{}"><Choice value="day"/><Choice value="night"/></Choices>'

Case = dict[str, Any]


def of_two_tags() -> Case:
    case: Case = copy.deepcopy(F1)
    case["label_config"] = (
        '<View><Image name="front" value="$front"/><Image name="back" value="$back"/>'
        '<RectangleLabels name="label" toName="front,back"><Label value="car"/><Label value="truck"/></RectangleLabels>'
        "</View>"
    )
    (task,) = case["tasks"]
    task["data"] = {"front": "https://h/p1.jpg", "back": "https://h/p2.jpg"}
    for region, name in zip(task["annotations"][0]["result"], ("front", "back"), strict=True):
        region["to_name"] = name
        del region["item_index"]
    return case


def of_repeater() -> Case:
    case: Case = copy.deepcopy(F1)
    case["label_config"] = (
        '<View><Repeater on="$pages" indexFlag="{{idx}}"><Image name="page_{{idx}}" value="$pages[{{idx}}].url"/>'
        '<RectangleLabels name="label_{{idx}}" toName="page_{{idx}}"><Label value="car"/><Label value="truck"/>'
        "</RectangleLabels></Repeater></View>"
    )
    (task,) = case["tasks"]
    task["data"] = {"pages": [{"url": "https://h/p1.jpg"}, {"url": "https://h/p2.jpg"}]}
    for number, region in enumerate(task["annotations"][0]["result"]):
        region |= {"to_name": f"page_{number}", "from_name": f"label_{number}"}
        del region["item_index"]
    return case


def of_list_as_value() -> Case:
    case: Case = copy.deepcopy(F1)
    case["label_config"] = case["label_config"].replace("valueList", "value")
    return case


CASES_OF_KIND = {
    "valueList": lambda: copy.deepcopy(F1),
    "value": of_list_as_value,
    "two tags": of_two_tags,
    "Repeater": of_repeater,
}


@pytest.fixture(params=CASES_OF_KIND)
def case(request: pytest.FixtureRequest) -> Case:
    made: Case = CASES_OF_KIND[request.param]()
    return made


def read(case: Case) -> tuple[LabelTables, LabelSchema]:
    source = ExportSource(
        project="label-studio://host/projects/1", config=LabelingConfig(case["label_config"]), item_url=""
    )
    tables = tables_from_export(json.dumps(case["tasks"]).encode(), source)
    return tables, label_schema_from_config(case["label_config"])


def result_of(case: Case) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = case["tasks"][0]["annotations"][0]["result"]
    return result


def files_of(folder: Path, pattern: str) -> list[Path]:
    """Return one file for each image, in the order of the pages."""
    return sorted(folder.glob(pattern), key=lambda path: path.name)


def write_case(folder: Path, case: Case, dataset_format: str, **options: Any) -> Path:
    tables, schema = read(case)
    write(folder, [tables], dataset_format, schema=schema, **options)
    return folder


def test_each_image_is_one_of_the_item_with_its_own_size(case: Case) -> None:
    tables, _ = read(case)
    (row,) = tables.items.to_pylist()
    assert [(one["uri"], one["width"], one["height"]) for one in json.loads(row["media"])] == [
        ("https://h/p1.jpg", 1000, 500),
        ("https://h/p2.jpg", 200, 800),
    ]
    assert (row["media_uri"], row["width"], row["height"], row["media_type"]) == (None, None, None, "image")
    assert row["item_key"] == "https://h/p1.jpg"
    assert tables.labels["target"].to_pylist() == [one["target"] for one in json.loads(row["media"])]


def test_pixels_are_those_of_the_labels_own_image(case: Case) -> None:
    tables, _ = read(case)
    in_pixels = labels_to_pixels(tables.labels, tables.items)["bbox"].to_pylist()
    assert np.allclose(in_pixels, [[100, 50, 100, 100], [120, 80, 20, 160]])


def test_coco_has_two_images_with_a_box_each(case: Case, tmp_path: Path) -> None:
    content = read_coco(write_case(tmp_path, case, "coco"))
    images = content["images"]
    assert [(one["width"], one["height"], one["coco_url"]) for one in images] == [
        (1000, 500, "https://h/p1.jpg"),
        (200, 800, "https://h/p2.jpg"),
    ]
    assert [one["image_id"] for one in content["annotations"]] == [1, 2]
    assert np.allclose([one["bbox"] for one in content["annotations"]], [[100, 50, 100, 100], [120, 80, 20, 160]])
    names = [one["file_name"] for one in images]
    assert [name.partition("-")[0] for name in names] == ["p1", "p2"]
    index = image_index(tmp_path)
    assert index["file"].to_pylist() == [f"images/train/{name}" for name in names]
    assert index["media_uri"].to_pylist() == ["https://h/p1.jpg", "https://h/p2.jpg"]
    assert index["target"].to_pylist() == read(case)[0].labels["target"].to_pylist()


@pytest.mark.parametrize(("task", "count"), [("detect", 5), ("obb", 9), ("segment", 9)])
def test_yolo_has_two_files_with_a_line_each(case: Case, tmp_path: Path, task: str, count: int) -> None:
    files = files_of(write_case(tmp_path, case, "yolo", task=task), "labels/train/*.txt")
    (first,), (second,) = (file.read_text().splitlines() for file in files)
    assert len(first.split()) == len(second.split()) == count
    if task == "detect":
        assert (first, second) == ("0 0.15 0.2 0.1 0.2", "0 0.65 0.2 0.1 0.2")


def test_pascal_voc_has_two_files_with_a_box_each(case: Case, tmp_path: Path) -> None:
    first, second = files_of(write_case(tmp_path, case, "pascal_voc"), "Annotations/*.xml")
    assert "<xmin>101</xmin><ymin>51</ymin><xmax>200</xmax><ymax>150</ymax>" in first.read_text()
    assert "<xmin>121</xmin><ymin>81</ymin><xmax>140</xmax><ymax>240</ymax>" in second.read_text()
    assert "<width>200</width><height>800</height>" in second.read_text()
    assert all(file.read_text().count("<object>") == 1 for file in (first, second))


def test_masks_are_of_the_size_of_their_image(case: Case, tmp_path: Path) -> None:
    files = files_of(write_case(tmp_path, case, "semantic_masks"), "masks/train/*.png")
    first, second = (np.array(Image.open(file)) for file in files)
    assert (first.shape, second.shape) == ((500, 1000), (800, 200))
    assert (np.count_nonzero(first), np.count_nonzero(second)) == (100 * 100, 20 * 160)
    assert second[80:240, 120:140].all()


def test_an_image_folder_has_two_lines(case: Case, tmp_path: Path) -> None:
    lines = (write_case(tmp_path, case, "image_folder") / "train" / "metadata.jsonl").read_text().splitlines()
    objects = [json.loads(line)["objects"]["bbox"] for line in lines]
    assert np.allclose(objects, [[[100, 50, 100, 100]], [[120, 80, 20, 160]]])


def test_an_image_without_labels_is_a_negative(case: Case, tmp_path: Path) -> None:
    result_of(case).pop()
    files = files_of(write_case(tmp_path, case, "yolo"), "labels/train/*.txt")
    assert [len(file.read_text().splitlines()) for file in files] == [1, 0]


def test_masks_leave_out_and_count_images_that_have_neither_labels_nor_a_size(tmp_path: Path) -> None:
    case = copy.deepcopy(F1)
    case["tasks"][0]["data"]["images"].insert(1, "https://h/p1b.jpg")
    result_of(case)[1]["item_index"] = 2
    tables, schema = read(case)
    left_out: Counter[str] = Counter()
    write(tmp_path, [tables], "semantic_masks", schema, left_out)
    assert image_index(tmp_path)["media_uri"].to_pylist() == ["https://h/p1.jpg", "https://h/p2.jpg"]
    assert len(list(tmp_path.glob("masks/train/*.png"))) == 2
    assert left_out == {"images without labels whose size is not known": 1}


def test_names_stay_when_an_item_gets_another_page(tmp_path: Path) -> None:
    before = read_coco(write_case(tmp_path / "before", copy.deepcopy(F1), "coco"))["images"]
    case: Case = copy.deepcopy(F1)
    case["tasks"][0]["data"]["images"].append("https://h/p3.jpg")
    after = read_coco(write_case(tmp_path / "after", case, "coco"))["images"]
    assert [one["file_name"] for one in after[:2]] == [one["file_name"] for one in before]
    assert (after[2]["coco_url"], "width" in after[2]) == ("https://h/p3.jpg", False)


def test_an_answer_is_about_its_page_or_about_all_of_them(tmp_path: Path) -> None:
    case: Case = copy.deepcopy(F1)
    case["label_config"] = case["label_config"].replace("</View>", f"{QUESTION.format('image')}</View>")
    answer = {"id": "q", "type": "choices", "from_name": "light", "to_name": "image"}
    result_of(case).append({**answer, "value": {"choices": ["day"]}})
    folder = write_case(tmp_path / "item", case, "image_folder")
    lines = (folder / "train" / "metadata.jsonl").read_text().splitlines()
    assert [json.loads(line)["light"] for line in lines] == ["day", "day"]
    result_of(case)[-1:] = [
        {**answer, "id": f"q{page}", "item_index": page, "value": {"choices": [light]}}
        for page, light in enumerate(["day", "night"])
    ]
    folder = write_case(tmp_path / "page", case, "yolo", task="classify")
    assert [path.rsplit("/", 2)[1] for path in image_index(folder)["file"].to_pylist()] == ["day", "night"]


def test_a_page_that_the_data_do_not_have_is_an_image_without_a_uri(tmp_path: Path) -> None:
    case: Case = copy.deepcopy(F1)
    case["tasks"][0]["data"]["images"].pop()
    content = read_coco(write_case(tmp_path, case, "coco"))
    assert [one.get("coco_url") for one in content["images"]] == ["https://h/p1.jpg", None]
    assert np.allclose(content["annotations"][1]["bbox"], [120, 80, 20, 160])


def test_labels_on_no_image_of_their_item_are_counted(tmp_path: Path) -> None:
    case = of_two_tags()
    text = '<Text name="t" value="$t"/><RectangleLabels name="odd" toName="t"><Label value="car"/></RectangleLabels>'
    case["label_config"] = case["label_config"].replace("</View>", f"{text}</View>")
    case["tasks"][0]["data"]["t"] = "a text"
    result_of(case)[1] |= {"to_name": "t", "from_name": "odd"}
    tables, schema = read(case)
    left_out: Counter[str] = Counter()
    (file,) = write(tmp_path, [tables], "coco", schema, left_out)["objects"]
    assert (file.rows, left_out) == (1, {"labels on no image of their item": 1})


def test_an_item_with_one_image_in_a_list_is_as_any_other() -> None:
    case: Case = copy.deepcopy(F1)
    case["tasks"][0]["data"]["images"].pop()
    result_of(case).pop()
    (row,) = read(case)[0].items.to_pylist()
    assert (row["media_uri"], row["width"], row["height"]) == ("https://h/p1.jpg", 1000, 500)
    assert row["media"] is None


def test_an_image_beside_a_text_stands_for_the_item() -> None:
    case: Case = copy.deepcopy(F1)
    case["label_config"] = (
        '<View><Text name="t" value="$caption"/><Image name="image" value="$image"/>'
        '<RectangleLabels name="label" toName="image"><Label value="car"/></RectangleLabels></View>'
    )
    case["tasks"][0]["data"] = {"caption": "a red car", "image": "https://h/p1.jpg"}
    result_of(case).pop()
    (row,) = read(case)[0].items.to_pylist()
    assert (row["media_type"], row["media_uri"], row["media"]) == ("image", "https://h/p1.jpg", None)
    assert json.loads(row["data"]) == {"caption": "a red car"}
