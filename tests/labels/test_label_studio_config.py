"""Label schemas as labeling configs, and labeling configs of any origin as label schemas."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import httpx
import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_annotation.labels.errors import LabelSchemaError
from airflow_annotation.labels.label_studio.config import (
    label_config_from_schema,
    label_schema_from_config,
)
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.objects import ASKED, TAG_OF
from airflow_annotation.labels.label_studio.tags import READERS
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.types import OF_FIELD, REGION_TYPES, RELATIONS, SHAPE_TYPES
from devtools.label_studio import environment_path

if TYPE_CHECKING:
    from devtools.label_studio import LabelStudio

NAMES = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "Pd", "Sm", "So", "Po"], exclude_characters="$,."),
    min_size=1,
    max_size=9,
).map(lambda name: f"n{name}")
CLASSES = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="$"), min_size=1, max_size=20
)


@st.composite
def attributes(draw: st.DrawFn, classes: list[str]) -> dict[str, Any]:
    type_ = draw(st.sampled_from(["radio", "select", "checkbox", "text", "number"]))
    attribute: dict[str, Any] = {"type": type_}
    if type_ in ("radio", "select", "checkbox"):
        attribute["values"] = draw(st.lists(CLASSES, unique=True, min_size=1, max_size=3))
    asked = draw(st.lists(st.sampled_from(classes), unique=True, max_size=2)) if classes else []  # messages have none
    if len(asked) == 1 or not any("," in class_ for class_ in classes):
        attribute["classes"] = asked
    return attribute


KEYS = st.from_regex(r"[a-z][a-z0-9_-]{0,5}", fullmatch=True).map(lambda key: f"k{key}")


@st.composite
def label_schemas(draw: st.DrawFn, media_types: Sequence[str] = tuple(ASKED)) -> tuple[str, LabelSchema]:
    """A type of media, and a schema for it. Each thing of an item's data is shown once, before what is asked of it."""
    media_type = draw(st.sampled_from(media_types))
    keys = iter(draw(st.lists(KEYS, unique=True, min_size=14, max_size=14)))
    fields: dict[str, Any] = {}
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique_by=str.casefold))
    for name in names[:3]:
        drawn = {field["type"] for field in fields.values()} if media_type == "video" else set()
        once = {RELATIONS, *drawn.intersection(SHAPE_TYPES)}
        type_ = draw(st.sampled_from(sorted(ASKED[media_type] - once)))
        timed, type_ = type_.startswith("timed"), type_.removeprefix("timed ")
        is_about_text = not timed and type_ not in SHAPE_TYPES and (media_type == "rows" or draw(st.booleans()))
        field: dict[str, Any] = {"type": type_, "timed": timed}
        count = {"pairwise": 2, "ranking": 1, "messages": 1}.get(type_, int(is_about_text))
        field["targets"] = [next(keys) for _ in range(count)]
        # In rows of a single text it stands for the item, so that no field need name it.
        field["context"] = [next(keys) for _ in range(draw(st.integers(int(media_type == "rows"), 2)))]
        if type_ == "rating":
            field["max"] = draw(st.integers(2, 9))
        classes = draw(st.lists(CLASSES, unique=True, min_size=0 if type_ == "ranking" else 1, max_size=4))
        if type_ == "segmentation":
            values = draw(st.lists(st.integers(1, 65535), min_size=4, max_size=4, unique=True))
            field["mask_targets"] = dict(zip(values, classes, strict=False))
        elif OF_FIELD[type_].has_classes is not False:
            field["classes"] = classes
        else:
            classes = []
        if type_ in REGION_TYPES:
            asked = draw(st.lists(NAMES, max_size=2, unique_by=str.casefold))
            field["attributes"] = {attribute: draw(attributes(classes)) for attribute in asked}
        fields[name] = field
    if len(names) > 3 and any(field["type"] in REGION_TYPES for field in fields.values()):
        classes = draw(st.lists(CLASSES, unique=True, max_size=3))
        fields[names[3]] = {"type": RELATIONS, "classes": classes}
    return media_type, LabelSchema.from_dict(fields)


@given(label_schemas())
def test_reading_what_was_written_gives_the_same_schema(made: tuple[str, LabelSchema]) -> None:
    media_type, schema = made
    assert label_schema_from_config(label_config_from_schema(schema, media_type=media_type)) == schema


@settings(max_examples=24, deadline=None, suppress_health_check=list(HealthCheck))
@given(made=label_schemas())
def test_the_server_accepts_what_is_written(label_studio: LabelStudio, made: tuple[str, LabelSchema]) -> None:
    media_type, schema = made
    answer = httpx.post(
        f"{label_studio.url}/api/projects/validate/",
        headers={"Authorization": f"Token {label_studio.api_key}"},
        json={"label_config": label_config_from_schema(schema, media_type=media_type)},
        timeout=60,
    )
    assert answer.status_code == 204, answer.text


@pytest.mark.parametrize(("media_type", "tag"), [(kind, TAG_OF[kind].name) for kind in ASKED if kind in TAG_OF])
def test_other_media_can_be_classified(media_type: str, tag: str) -> None:
    schema = LabelSchema.from_dict({"topic": {"type": "classification", "classes": ["a"]}, "note": {"type": "text"}})
    config = label_config_from_schema(schema, media_type=media_type)
    assert ElementTree.fromstring(config).find(tag) is not None
    assert _media_keys(config) == {media_type: media_type}
    assert label_schema_from_config(config) == schema


def _media_keys(config: str) -> dict[str, str]:
    return {name: media.data_key for name, media in LabelingConfig(config).objects.items()}


def test_objects_in_videos_are_tracked_at_the_files_frame_rate() -> None:
    schema = LabelSchema.for_field("objects", "detections", ["car"], attributes={"note": {"type": "text"}})
    config = label_config_from_schema(schema, media_type="video", frame_rate=29.97)
    video = ElementTree.fromstring(config).find("Video")
    assert video is not None
    assert video.attrib["frameRate"] == "29.97"
    assert label_schema_from_config(config) == schema


def test_a_second_field_of_boxes_in_videos_is_refused() -> None:
    fields = {name: {"type": "detections", "classes": [name]} for name in ("car", "person")}
    with pytest.raises(LabelSchemaError, match="'person': on videos Label Studio draws boxes for one field"):
        label_config_from_schema(LabelSchema.from_dict(fields), media_type="video")


SPANS = {"type": "spans", "classes": ["city"]}


def test_relations_of_any_origin_are_read() -> None:
    config = """<View><Relations><Relation value="in"/><Relation value="of" alias="part of"/></Relations>
      <Text name="t" value="$text"/><Labels name="names" toName="t"><Label value="city"/></Labels></View>"""
    assert label_schema_from_config(config).to_dict() == {
        "names": SPANS,
        "relation": {"type": "relations", "classes": ["in", "part of"]},
    }
    assert "relation" not in label_schema_from_config(config.replace("Relation", "View")).fields


@pytest.mark.parametrize(
    ("fields", "media_type", "message"),
    [
        ({"links": {"type": "relations"}}, "text", "'links' is of type relations, which are between labels"),
        (
            {"names": SPANS, "links": {"type": "relations"}, "more": {"type": "relations"}},
            "text",
            "'more': in Label Studio one field",
        ),
        (
            {"names": SPANS, "links": {"type": "relations", "attributes": {"sure": {"type": "text"}}}},
            "text",
            "'links' is of type relations, about which Label Studio asks nothing else",
        ),
        ({"names": SPANS, "links": {"type": "relations", "classes": ["$of"]}}, "text", "'links': Label Studio would"),
        ({"note": {"type": "text"}, "links": {"type": "relations"}}, "pdf", "'links' is of type relations"),
    ],
)
def test_relations_that_cannot_be_asked_for_are_refused(fields: dict[str, Any], media_type: str, message: str) -> None:
    with pytest.raises(LabelSchemaError, match=message):
        label_config_from_schema(LabelSchema.from_dict(fields), media_type=media_type)


def test_a_time_series_shows_the_columns_that_are_asked_for() -> None:
    schema = LabelSchema.for_field("kind", "classification", ["walk"])
    config = label_config_from_schema(schema, media_type="time_series", columns=["at", "speed", "height"])
    series = ElementTree.fromstring(config).find("TimeSeries")
    assert series is not None
    assert series.attrib["timeColumn"] == "at"
    assert [channel.attrib["column"] for channel in series] == ["speed", "height"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"media_type": "smell"}, "for media of type 'smell'. It has them for image, video, audio, text,"),
        ({"media_type": "text", "frame_rate": 25.0}, "frame_rate is of videos, not of media of type text"),
        ({"columns": ["time", "speed"]}, "columns are of time series, the time first"),
        ({"media_type": "time_series", "columns": ["time"]}, "columns are of time series, the time first"),
    ],
)
def test_what_is_said_of_media_fits_their_kind(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(LabelSchemaError, match=message):
        label_config_from_schema(LabelSchema.for_field("a", "classification", ["x"]), **arguments)


def test_questions_about_regions_are_shown_for_their_labels_only() -> None:
    attribute = {"type": "radio", "values": ["yes", "no"], "classes": ["car"]}
    schema = LabelSchema.for_field("objects", "detections", ["car", "person"], attributes={"occluded": attribute})
    control = ElementTree.fromstring(label_config_from_schema(schema)).find(".//Choices")
    assert control is not None
    assert control.attrib["perRegion"] == "true"
    assert (control.attrib["whenTagName"], control.attrib["whenLabelValue"]) == ("objects", "car")


def test_hotkeys_are_not_given_twice() -> None:
    fields = {name: {"type": "detections", "classes": [f"c{n}" for n in range(20)]} for name in ("a", "b", "c")}
    config = ElementTree.fromstring(label_config_from_schema(LabelSchema.from_dict(fields)))
    hotkeys = [label.attrib["hotkey"] for label in config.iter("Label") if "hotkey" in label.attrib]
    assert len(hotkeys) == len(set(hotkeys)) > 20


def test_a_field_may_be_called_like_the_media() -> None:
    schema = LabelSchema.from_dict({"image": {"type": "text"}, "image_1": {"type": "scalar"}})
    config = label_config_from_schema(schema)
    assert label_schema_from_config(config) == schema
    assert _media_keys(config) == {"image_2": "image"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"12": {"type": "text"}}, "cannot name a control '12'"),
        ({"true": {"type": "text"}}, "cannot name a control 'true'"),
        ({"a,b": {"type": "text"}}, "cannot name a control 'a,b'"),
        ({"a": {"type": "detections", "classes": ["$car"]}}, "reference to the task's data"),
        (
            {
                "a": {"type": "detections", "classes": ["x"], "attributes": {"b": {"type": "text"}}},
                "a.b": {"type": "text"},
            },
            "two controls named 'a.b'",
        ),
        (
            {
                "a": {
                    "type": "detections",
                    "classes": ["x", "y", "x,y"],
                    "attributes": {"b": {"type": "text", "classes": ["x", "y"]}},
                }
            },
            "field 'a', attribute 'b'",
        ),
        ({"a": {"type": "other", "tag": "Ranker"}}, "type other"),
    ],
)
def test_what_label_studio_cannot_say_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(LabelSchemaError) as raised:
        label_config_from_schema(LabelSchema.from_dict(fields))
    assert said in str(raised.value)


def test_shapes_cannot_be_drawn_on_text() -> None:
    with pytest.raises(
        LabelSchemaError, match="field 'a' is of type polygons, which Label Studio does not ask on media of type text"
    ):
        label_config_from_schema(LabelSchema.for_field("a", "polygons", ["x"]), media_type="text")


def test_hand_written_configs_are_read() -> None:
    schema = label_schema_from_config("""
        <View>
          <image name="img" value="$url"/>
          <Labels name="kind" toName="img"><Label value="a"/><Label value="b" alias="bee"/></Labels>
          <Rectangle name="box" toName="img"/>
          <TextArea name="transcription" toName="img" perRegion="true"/>
          <Ranker name="rank" toName="img"/>
          <Choices name="from_data" toName="img" value="$options"/>
          <Taxonomy name="tree" toName="img"><Choice value="x"><Choice value="y"/></Choice></Taxonomy>
        </View>
    """)
    assert schema.to_dict() == {
        "kind": {"type": "detections", "classes": ["a", "bee"], "attributes": {"transcription": {"type": "text"}}},
        "rank": {"type": "ranking", "targets": ["url"]},
        "from_data": {"type": "other", "tag": "choices", "label_types": ["classification"]},
        "tree": {"type": "classifications", "classes": ["x", "x/y"]},
    }


def test_messages_are_written_and_what_is_asked_of_them() -> None:
    fields = {
        "talk": {"type": "messages", "context": ["task"], "attributes": {"kind": {"type": "radio", "values": ["ok"]}}},
        "solved": {"type": "classification", "classes": ["yes", "no"], "targets": ["chat"]},
    }
    schema = LabelSchema.from_dict(fields)
    assert schema.fields["talk"].targets == ("chat",)
    config = label_config_from_schema(schema)
    assert '<Chat name="talk" value="$chat" ' in config
    assert label_schema_from_config(config) == schema
    fields["parts"] = {"type": "spans", "classes": ["a"], "targets": ["chat"]}
    with pytest.raises(LabelSchemaError, match="'parts' is about 'chat', which another field shows as a Chat"):
        label_config_from_schema(LabelSchema.from_dict(fields))
    reverse = LabelSchema.from_dict({name: fields[name] for name in ("solved", "talk")})
    with pytest.raises(LabelSchemaError, match="'talk' is about 'chat', which another field shows as a Text"):
        label_config_from_schema(reverse)


def test_broken_xml_is_named() -> None:
    with pytest.raises(LabelSchemaError, match="not well-formed XML"):
        label_schema_from_config("<View>")


SHAPES_OF_SEVERAL_KINDS = {"labels"}
READ_AS_SEVERAL_ROWS = {"videorectangle", "videovector", "timelinelabels", "ranker"}
RECORDS = {"chat": "chatmessage"}
CLASSES_FROM_TASK_DATA = {"choices", "rectanglelabels", "polygonlabels"}


def templates() -> dict[Path, str]:
    """The labeling configs that ship with Label Studio."""
    paths = environment_path().glob("lib/python*/site-packages/label_studio/annotation_templates/**/config.yml")
    return {path: yaml.safe_load(path.read_text())["config"] for path in sorted(paths)}


def test_what_any_control_of_a_template_makes_is_read() -> None:
    tags = {control.tag for config in templates().values() for control in LabelingConfig(config).controls.values()}
    assert len(tags) > 15
    assert not {RECORDS.get(tag, tag) for tag in tags} - READERS.keys() - READ_AS_SEVERAL_ROWS


def test_every_template_that_label_studio_ships_is_read() -> None:
    configs = templates()
    assert len(configs) > 50
    others: set[str] = set()
    for template, config in configs.items():
        schema = label_schema_from_config(config)
        assert not schema.fields or LabelSchema.from_dict(schema.to_dict()) == schema, template
        others |= {field.tag for field in schema.fields.values() if field.type == "other"}
    assert others == SHAPES_OF_SEVERAL_KINDS | CLASSES_FROM_TASK_DATA
