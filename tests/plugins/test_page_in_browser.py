"""The page as people see it, in a browser, inside of Airflow's own page and without it."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from airflow_annotation.hooks.annotation import AnnotationProject
from devtools.airflow import Airflow
from tests.plugins.browser import screenshot

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.live_airflow

CONTRAST = """element => {
    const part = (c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
    const light = (colour) => {
        const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((text) => part(Number(text)));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ours = light(getComputedStyle(element).color);
    const page = light(getComputedStyle(document.body).backgroundColor);
    return (Math.max(ours, page) + 0.05) / (Math.min(ours, page) + 0.05);
}"""
"""WCAG's contrast of a text to the page, https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio: 4.5 is enough."""


def show_run(page: Any, run: AnnotationProject) -> None:
    """Wait until a run is listed: as people do, ask again while the page shows what it knew some seconds ago."""
    listed = page.locator("section", has_text="label_studio_test").get_by_role("link", name=run.run_key)
    deadline = time.monotonic() + 180
    while True:
        try:
            listed.wait_for(timeout=3000)
        except playwright.TimeoutError:  # noqa: PERF203 - what waits for seconds
            if time.monotonic() > deadline:
                raise
            page.get_by_role("button", name="Refresh").click()
        else:
            return


def test_the_page_in_the_navigation_leads_to_the_run_and_into_the_tool(
    airflow: Airflow, run: AnnotationProject, tab: Any
) -> None:
    tab.goto(f"{airflow.url}/plugin/annotation")
    frame = tab.frame_locator("iframe")
    show_run(frame, run)
    assert frame.locator("html").evaluate("html => html.classList.contains('dark')") == (tab.theme == "dark")
    assert frame.locator("td a").first.evaluate(CONTRAST) >= 4.5
    assert frame.locator("td.progress").first.evaluate(CONTRAST) >= 4.5
    screenshot(tab, "runs")
    frame.get_by_label("Find").fill("no run is called that")
    frame.get_by_text("No runs match this search.").first.wait_for()
    frame.get_by_label("Find").fill(run.run_key)
    row = frame.locator("tr", has_text=run.run_key).first
    assert "1 of 3 (33 %)" in row.inner_text()
    with tab.context.expect_page() as opened:
        row.get_by_role("link", name="Open project").click()
    assert f"/projects/{run.id}" in opened.value.url
    row.get_by_role("link", name=run.run_key).click()
    frame.get_by_role("heading", name=run.run_key).wait_for()
    frame.locator(".picture svg rect").first.wait_for()
    assert frame.get_by_text("<b>bold</b>").first.is_visible()
    screenshot(tab, "run")


def test_the_label_is_drawn_where_it_was_drawn(airflow: Airflow, run: AnnotationProject, tab: Any) -> None:
    tab.goto(f"{airflow.url}/annotation/run?conn_id=label_studio_test&project={run.id}")
    shape = tab.locator(".picture svg rect").first
    shape.wait_for()
    inner, picture = shape.bounding_box(), tab.locator(".picture img").first.bounding_box()
    assert (inner["x"] - picture["x"]) / picture["width"] == pytest.approx(0.1, abs=0.02)
    assert (inner["y"] - picture["y"]) / picture["height"] == pytest.approx(0.2, abs=0.02)
    assert inner["width"] / picture["width"] == pytest.approx(0.3, abs=0.02)
    assert re.search(r"1 of 3 \(33 %\)", tab.locator("#run").inner_text())


def test_a_connection_that_does_not_work_does_not_hide_the_others(
    airflow: Airflow, run: AnnotationProject, tab: Any
) -> None:
    name = f"broken_{tab.theme}"
    body = {"connection_id": name, "conn_type": "label_studio", "host": "http://127.0.0.1:9", "password": "secret-key"}
    airflow.client.post("/connections", json=body).raise_for_status()
    try:
        tab.goto(f"{airflow.url}/annotation/")
        tab.locator("section", has_text=name).get_by_role("alert").wait_for()
        assert "127.0.0.1:9" in tab.locator("section", has_text=name).inner_text()
        show_run(tab, run)
        screenshot(tab, "broken")
    finally:
        airflow.client.delete(f"/connections/{name}")
