"""What no column can hold: the item lands all the same, and the odd value stays in its data, or in the label's raw."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_annotation.labels.json_repair import MAX_DEPTH
from airflow_annotation.labels.label_studio import export as label_studio
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.labelbox import export as labelbox
from airflow_annotation.labels.labelbox.features import Ontology
from airflow_annotation.labels.tables import collect_tables
from tests.support.read_options import with_options

CONFIG = """
<View><Image name="image" value="$image"/>
  <RectangleLabels name="objects" toName="image"><Label value="car"/></RectangleLabels>
  <EllipseLabels name="round" toName="image"><Label value="car"/></EllipseLabels>
</View>
"""
VIDEO = """
<View><Video name="video" value="$video"/>
  <VideoRectangle name="box" toName="video"/><Labels name="objects" toName="video"><Label value="car"/></Labels>
</View>
"""
BOX = {"x": 10, "y": 20, "width": 30, "height": 40, "rectanglelabels": ["car"]}
HUGE = "9" * 5000


def read(text: str, config: str = CONFIG, **settings: Any) -> tuple[dict[str, list[dict[str, Any]]], str]:
    """Return the tables of one task as Label Studio exports it, and the odd values that were counted."""
    source = label_studio.ExportSource(
        project="label-studio://host/projects/1",
        config=LabelingConfig(config),
        item_url="http://host/{item_id}",
        **with_options(settings),
    )
    tables = collect_tables([label_studio.tables_from_export(f"[{text}]".encode(), source)])
    return {name: table.to_pylist() for name, table in tables.items()}, str(source.odd)


def task(data: str = "{}", regions: str = "[]", annotation: str = "") -> str:
    """Return a task as JSON, of which parts are JSON that no encoder would write."""
    return f'{{"id": 1, "data": {data}, "annotations": [{{"id": 7, "result": {regions}{annotation}}}]}}'


def region(type_: str = "rectanglelabels", field: str = "objects", **more: Any) -> dict[str, Any]:
    return {"id": "r", "type": type_, "from_name": field, "to_name": "image", "value": BOX, **more}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", str(2**40)),
        ("width", "true"),
        ("width", str(10**300)),
        ("width", "-3"),
        ("height", "0"),
        ("frame_count", "1e11"),
        ("frame_count", str(2**31)),
        ("frame_rate", str(10**300) + "0" * 100),
        ("frame_rate", "false"),
        ("item_key", "5"),
        ("media_uri", "[1]"),
    ],
)
def test_a_value_that_its_column_cannot_hold_stays_in_the_data(name: str, value: str) -> None:
    tables, odd = read(task(f'{{"image": "a.png", "{name}": {value}}}', json.dumps([region()])))
    (item,) = tables["items"]
    assert item[name] == {"item_key": "a.png", "media_uri": "a.png"}.get(name)
    assert json.loads(item["data"])[name] == json.loads(value)
    assert odd == f"1 of data.{name}"
    assert [row["type"] for row in tables["labels"]] == ["detection"]


@pytest.mark.parametrize(
    ("value", "lands"),
    [
        (HUGE, HUGE),
        ("1e400", "1e400"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        (r'"a\ud800b"', r"a\ud800b"),
        (r'"\ud83d\ude00 \\ud800"', "\N{GRINNING FACE} \\ud800"),
        ('"a\nb"', "a\nb"),
    ],
)
def test_json_that_no_decoder_takes_lands_as_text(value: str, lands: str) -> None:
    tables, _ = read(task(f'{{"image": "a.png", "odd": {value}, "other": [1.5]}}', json.dumps([region()])))
    assert json.loads(tables["items"][0]["data"]) == {"odd": lands, "other": [1.5]}
    assert [row["label"] for row in tables["labels"]] == ["car"]


@pytest.mark.parametrize("depth", [900, 50_000])  # Pythons since 3.12 decode 5,000
@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a":', "}")])
def test_data_that_is_nested_deeper_than_decoders_go_lands_as_json_in_a_string(
    depth: int, begin: str, end: str
) -> None:
    nested = begin * depth + "1" + end * depth
    tables, _ = read(task(f'{{"image": "a.png", "deep": {nested}}}', json.dumps([region()])))
    data = tables["items"][0]["data"]
    found = data.replace('{"deep":', "", 1)[:-1]
    if depth > 1000:
        assert found.count(begin[0]) - depth + MAX_DEPTH - 10 < MAX_DEPTH
        value = json.loads(data)["deep"]
        while not isinstance(value, str):
            value = value[0] if isinstance(value, list) else value["a"]
        assert value.endswith(end * 1000)
    assert found.replace("\\", "").count(begin) == depth
    assert [row["label"] for row in tables["labels"]] == ["car"]


@pytest.mark.parametrize(("id_", "text"), [(5, "5"), (5.0, "5"), (1.5, "1.5"), (True, "true"), ([1], "[1]")])
def test_an_id_that_is_no_text_is_the_text_of_it_wherever_a_region_is_named_by_it(id_: Any, text: str) -> None:
    relation = {"type": "relation", "from_id": id_, "to_id": "other", "direction": "right"}
    records = [region(id=id_), region(id="part", parentID=id_), relation]
    tables, odd = read(task('{"image": "a.png"}', json.dumps(records)))
    assert [(row["type"], row["label_id"], row["parent_label_id"]) for row in tables["labels"]] == [
        ("detection", text, None),
        ("detection", "part", text),
        ("relation", f"{text}-other", None),
    ]
    assert tables["labels"][2]["from_label_id"] == text
    assert [row["raw"] for row in tables["labels"]] == [None, None, None]
    assert odd == ""


@pytest.mark.parametrize(
    "nothing",
    [
        {"id": None},
        {"to_name": None},
        {"parentID": ""},
        {"parentID": None},
        {"meta": None},
        {"meta": {}},
        {"origin": None},
    ],
)
def test_a_key_that_holds_nothing_is_as_one_that_is_not_there(nothing: dict[str, Any]) -> None:
    without = {name: value for name, value in region().items() if name not in nothing}
    (row,), (expected,) = (
        read(task('{"image": "a.png"}', json.dumps([one])))[0]["labels"] for one in (region() | nothing, without)
    )
    assert row == expected
    assert (row["type"], row["field"]) == ("detection", "objects")


@pytest.mark.parametrize("size", ["1e300", "-5", "1e-300"])
def test_a_region_of_an_impossible_size_lands_and_gives_the_item_none(size: str) -> None:
    text = json.dumps([region()])[:-2] + f', "original_width": {size}, "original_height": {size}}}]'
    tables, odd = read(task('{"image": "a.png"}', text))
    assert tables["items"][0]["width"] is None
    assert [row["bbox"] for row in tables["labels"]] == [[0.1, 0.2, 0.3, 0.4]]
    assert odd == "1 of original_width, original_height"


@pytest.mark.parametrize(
    "record",
    [
        region("ellipselabels", "round", value={"x": 1, "y": 2, "radiusX": 3, "radiusY": 4, "rotation": 5})
        | {"original_width": 1e300, "original_height": 1e-300},
        region(value={**BOX, "x": 10**400}),
        region("labels", "text", value={"start": 2**70, "end": 1, "labels": ["car"]}),
        region("__class__", "objects"),
        7,
        {"type": {}},
    ],
)
def test_a_region_that_its_columns_cannot_hold_lands_with_its_record(record: Any) -> None:
    tables, _ = read(task('{"image": "a.png"}', json.dumps([region(), record, region()])))
    assert [row["type"] for row in tables["labels"]] == ["detection", "other", "detection"]
    assert json.loads(tables["labels"][1]["raw"], parse_int=float) == json.loads(json.dumps(record), parse_int=float)
    if isinstance(record, dict) and isinstance(record["type"], str):
        assert tables["labels"][1]["field"] in (record["from_name"], record["type"])


@pytest.mark.parametrize(
    ("annotation", "odd"),
    [
        (', "created_at": "yesterday"', "1 of created_at"),
        (', "created_at": 5', "1 of created_at"),
        (', "score": "high", "lead_time": [1]', "1 of score, 1 of lead_time"),
        (', "completed_by": {"email": "a@b"}', "1 of completed_by"),
        (', "ground_truth": 3', "1 of ground_truth"),
    ],
)
def test_what_is_odd_about_a_submission_is_null_and_counted(annotation: str, odd: str) -> None:
    tables, counted = read(task('{"image": "a.png"}', json.dumps([region(), 5]), annotation), find_email=str)
    (submission,) = tables["annotations"]
    assert submission["annotation_id"] == "7"
    assert submission["label_count"] == 2
    assert submission["created_at"] is None
    assert counted == odd
    assert [row["type"] for row in tables["labels"]] == ["detection", "other"]
    assert tables["labels"][1]["raw"] == "5"


def test_a_result_that_is_no_list_is_one_label() -> None:
    tables, _ = read(task("{}", '{"x": 1}'))
    assert [(row["type"], row["raw"]) for row in tables["labels"]] == [("other", '{"x": 1}')]


def test_a_video_of_thousands_of_millions_of_frames_lands_as_it_stands() -> None:
    key = {"frame": 1, "x": 1, "y": 2, "width": 3, "height": 4, "enabled": True}
    records = [
        region("videorectangle", "box", value={"framesCount": count, "sequence": [{**key, "frame": frame}]})
        for count, frame in ((10, 1), (10**11, 1), (10, 10**12), (10, 2**31))
    ]
    tables, _ = read(task('{"video": "a.mp4", "frame_rate": 1e300}', json.dumps(records)), VIDEO, frames="all")
    assert [row["type"] for row in tables["labels"]] == ["other"] * 4
    tables, _ = read(task('{"video": "a.mp4"}', json.dumps(records)), VIDEO, frames="all")
    assert [row["type"] for row in tables["labels"]] == ["detection"] * 10 + ["other"] * 3


def test_a_labeling_config_may_be_nested_as_deep_as_somebody_likes() -> None:
    config = LabelingConfig(f"<View>{'<View>' * 1500}{CONFIG}{'</View>' * 1500}</View>")
    assert list(config.controls) == ["objects", "round"]
    classes = '<Choice value="a">' * 1500 + "</Choice>" * 1500
    nested = f'<View><Image name="i" value="$i"/><Taxonomy name="t" toName="i">{classes}</Taxonomy></View>'
    assert len(LabelingConfig(nested).controls["t"].classes) == 1500


# Labelbox

KINDS = {"box": "ImageBoundingBox", "point": "ImagePoint"}
ROW_BOX = {
    "feature_id": "f",
    "feature_schema_id": "s",
    "name": "objects: car",
    "annotation_kind": "ImageBoundingBox",
    "classifications": [],
    "bounding_box": {"left": 1.0, "top": 2.0, "width": 3.0, "height": 4.0},
}


def read_labelbox(line: str, **settings: Any) -> tuple[dict[str, list[dict[str, Any]]], str]:
    ontology = {"tools": [{"tool": "rectangle", "name": "objects: car", "featureSchemaId": "s"}]}
    source = labelbox.ExportSource(
        project="labelbox://host/projects/p",
        project_id="p",
        ontology=Ontology(ontology),
        item_url="http://host/{item_id}",
        **with_options(settings),
    )
    tables = collect_tables(labelbox.read_export([line.encode()], source))
    return {name: table.to_pylist() for name, table in tables.items()}, str(source.odd)


def row(annotations: Any, media: str = '{"width": 100, "height": 50}', details: str = "{}", **more: Any) -> str:
    label = {"id": "l", "annotations": annotations}
    known = {"data_row": {"id": "d", "global_key": "k", "row_data": "https://a/b.png"}, **more}
    known["projects"] = {"p": {"labels": [label]}}
    return json.dumps(known)[:-1] + f', "media_attributes": {media}}}'


@pytest.mark.parametrize(
    "media",
    [
        '{"width": 1099511627776, "height": 50}',
        '{"width": true, "height": 50}',
        f'{{"width": {10**300}, "height": 50}}',
        '{"width": 100, "height": 50, "frame_count": 1e11}',
        '{"width": 100, "height": 50, "frame_rate": "fast"}',
    ],
)
def test_what_labelbox_says_of_media_and_no_column_holds_stays_in_the_data(media: str) -> None:
    tables, odd = read_labelbox(row({"objects": [ROW_BOX]}, media))
    data = json.loads(tables["items"][0]["data"])["labelbox"]["media_attributes"]
    ((name, value),) = data.items()
    assert json.loads(media)[name] == value
    assert odd == f"1 of media_attributes.{name}"
    assert len(tables["labels"]) == 1


@pytest.mark.parametrize(
    "record",
    [
        {**ROW_BOX, "bounding_box": {"left": 10**400, "top": 2.0, "width": 3.0, "height": 4.0}},
        {**ROW_BOX, "classifications": 5},
        {**ROW_BOX, "name": ["n"]},
        {**ROW_BOX, "bounding_box": None, "location": {"start": 2**70, "end": 2**71}},
        {**ROW_BOX, "bounding_box": None, "mask": {"size": [5, 5], "counts": [1, 2]}},
        {**ROW_BOX, "bounding_box": None, "mask": {"size": [5, 5], "counts": "~~~"}},
        {**ROW_BOX, "bounding_box": None, "mask": {"size": [2**40, 2**40], "counts": "11"}},
        "nonsense",
        None,
    ],
)
def test_an_object_that_its_columns_cannot_hold_lands_with_its_record(record: Any) -> None:
    tables, _ = read_labelbox(row({"objects": [ROW_BOX, record, ROW_BOX]}))
    assert [label["type"] for label in tables["labels"]] == ["detection", "other", "detection"]
    raw = json.loads(tables["labels"][1]["raw"].replace('"' + str(10**400) + '"', str(10**400)))
    assert raw == record


@pytest.mark.parametrize("annotations", [5, [1], {"objects": 3, "frames": {"a": {}}}, {"segments": {"f": [[1]]}}])
def test_annotations_of_no_known_form_are_one_label(annotations: Any) -> None:
    tables, _ = read_labelbox(row(annotations, metadata_fields="none", experiments=[1]))
    assert [label["type"] for label in tables["labels"]] == ["other"]
    assert json.loads(tables["labels"][0]["raw"]) == annotations


@pytest.mark.parametrize("segments", [[[1, 10**11]], [[2**62, 2**62 + 1]], [[-(2**40), 5]], [[1, 2**70]]])
def test_an_object_in_too_many_frames_lands_as_it_stands(segments: Any) -> None:
    key = {**ROW_BOX, "annotation_kind": "VideoBoundingBox"}
    annotations = {
        "frames": {"1": {"objects": {"f": key, "g": key}, "classifications": []}},
        "segments": {"f": segments, "g": [[1, 2]]},
        "key_frame_feature_map": {"f": [1], "g": [1]},
    }
    tables, _ = read_labelbox(row(annotations))
    assert sorted((label["type"], label["ordinal"]) for label in tables["labels"]) == [("detection", 2), ("other", 0)]


def test_lines_of_odd_json_land() -> None:
    odd = '{"schema_name": "n", "value": ' + "[" * 5000 + "]" * 5000 + "}"
    line = (
        row({"objects": [ROW_BOX]})[:-1] + f', "metadata_fields": [{odd}, {{"schema_name": "\\ud800", "value": NaN}}]}}'
    )
    tables, _ = read_labelbox(line)
    data = json.loads(tables["items"][0]["data"])
    assert data["\\ud800"] == "NaN"
    assert [label["type"] for label in tables["labels"]] == ["detection"]
