"""What several people said of one item, and files that no browser shows, on the page in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import httpx
import pytest

from airflow_annotation.operators.media import UploadMediaOperator
from devtools.airflow import Airflow
from devtools.label_studio import LabelStudio
from devtools.processes import REPOSITORY
from tests.plugins.browser import screenshot
from tests.support.second_person import second_person
from tests.support.task_context import task_context

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.live_airflow

LETTER = "😀 Ada wrote <b>to</b>\r\nParis."
PHOTO = """<View><Image name="image" value="$image"/>
  <RectangleLabels name="objects" toName="image"><Label value="cup"/><Label value="dish"/></RectangleLabels></View>"""
TEXT = """<View><Text name="letter" value="$letter" valueType="url"/>
  <Labels name="names" toName="letter"><Label value="person"/><Label value="place"/></Labels></View>"""
SERIES = """<View><TimeSeriesLabels name="faults" toName="series"><Label value="spike"/></TimeSeriesLabels>
  <TimeSeries name="series" value="$series" timeColumn="seconds"><Channel column="current"/></TimeSeries></View>"""
PDF = (
    """<View><Pdf name="pdf" value="$pdf"/><Choices name="kind" toName="pdf"><Choice value="bill"/></Choices></View>"""
)


def region(type_: str, from_name: str, to_name: str, **value: Any) -> dict[str, Any]:
    return {"id": uuid4().hex, "type": type_, "from_name": from_name, "to_name": to_name, "value": value}


def box(x: float, label: str) -> dict[str, Any]:
    place = {"x": x, "y": 20, "width": 30, "height": 40, "rotation": 0}
    return region("rectanglelabels", "objects", "image", **place, rectanglelabels=[label])


def span(start: int, text: str, label: str) -> dict[str, Any]:
    return region("labels", "names", "letter", start=start, end=start + len(text), text=text, labels=[label])


PROJECTS: dict[str, tuple[str, str | list[str], list[list[dict[str, Any]]]]] = {
    "photo": (PHOTO, str(REPOSITORY / "demo" / "photos" / "coffee.jpg"), [[box(10, "cup")], [box(30, "dish")]]),
    # The browser that labels counts an emoji as two characters, and a line end as one.
    "letter": (TEXT, "letter.txt", [[span(3, "Ada", "person"), span(22, "Paris", "place")], [span(3, "Ada", "place")]]),
    "series": (
        SERIES,
        ["motor.csv"],
        [[region("timeserieslabels", "faults", "series", start=10, end=20, instant=False, timeserieslabels=["spike"])]],
    ),
    "pdf": (PDF, "bill.pdf", [[region("choices", "kind", "pdf", choices=["bill"])]]),
}


@pytest.fixture(scope="module")
def runs(label_studio: LabelStudio, page_hook: Any, tmp_path_factory: Any) -> Iterator[dict[str, str]]:
    """The ids of projects with one item each, some of them labeled by two people."""
    folder = tmp_path_factory.mktemp("media")
    (folder / "letter.txt").write_bytes(LETTER.encode())
    (folder / "motor.csv").write_text("seconds,current\n" + "".join(f"{n},{n % 10}\n" for n in range(100)))
    (folder / "bill.pdf").write_bytes(b"%PDF-1.4\n%%EOF\n")
    made = {}
    with (
        closing(second_person(page_hook)) as other,
        httpx.Client(base_url=label_studio.url, headers={"Authorization": f"Token {label_studio.api_key}"}) as own,
    ):
        for name, (config, media, submissions) in PROJECTS.items():
            project = page_hook.create_project(title=name, run_key=f"{name}/{uuid4().hex[:8]}", label_config=config)
            made[name] = project.id
            paths = [str(folder / one) for one in media] if isinstance(media, list) else str(folder / media)
            UploadMediaOperator(
                task_id="upload", annotation_conn_id="page_test", project=project.id, media=paths, media_access="upload"
            ).execute(task_context())
            (task,) = own.get("/api/tasks/", params={"project": project.id}, timeout=60).json()["tasks"]
            for client, result in zip((own, other), submissions, strict=False):
                body = {"result": result}
                client.post(f"/api/tasks/{task['id']}/annotations/", json=body, timeout=60).raise_for_status()
    yield made
    for project_id in made.values():
        page_hook.delete_project(project_id)


def open_run(tab: Any, airflow: Airflow, project: str) -> None:
    tab.goto(f"{airflow.url}/annotation/run?conn_id=label_studio_test&project={project}")


def test_labels_of_all_people_are_in_one_picture_that_opens_large(
    airflow: Airflow, runs: dict[str, str], tab: Any
) -> None:
    open_run(tab, airflow, runs["photo"])
    disputed = tab.locator("#agreement .items li")
    disputed.locator("svg rect").nth(1).wait_for()
    strokes = {rect.get_attribute("stroke") for rect in disputed.locator("svg rect").all()}
    assert len(strokes) == 2
    assert disputed.locator("svg text").all_text_contents() == ["cup", "dish"]
    assert "objects 0 %" in disputed.inner_text()
    legend = tab.locator(".legend span")
    assert legend.count() == 2
    assert "annotator@example.com" in legend.all_inner_texts()
    disputed.get_by_role("button", name="Show coffee.jpg large").click()
    large = tab.get_by_role("dialog")
    large.locator("svg rect").first.wait_for()
    assert large.locator("svg rect:visible").count() == 2
    screenshot(tab, "large")
    large.get_by_label("dish").uncheck()
    assert large.locator("svg rect:visible").count() == 1
    large.get_by_label("annotator@example.com").uncheck()
    assert not large.locator("svg rect:visible").count()
    tab.keyboard.press("Escape")
    playwright.expect(large).to_be_hidden()
    tab.set_viewport_size({"width": 390, "height": 860})
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    screenshot(tab, "agreement_phone")


def test_the_text_of_a_file_has_the_spans_of_two_people(airflow: Airflow, runs: dict[str, str], tab: Any) -> None:
    open_run(tab, airflow, runs["letter"])
    both = tab.locator("#agreement mark")
    both.first.wait_for()
    assert both.all_inner_texts() == ["Ada", "Paris"]
    assert both.first.get_attribute("title").startswith("person (")
    assert "place (" in both.first.get_attribute("title")
    assert "<b>to</b>" in tab.locator("#agreement .text").inner_text()
    tab.locator("#items mark").first.wait_for()
    screenshot(tab, "letter")


def test_a_time_series_is_drawn_with_its_ranges(airflow: Airflow, runs: dict[str, str], tab: Any) -> None:
    open_run(tab, airflow, runs["series"])
    tab.locator(".series .curve").wait_for()
    plot, range_ = tab.locator(".series svg").bounding_box(), tab.locator(".series rect").bounding_box()
    assert (range_["x"] - plot["x"]) / plot["width"] == pytest.approx(10 / 99, abs=0.02)
    assert range_["width"] / plot["width"] == pytest.approx(10 / 99, abs=0.02)
    assert "current" in tab.locator(".series figcaption").inner_text()
    screenshot(tab, "series")


def test_a_pdf_is_a_download_that_no_browser_runs(airflow: Airflow, runs: dict[str, str]) -> None:
    query = {"conn_id": "label_studio_test", "project": runs["pdf"]}
    url, headers = f"{airflow.url}/annotation/api", airflow.login()
    (item,) = httpx.get(f"{url}/sample", params=query, headers=headers, timeout=120).json()["items"]
    answer = httpx.get(f"{url}/document", params=query | {"item": item["item_id"]}, headers=headers, timeout=120)
    assert answer.content.startswith(b"%PDF-")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    for path in ("text", "series", "image", "media"):
        refused = httpx.get(f"{url}/{path}", params=query | {"item": item["item_id"]}, headers=headers, timeout=120)
        assert (refused.status_code, path) == (502, path)
