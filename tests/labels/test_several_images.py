"""Labels on items of several images: each goes to its own image and comes back from it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_annotation.labels.completion import complete_labels
from airflow_annotation.labels.errors import LabelRowError
from airflow_annotation.labels.label_studio.config import label_schema_from_config
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.export import ExportSource, tables_from_export
from airflow_annotation.labels.label_studio.results import results_from_labels
from airflow_annotation.labels.label_studio.task_data import find_item_key
from airflow_annotation.labels.media import Medium, find_asked_media, find_medium, page_target, split_target
from airflow_annotation.labels.submissions import Submission

CONTROL = '<RectangleLabels name="{}" toName="{}"><Label value="car"/></RectangleLabels>'
CONFIGS = {
    "valueList": f'<View><Image name="image" valueList="$pages"/>{CONTROL.format("label", "image")}</View>',
    "tags": '<View><Image name="a" value="$a"/><Image name="b" value="$b"/><Image name="c" value="$c"/>'
    f"{CONTROL.format('label', 'a,b,c')}</View>",
    "Repeater": '<View><Repeater on="$pages" indexFlag="{{i}}"><Image name="p{{i}}" value="$pages[{{i}}]"/>'
    f"{CONTROL.format('label_{{i}}', 'p{{i}}')}</Repeater></View>",
}
URIS = ["https://h/0.jpg", "https://h/1.jpg", "https://h/2.jpg"]
DATA: dict[str, dict[str, Any]] = {
    "valueList": {"pages": URIS},
    "tags": dict(zip("abc", URIS, strict=True)),
    "Repeater": {"pages": URIS},
}
TARGETS = {
    "valueList": ["image[0]", "image[1]", "image[2]"],
    "tags": ["a", "b", "c"],
    "Repeater": ["p0", "p1", "p2"],
}
SIZES = [(1000, 500), (200, 800), (640, 480)]


def read(kind: str, result: list[dict[str, Any]], data: dict[str, Any] | None = None) -> Any:
    task = {"id": 1, "data": data or DATA[kind], "annotations": [{"id": 7, "result": result}]}
    source = ExportSource(project="label-studio://host/projects/1", config=LabelingConfig(CONFIGS[kind]), item_url="")
    return tables_from_export(json.dumps([task]).encode(), source)


sides = st.floats(0.01, 0.49)
boxes = st.lists(st.tuples(st.integers(0, 2), st.tuples(sides, sides, sides, sides)), max_size=8)


@pytest.mark.parametrize("kind", CONFIGS)
@given(drawn=boxes)
def test_labels_go_to_their_image_and_come_back(kind: str, drawn: list[tuple[int, tuple[float, ...]]]) -> None:
    rows: list[dict[str, Any]] = [
        {"label_id": f"r{number}", "field": "label", "type": "detection", "label": "car", "bbox": list(box)}
        | {"target": TARGETS[kind][page]}
        for number, (page, box) in enumerate(drawn)
    ]
    config = LabelingConfig(CONFIGS[kind])
    result = results_from_labels(
        rows, config, find_size=lambda target: SIZES[0] if config.is_main_image(target) else (None, None)
    )
    for record, (page, _) in zip(result, drawn, strict=True):
        own = {"original_width": SIZES[0][0], "original_height": SIZES[0][1]}
        assert (own.items() <= record.items()) == (page == 0)  # the item's size is that of its first image
        width, height = SIZES[page]
        record |= {"original_width": width, "original_height": height}  # as Label Studio's editor sets it
    tables = read(kind, result)
    back = tables.labels.to_pylist()
    assert [row["target"] for row in back] == [row["target"] for row in rows]
    assert [(row["label_id"], row["label"], row["field"]) for row in back] == [
        (row["label_id"], "car", "label") for row in rows
    ]
    assert np.allclose([row["bbox"] for row in back], [row["bbox"] for row in rows])
    (item,) = tables.items.to_pylist()
    media = {one["target"]: one for one in json.loads(item["media"])}
    assert [one["uri"] for one in media.values()] == URIS
    for page in {page for page, _ in drawn}:
        one = media[TARGETS[kind][page]]
        assert (one["width"], one["height"]) == SIZES[page]


def test_a_repeated_control_is_named_as_its_image() -> None:
    row = {"label_id": "r", "field": "label", "type": "detection", "label": "car", "bbox": [0, 0, 0.1, 0.1]}
    config = LabelingConfig(CONFIGS["Repeater"])
    names = [
        (record["from_name"], record["to_name"])
        for target in (None, "p0", "p12")
        for record in results_from_labels([{**row, "target": target}], config)
    ]
    assert names == [("label_0", "p0"), ("label_0", "p0"), ("label_12", "p12")]


def test_pixels_of_another_image_than_the_first_need_its_size() -> None:
    config = LabelingConfig(CONFIGS["valueList"])
    row = {"field": "label", "bbox": [100, 50, 100, 100]}

    def complete(target: str | None) -> Any:
        (row_,) = complete_labels(
            Submission(item_key="k", labels=[{**row, "target": target}]),
            label_schema_from_config(CONFIGS["valueList"]),
            coordinates="pixels",
            find_size=lambda target: (1000, 500) if config.is_main_image(target) else (None, None),
        )
        return row_["bbox"]

    assert np.allclose(complete("image[0]"), [0.1, 0.1, 0.1, 0.2])
    assert np.allclose(complete(None), [0.1, 0.1, 0.1, 0.2])
    with pytest.raises(LabelRowError, match="width and height"):
        complete("image[1]")


@pytest.mark.parametrize("kind", ["valueList", "Repeater"])
@given(page=st.integers(0, 2000))
def test_a_record_is_on_the_page_that_the_target_of_its_row_says(kind: str, page: int) -> None:
    config = LabelingConfig(CONFIGS[kind])
    target = f"image[{page}]" if kind == "valueList" else f"p{page}"
    row = {"label_id": "r", "field": "label", "type": "detection", "label": "car", "bbox": [0, 0, 0.1, 0.1]}
    sizes = {target: (640, 480)}
    (record,) = results_from_labels(
        [{**row, "target": target}], config, find_size=lambda name: sizes.get(name or "", (None, None))
    )
    assert (record["to_name"], record.get("item_index")) == (("image", page) if kind == "valueList" else (target, None))
    assert (record["original_width"], record["original_height"]) == (640, 480)
    assert config.page_number(target) == page
    assert read(kind, [record]).labels["target"].to_pylist() == [target]
    assert config.page_number(None) == 0
    assert config.page_number("somewhere else") is None


lengths = st.none() | st.integers(1, 9000)


@pytest.mark.parametrize("kind", ["valueList", "Repeater"])
@given(sizes=st.lists(st.tuples(lengths, lengths), min_size=2, max_size=5), drawn=st.booleans())
def test_an_uploaded_item_of_several_images_lands_with_the_place_and_size_of_each(
    kind: str, sizes: list[tuple[int | None, int | None]], drawn: bool
) -> None:
    uris = [f"s3://bucket/{number}.png" for number in range(len(sizes))]
    data: dict[str, Any] = {"item_key": "doc", "pages": [f"/data/upload/{uri[-5:]}" for uri in uris], "note": 1}
    data |= {"media_uri": uris, "width": [width for width, _ in sizes], "height": [height for _, height in sizes]}
    target = {"to_name": "image", "item_index": 1} if kind == "valueList" else {"to_name": "p1"}
    box = {"type": "rectanglelabels", "from_name": "label", "id": "r", "original_width": 70, "original_height": 90}
    result = [box | target | {"value": {"x": 1, "y": 1, "width": 1, "height": 1}}] if drawn else []
    (item,) = read(kind, result, data).items.to_pylist()
    media = json.loads(item["media"])
    expected = [*sizes]
    if drawn and None in sizes[1]:  # then what the tool says of the image is taken
        expected[1] = (70, 90) if sizes[1][0] is None else (sizes[1][0], None)
    assert [(one["uri"], one.get("width"), one.get("height")) for one in media] == [
        (uri, *size) for uri, size in zip(uris, expected, strict=True)
    ]
    assert [one["target"] for one in media] == [
        f"image[{number}]" if kind == "valueList" else f"p{number}" for number in range(len(uris))
    ]
    assert (item["item_key"], json.loads(item["data"])) == ("doc", {"pages": data["pages"], "note": 1})
    # Somebody edits the task: what was uploaded says nothing of what it shows now.
    edited = json.loads(read(kind, [], {**data, "pages": URIS[:1] + data["pages"]}).items["media"][0].as_py())
    assert [one["uri"] for one in edited] == URIS[:1] + data["pages"]


@pytest.mark.parametrize("kind", CONFIGS)
def test_an_item_of_several_images_is_known_by_the_first(kind: str) -> None:
    assert find_item_key(DATA[kind], LabelingConfig(CONFIGS[kind])) == URIS[0]
    assert read(kind, []).items["item_key"].to_pylist() == [URIS[0]]


@given(name=st.text(min_size=1).filter(lambda name: not name.endswith("]")), page=st.none() | st.integers(0, 999))
def test_a_target_says_its_page(name: str, page: int | None) -> None:
    assert split_target(page_target(name, page)) == (name, page)


def test_labels_find_their_image() -> None:
    media = [Medium("front"), Medium("pages[0]"), Medium("pages[1]")]
    assert [find_medium(media, target) for target in ("front", "front[0]", "pages", "pages[1]", "pages[2]", "t")] == [
        *(0, 0, 1, 2),
        *(None, None),
    ]
    assert find_medium(media, None) == 0
    assert find_medium([Medium()], "anything") == 0
    asked = [find_asked_media(media, target) for target in ("pages[1]", "pages", "front", "t", None)]
    assert asked == [[2], [1, 2], [0], [0, 1, 2], [0, 1, 2]]
