"""Texts, sounds and videos on the page: what a browser gets of them, and what it shows."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from airflow_annotation.hooks.annotation import AnnotationHook
from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.plugins.page.shown_text import ShownText, shown_texts
from devtools.airflow import Airflow
from devtools.label_studio import LabelStudio
from tests.plugins.browser import screenshot
from tests.support.task_context import task_context
from tests.support.videos import make_video

playwright = pytest.importorskip("playwright.sync_api")

WORDS = """<View><Text name="left" value="$left"/><Text name="right" value="$right"/>
  <Labels name="names" toName="left"><Label value="city"/><Label value="place"/></Labels>
  <Choices name="tone" toName="left"><Choice value="glad"/></Choices>
  <Pairwise name="better" toName="left,right"/></View>"""
SOUND = """<View><Audio name="audio" value="$audio"/>
  <Labels name="voice" toName="audio"><Label value="speech"/></Labels></View>"""
VIDEO = """<View><Video name="video" value="$video" frameRate="30"/>
  <VideoRectangle name="box" toName="video"/>
  <Labels name="objects" toName="video"><Label value="car"/></Labels></View>"""
LEFT = "😀 Berlin & <b>Paris</b>"


def sound() -> bytes:
    """Return two seconds of silence, of 3 MB: more than one answer of the page has."""
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(16)
        written.setsampwidth(2)
        written.setframerate(48_000)
        written.writeframes(bytes(2 * 48_000 * 32))
    return file.getvalue()


def spot(frame: int, left: float) -> dict[str, Any]:
    return {"frame": frame, "enabled": True, "x": left, "y": 10, "width": 20, "height": 30, "rotation": 0}


def region(type_: str, from_name: str, to_name: str, **value: Any) -> dict[str, Any]:
    return {"id": uuid4().hex, "type": type_, "from_name": from_name, "to_name": to_name, "value": value}


RESULTS: dict[str, list[dict[str, Any]]] = {
    "words": [
        region("labels", "names", "left", start=2, end=8, text="Berlin", labels=["city"]),
        region("labels", "names", "left", start=0, end=8, text="😀 Berlin", labels=["place"]),
        region("choices", "tone", "left", choices=["glad"]),
        region("pairwise", "better", "left", selected="right"),
    ],
    "sound": [region("labels", "voice", "audio", start=0.5, end=1.25, channel=0, labels=["speech"])],
    "video": [
        region("videorectangle", "box", "video", labels=["car"], sequence=[spot(1, 5), spot(31, 50)], framesCount=60),
        region("videorectangle", "box", "video", labels=["car"], sequence=[spot(31, 20)], framesCount=60),
    ],
}


@pytest.fixture(scope="module")
def runs(label_studio: LabelStudio, page_hook: AnnotationHook, tmp_path_factory: Any) -> Iterator[dict[str, str]]:
    """The ids of three projects, each with one labeled item."""
    folder: Path = tmp_path_factory.mktemp("media")
    (folder / "sound.wav").write_bytes(sound())
    (folder / "video.mp4").write_bytes(make_video(60, size=(320, 240)))
    rows = [{"item_key": "words", "left": LEFT, "right": "nothing"}]
    made = {}
    for name, config, media in (
        ("words", WORDS, rows),
        ("sound", SOUND, str(folder / "sound.wav")),
        ("video", VIDEO, str(folder / "video.mp4")),
    ):
        project = page_hook.create_project(title=name, run_key=f"{name}/{uuid4().hex[:8]}", label_config=config)
        made[name] = project.id
        UploadMediaOperator(
            task_id="upload", annotation_conn_id="page_test", project=project.id, media=media, media_access="upload"
        ).execute(task_context())
        headers = {"Authorization": f"Token {label_studio.api_key}"}
        with httpx.Client(base_url=label_studio.url, headers=headers, timeout=60) as client:
            tasks = client.get("/api/tasks/", params={"project": project.id}).raise_for_status().json()["tasks"]
            body = {"result": RESULTS[name]}
            client.post(f"/api/tasks/{tasks[0]['id']}/annotations/", json=body).raise_for_status()
    yield made
    for project_id in made.values():
        page_hook.delete_project(project_id)


def sample_of(airflow: Airflow, project: str) -> Any:
    query = httpx.QueryParams(conn_id="label_studio_test", project=project)
    url = f"{airflow.url}/annotation/api/sample?{query}"
    return httpx.get(url, headers=airflow.login(), timeout=120).raise_for_status().json()


def media(airflow: Airflow, project: str, item: str, **headers: str) -> httpx.Response:
    query = httpx.QueryParams(conn_id="label_studio_test", project=project, item=item)
    url = f"{airflow.url}/annotation/api/media?{query}"
    return httpx.get(url, headers={**airflow.login(), **headers}, timeout=120)


@pytest.mark.live_airflow
def test_a_sound_is_given_in_the_parts_that_are_asked_for(airflow: Airflow, runs: dict[str, str]) -> None:
    (item,) = sample_of(airflow, runs["sound"])["items"]
    whole, content = media(airflow, runs["sound"], item["item_id"]), sound()
    assert (whole.status_code, whole.headers["content-type"]) == (200, "audio/wav")
    assert whole.content == content
    first = media(airflow, runs["sound"], item["item_id"], Range="bytes=0-")
    assert first.status_code == 206
    assert first.headers["content-range"] == f"bytes 0-{(2 << 20) - 1}/{len(content)}"
    assert first.content == content[: 2 << 20]
    for asked, part in (("bytes=100-199", content[100:200]), ("bytes=-50", content[-50:])):
        assert media(airflow, runs["sound"], item["item_id"], Range=asked).content == part
    for asked in ("bytes=0-1,5-6", f"bytes={len(content)}-", "bytes=9-2", "lines=1-2", f"bytes={'9' * 5000}-"):
        answer = media(airflow, runs["sound"], item["item_id"], Range=asked)
        assert answer.status_code == 502, asked


@pytest.mark.live_airflow
def test_what_is_no_sound_or_video_is_not_given(airflow: Airflow, run: Any) -> None:
    (item,) = sample_of(airflow, run.id)["items"]
    answer = media(airflow, run.id, item["item_id"])
    assert answer.status_code == 502
    assert "not a sound or video" in answer.json()["detail"]


@pytest.mark.live_airflow
def test_objects_of_a_video_are_counted_once_and_drawn_on_one_frame(airflow: Airflow, runs: dict[str, str]) -> None:
    sample = sample_of(airflow, runs["video"])
    assert sample["fields"] == [{"field": "objects", "classes": [{"name": "car", "count": 2}]}]
    (item,) = sample["items"]
    assert item["drawn"] == 2
    assert [label["bbox"][0] for label in item["labels"]] == pytest.approx([0.5, 0.2])
    assert item["shown_at"] == pytest.approx(1.0)


@pytest.mark.live_airflow
def test_a_text_has_its_spans_and_a_pair_its_answer(airflow: Airflow, runs: dict[str, str], tab: Any) -> None:
    tab.goto(f"{airflow.url}/annotation/run?conn_id=label_studio_test&project={runs['words']}")
    tab.locator("mark").first.wait_for()
    assert tab.locator("mark").all_inner_texts() == ["😀 ", "Berlin"]
    assert tab.locator("mark", has_text="Berlin").get_attribute("title") == "city, place"
    assert "<b>Paris</b>" in tab.locator(".text").first.inner_text()
    assert "chosen" in tab.locator(".chosen").inner_text()
    assert "nothing" in tab.locator(".chosen").inner_text()
    assert "tone: glad" in tab.locator(".caption").inner_text()
    assert [head.inner_text() for head in tab.locator("h3").all()] == ["better", "names", "tone"]
    screenshot(tab, "words")


@pytest.mark.live_airflow
def test_a_sound_is_played(airflow: Airflow, runs: dict[str, str], tab: Any) -> None:
    tab.goto(f"{airflow.url}/annotation/run?conn_id=label_studio_test&project={runs['sound']}")
    tab.locator("audio").wait_for()
    playwright.expect(tab.locator("audio")).to_have_js_property("duration", 2, timeout=180_000)
    assert tab.locator(".ranges").inner_text() == "speech 0.5\N{EN DASH}1.3 s"
    screenshot(tab, "sound")


@pytest.mark.live_airflow
def test_a_video_stands_at_the_frame_whose_boxes_are_drawn(airflow: Airflow, runs: dict[str, str], tab: Any) -> None:
    tab.goto(f"{airflow.url}/annotation/run?conn_id=label_studio_test&project={runs['video']}")
    tab.locator(".video svg rect").first.wait_for()
    playwright.expect(tab.locator("video")).to_have_js_property("currentTime", 1, timeout=180_000)
    playwright.expect(tab.locator("video")).to_have_js_property("seeking", False, timeout=180_000)
    assert tab.locator(".video svg rect").count() == 2
    assert tab.locator(".video svg text").all_text_contents() == ["car", "car"]
    box, shown = tab.locator(".video svg rect").first.bounding_box(), tab.locator("video").bounding_box()
    assert (box["x"] - shown["x"]) / shown["width"] == pytest.approx(0.5, abs=0.02)
    screenshot(tab, "video")


def test_texts_are_what_the_data_have() -> None:
    data = {
        "text": "a",
        "turns": [{"role": "user", "content": "Hi"}, {"role": "bot", "content": "Ho"}],
        "rank": 3,
        "none": None,
        "long": "x" * 6000,
    }
    assert shown_texts(json.dumps(data)) == [
        ShownText("text", "a"),
        ShownText("turns", "user: Hi\nbot: Ho", [6, 14]),
        ShownText("rank", "3"),
        ShownText("long", "x" * 5000 + "…"),
    ]
    for nothing in (None, "[]", "3", '{"a": {}}'):
        assert shown_texts(nothing) == []
