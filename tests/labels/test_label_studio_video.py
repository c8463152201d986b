"""Label Studio's videos as tables, and there and back."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk._extensions.label_studio_tools.postprocessing.video import extract_key_frames

from airflow_annotation.labels.errors import UnwritableLabelError
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.export import ExportSource, tables_from_export
from airflow_annotation.labels.label_studio.results import results_from_labels
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.video import Frames
from devtools.label_studio import LabelStudio

RATE = 25
CONFIG = """
<View>
  <Video name="video" value="$video" frameRate="25"/>
  <VideoRectangle name="objects.box" toName="video"/>
  <Labels name="objects" toName="video"><Label value="car"/><Label value="person"/></Labels>
  <Choices name="objects.colour" toName="video" perRegion="true" whenTagName="objects">
    <Choice value="red"/><Choice value="blue"/>
  </Choices>
  <TimelineLabels name="scenes" toName="video"><Label value="rain"/><Label value="night"/></TimelineLabels>
  <Choices name="weather" toName="video"><Choice value="sun"/></Choices>
  <VideoVectorLabels name="lanes" toName="video"><Label value="left"/><Label value="right"/></VideoVectorLabels>
</View>
"""
DATA = {"video": "https://videos/1.mp4"}


def key(frame: int, x: float, *, enabled: bool = True, **fields: Any) -> dict[str, Any]:
    box = {"x": x, "y": 20.0, "width": 10.0, "height": 10.0, "rotation": 0.0}
    return {"frame": frame, **box, "enabled": enabled, "time": frame / RATE, **fields}


def track(id_: str, *sequence: dict[str, Any], frames_count: int = 0, label: str = "car") -> dict[str, Any]:
    value = {"framesCount": frames_count, "duration": frames_count / RATE, "sequence": list(sequence)}
    record = {"id": id_, "type": "videorectangle", "from_name": "objects.box", "to_name": "video"}
    return {**record, "value": {**value, "labels": [label]}}


def path_key(frame: int, *points: tuple[float, float], enabled: bool = True, closed: bool = False) -> dict[str, Any]:
    names = [f"v{number}" for number in range(len(points))]
    vertices = [
        {"id": name, "x": x, "y": y, "isBezier": False, "prevPointId": before}
        for name, before, (x, y) in zip(names, [None, *names], points, strict=False)
    ]
    return {"frame": frame, "enabled": enabled, "time": frame / RATE, "vertices": vertices, "closed": closed}


def path(id_: str, *sequence: dict[str, Any], frames_count: int = 0, label: str = "left") -> dict[str, Any]:
    value = {"framesCount": frames_count, "duration": frames_count / RATE, "sequence": list(sequence)}
    record = {"id": id_, "type": "videovectorlabels", "from_name": "lanes", "to_name": "video"}
    return {**record, "value": {**value, "videovectorlabels": [label]}}


def timeline(id_: str, *ranges: tuple[int, int], label: str = "rain") -> dict[str, Any]:
    value = {"ranges": [{"start": start, "end": end} for start, end in ranges], "timelinelabels": [label]}
    return {"id": id_, "type": "timelinelabels", "from_name": "scenes", "to_name": "video", "value": value}


def choice(id_: str, from_name: str, class_: str) -> dict[str, Any]:
    value = {"choices": [class_]}
    return {"id": id_, "type": "choices", "from_name": from_name, "to_name": "video", "value": value}


def read(
    *records: dict[str, Any], frames: Frames = "keyframes", config: str = CONFIG, **data: Any
) -> list[dict[str, Any]]:
    source = ExportSource(project="p", config=LabelingConfig(config), item_url="", options=ReadOptions(frames=frames))
    tasks = [{"id": 1, "data": DATA | data, "annotations": [{"id": 1, "result": records}]}]
    labels = tables_from_export(json.dumps(tasks).encode(), source).labels
    labels.validate(full=True)
    rows: list[dict[str, Any]] = labels.to_pylist()
    return rows


def columns(rows: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


MOVING = track("t", key(10, 5), key(1, 0), key(3, 20, enabled=False), frames_count=12)


def test_each_key_frame_of_an_object_is_a_row_and_says_where_the_object_disappears() -> None:
    rows = read(MOVING, choice("t", "objects.colour", "red"), choice("w", "weather", "sun"))
    names = ("label_id", "track_id", "field", "type", "label", "tool_frame", "time", "frame", "is_keyframe")
    assert columns(rows, *names) == [
        ("t", "t", "objects", "detection", "car", 1, 0.0, None, True),
        ("t", "t", "objects", "detection", "car", 3, 0.08, None, True),
        ("t", "t", "objects", "detection", "car", 10, 0.36, None, True),
        ("w", None, "weather", "classification", "sun", None, None, None, None),
    ]
    assert [row["bbox"] for row in rows[:3]] == [pytest.approx([x, 0.2, 0.1, 0.1]) for x in (0, 0.2, 0.05)]
    assert [json.loads(row["attributes"]) for row in rows[:3]] == [
        {"colour": "red"},
        {"colour": "red", "enabled": False},
        {"colour": "red"},
    ]
    assert [row["ordinal"] for row in rows] == [0, 1, 2, 3]


def test_all_frames_of_an_object_are_rows() -> None:
    rows = read(MOVING, frames="all")
    assert columns(rows, "tool_frame", "is_keyframe") == [
        (1, True),
        (2, False),
        (3, True),
        (10, True),
        (11, False),
        (12, False),
    ]
    assert rows[1]["bbox"] == pytest.approx([0.1, 0.2, 0.1, 0.1])


def test_frames_of_the_file_are_told_only_where_its_rate_is_known() -> None:
    assert columns(read(MOVING, frame_rate=50), "frame") == [(0,), (4,), (18,)]
    assert columns(read(MOVING, frame_rate=25.0, frame_count=5), "frame") == [(0,), (2,), (4,)]
    assert columns(read(timeline("s", (2, 4)), frame_rate=50), "frame", "frame_end") == [(2, 6)]


@pytest.mark.parametrize(
    ("frame_rate", "data", "time"),
    [
        ('frameRate="10"', {}, 0.9),
        ("", {}, 9 / 24),
        ('frameRate="0.1"', {}, 0.9),
        ('frameRate="$fps"', {"fps": 18}, 0.5),
        ('framerate="$frame_rate"', {"frame_rate": 90}, 0.1),
        ('frameRate="$fps"', {"fps": "fast"}, 9 / 24),
    ],
)
def test_the_player_counts_at_the_configs_rate(frame_rate: str, data: dict[str, Any], time: float) -> None:
    config = CONFIG.replace('frameRate="25"', frame_rate)
    assert columns(read(MOVING, config=config, **data), "tool_frame", "time")[2] == (10, pytest.approx(time))


def test_each_range_of_a_timeline_is_a_row() -> None:
    names = ("label_id", "field", "type", "label", "tool_frame", "time", "time_end", "frame", "track_id")
    assert columns(read(timeline("s", (2, 4), (7, 7))), *names) == [
        ("s", "scenes", "classification", "rain", 2, 0.04, 0.16, None, None),
        ("s", "scenes", "classification", "rain", 7, 0.24, 0.28, None, None),
    ]


def test_what_the_server_has_interpolated_is_no_key_frame() -> None:
    filled = track("t", key(1, 0), key(2, 5, auto=True), key(3, 10))
    assert columns(read(filled), "tool_frame", "is_keyframe") == [(1, True), (3, True)]
    nobodys = track("t", key(1, 0, auto=True), key(2, 5, auto=True, enabled=False))
    assert columns(read(nobodys), "tool_frame", "is_keyframe") == [(1, False), (2, False)]


@pytest.mark.parametrize(
    "record",
    [track("t"), track("t", {"frame": 1}), timeline("s"), timeline("s", ("a", "b"))],  # type: ignore[arg-type]  # wrong on purpose
)
def test_a_record_that_is_not_what_its_type_says_lands_as_it_is(record: dict[str, Any]) -> None:
    other, moving = read(record, track("u", key(1, 0)))
    assert (other["type"], json.loads(other["raw"])) == ("other", record)
    assert (moving["type"], moving["raw"]) == ("detection", None)


def test_a_path_moves_point_by_point_between_its_key_frames() -> None:
    first = path_key(3, (20, 40), (30, 80), closed=True, enabled=False)
    moving = path("p", first, path_key(1, (0, 0), (10, 0), (90, 90)), frames_count=9)
    keys = read(moving)
    names = ("type", "label", "track_id", "tool_frame", "is_keyframe", "attributes", "points")
    assert columns(keys, *names) == [
        ("polyline", "left", "p", 1, True, None, [[0, 0], [0.1, 0], [0.9, 0.9]]),
        ("polygon", "left", "p", 3, True, '{"enabled":false}', [[0.2, 0.4], [0.3, 0.8]]),
    ]
    between = read(moving, frames="all")[1]
    assert (between["tool_frame"], between["is_keyframe"], between["type"]) == (2, False, "polyline")
    # The third point has no counterpart and stays.
    assert between["points"] == [[0.1, 0.2], [0.2, 0.4], [0.9, 0.9]]


def test_a_path_gets_its_class_from_the_labels_beside_it() -> None:
    config = """<View><Video name="v" value="$video"/><VideoVector name="line" toName="v"/>
      <Labels name="kind" toName="v"><Label value="left"/></Labels></View>"""
    value = {"sequence": [path_key(1, (0, 0), (50, 50))]}
    # As the editor writes it, and as its own name would have it.
    merged = {"id": "a", "type": "videovectorlabels", "from_name": "kind", "to_name": "v"}
    merged["value"] = {**value, "videovectorlabels": ["left"]}  # type: ignore[assignment]
    plain = {
        "id": "b",
        "type": "videovector",
        "from_name": "line",
        "to_name": "v",
        "value": {**value, "labels": ["left"]},
    }
    rows = read(merged, plain, config=config)
    assert columns(rows, "track_id", "field", "type", "label") == [
        ("a", "kind", "polyline", "left"),
        ("b", "kind", "polyline", "left"),
    ]
    assert_same(read(*results_from_labels(rows, LabelingConfig(config)), config=config), rows)


def test_a_path_of_curves_lands_as_it_is() -> None:
    curved = path("p", path_key(1, (0, 0), (50, 50)))
    curved["value"]["sequence"][0]["vertices"][1]["isBezier"] = True
    (row,) = read(curved)
    assert (row["type"], json.loads(row["raw"])) == ("other", curved)


# There and back


@st.composite
def records(draw: st.DrawFn) -> list[dict[str, Any]]:
    """What people drew on a video: objects, some with an answer, paths, scenes, and an answer about the whole video."""
    made: list[dict[str, Any]] = []
    for number in range(draw(st.integers(0, 3))):
        numbers = draw(st.lists(st.integers(1, 40), unique=True, min_size=1, max_size=6))
        keys = [
            key(frame, draw(st.floats(0, 90)), enabled=draw(st.booleans()), rotation=draw(st.sampled_from([0.0, 30.0])))
            for frame in numbers
        ]
        made.append(track(f"t{number}", *keys, label=draw(st.sampled_from(["car", "person"]))))
        if draw(st.booleans()):
            made.append(choice(f"t{number}", "objects.colour", draw(st.sampled_from(["red", "blue"]))))
    for number in range(draw(st.integers(0, 2))):
        numbers = draw(st.lists(st.integers(1, 40), unique=True, min_size=1, max_size=4))
        count, closed = draw(st.integers(2, 4)), draw(st.booleans())
        sides = st.floats(0, 100)
        points = st.lists(st.tuples(sides, sides), min_size=count, max_size=count)
        keys = [path_key(frame, *draw(points), enabled=draw(st.booleans()), closed=closed) for frame in numbers]
        made.append(path(f"p{number}", *keys, label=draw(st.sampled_from(["left", "right"]))))
    for number in range(draw(st.integers(0, 2))):
        starts = draw(st.lists(st.integers(1, 40), min_size=1, max_size=3))
        ranges = [(start, start + draw(st.integers(0, 9))) for start in starts]
        made.append(timeline(f"s{number}", *ranges, label=draw(st.sampled_from(["rain", "night"]))))
    return [*made, choice("w", "weather", "sun")]


def assert_same(rows: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(rows) == len(expected)
    for row, wanted in zip(rows, expected, strict=True):
        for name, value in wanted.items():
            if name == "attributes":
                assert json.loads(row[name] or "{}") == json.loads(value or "{}")
            else:
                if name == "points" and value is not None:
                    assert row[name] == [pytest.approx(point, abs=1e-9) for point in value]
                    continue
                near = name in ("bbox", "rotation", "time", "time_end") and value is not None
                assert row[name] == (pytest.approx(value, abs=1e-9) if near else value), name


@pytest.mark.parametrize("frames", ["keyframes", "all"])
@given(made=records())
def test_videos_survive_being_written_and_read(frames: Frames, made: list[dict[str, Any]]) -> None:
    rows = read(*made, frames=frames)
    written = results_from_labels(rows, LabelingConfig(CONFIG), find_size=lambda _: (640, 480))
    assert len({record["id"] for record in written}) == len({record["id"] for record in made})
    again = read(*written, frames=frames)
    if frames == "all":  # rows between key frames may need a key frame of their own to be there
        for row in (*rows, *again):
            del row["is_keyframe"]
            row["attributes"] = json.dumps({k: v for k, v in json.loads(row["attributes"] or "{}").items() if v})
    assert_same(again, rows)


@given(records())
def test_where_the_video_ends_objects_stay_until_then(made: list[dict[str, Any]]) -> None:
    for record in made:
        if "sequence" in record["value"]:
            record["value"] |= {"framesCount": 50, "duration": 50 / RATE}
    shown = columns(read(*made, frames="all"), "label_id", "tool_frame", "time_end")
    for frames in ("keyframes", "all"):
        rows = read(*made, frames=frames)
        written = results_from_labels(rows, LabelingConfig(CONFIG), duration=50 / RATE)
        assert columns(read(*written, frames="all"), "label_id", "tool_frame", "time_end") == shown


@given(records())
def test_all_frames_are_written_as_what_the_server_interpolates_to_the_same(made: list[dict[str, Any]]) -> None:
    rows = read(*made, frames="all")
    written = results_from_labels(rows, LabelingConfig(CONFIG))
    interpolated = extract_key_frames(written)  # type: ignore[no-untyped-call]  # the SDK has no types
    shown = [
        (record["id"], entry["frame"], pytest.approx(entry["x"] / 100))
        for record in interpolated
        for entry in record["value"].get("sequence", ())
        if "x" in entry
    ]
    assert [(row["track_id"], row["tool_frame"], row["bbox"][0]) for row in rows if row["bbox"]] == shown


def test_what_a_model_says_of_every_frame_needs_few_key_frames() -> None:
    rows = [
        {
            "label_id": f"r{frame}",
            "track_id": "t",
            "field": "objects",
            "type": "detection",
            "label": "car",
            "bbox": [frame / 100, 0, 0.1, 0.1],
            "time": frame / RATE,
            "attributes": json.dumps({"score": frame / 100}),
        }
        for frame in range(50)
    ]
    (record,) = results_from_labels(rows, LabelingConfig(CONFIG))
    assert (record["id"], record["score"], record["value"]["labels"]) == ("t", 0.49, ["car"])
    assert [(one["frame"], one["enabled"]) for one in record["value"]["sequence"]] == [(1, True), (50, False)]


def test_rows_that_say_until_when_they_hold_end_there_as_those_of_labelbox_do() -> None:
    spans = [(0, 4, 0.0), (5, 9, 0.5), (20, 20, 0.1), (30, 39, 0.2)]
    rows = [
        {**ROW, "is_keyframe": first != 20, "bbox": [x, 0, 0.1, 0.1], "time": first / 5, "time_end": (last + 1) / 5}
        for first, last, x in spans
    ]
    config = CONFIG.replace("25", "5")
    written = results_from_labels(rows, LabelingConfig(config), duration=20)
    again = read(*written, frames="all", config=config, frame_rate=5)
    assert [row["frame"] for row in again] == [*range(10), 20, *range(30, 40)]
    assert [row["bbox"][0] for row in again] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, *[0.5] * 5, 0.1, *[0.2] * 10])


ROW: dict[str, Any] = {
    "label_id": "r1",
    "track_id": "t",
    "field": "objects",
    "type": "detection",
    "label": "car",
    "bbox": [0, 0, 0.1, 0.1],
    "tool_frame": 1,
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tool_frame": None}, "in which frame it is"),
        ({"label": "person"}, "other classes or attributes in other frames of 't'"),
        ({"attributes": '{"colour":"red"}'}, "other classes or attributes in other frames of 't'"),
        ({"bbox": [0.95, 0, 0.1, 0.1]}, "outside its media"),
    ],
)
def test_rows_of_an_object_that_no_record_can_say_are_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UnwritableLabelError, match=said):
        results_from_labels([ROW, {**ROW, "tool_frame": 2, **change}], LabelingConfig(CONFIG))


def test_a_frame_rate_that_each_task_has_cannot_be_written_to() -> None:
    config = LabelingConfig(CONFIG.replace('"25"', '"$fps"'))
    with pytest.raises(UnwritableLabelError, match="Write the frame rate into the labeling config"):
        results_from_labels([ROW], config)


def test_a_live_server_takes_written_tracks_and_interpolates_to_the_rows_read(label_studio: LabelStudio) -> None:
    made = [MOVING, choice("t", "objects.colour", "red"), track("u", key(4, 1), key(9, 2)), timeline("s", (2, 4))]
    written = results_from_labels(read(*made, frames="all"), LabelingConfig(CONFIG), find_size=lambda _: (640, 480))
    headers = {"Authorization": f"Token {label_studio.api_key}"}
    with httpx.Client(base_url=label_studio.url, headers=headers, timeout=60) as client:
        project = client.post("/api/projects", json={"title": "tracks", "label_config": CONFIG}).json()["id"]
        task = {"data": DATA, "annotations": [{"result": written}]}
        client.post(f"/api/projects/{project}/import", json=[task]).raise_for_status()
        export = client.get(f"/api/projects/{project}/export", params={"download_all_tasks": "true"}).json()
        filled = client.get(f"/api/projects/{project}/export", params={"interpolate_key_frames": "true"}).json()
        client.delete(f"/api/projects/{project}").raise_for_status()
    rows = read(*export[0]["annotations"][0]["result"], frames="all")
    expected = [
        (record["id"], entry["frame"], pytest.approx(entry["x"] / 100))
        for record in filled[0]["annotations"][0]["result"]
        for entry in record["value"].get("sequence", ())
    ]
    assert [(row["track_id"], row["tool_frame"], row["bbox"][0]) for row in rows if row["track_id"]] == expected
    assert [row["tool_frame"] for row in rows if row["track_id"] == "t"] == [1, 2, 3, 10, 11, 12]
    assert {json.loads(row["attributes"])["colour"] for row in rows if row["track_id"] == "t"} == {"red"}
