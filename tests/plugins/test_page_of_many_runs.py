"""The list of runs in a browser, of more runs than a page shows: sorted, paged, searched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from devtools.airflow import Airflow
from tests.plugins.browser import screenshot

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.live_airflow


def run(number: int) -> dict[str, Any]:
    """Return a run as the page's API has it: one a day from 1 January, of three DAGs."""
    total, completed = 100, number % 101
    day = f"2026-{1 + number // 28:02d}-{1 + number % 28:02d}"
    return {
        "project_id": str(number),
        "tool": "label_studio",
        "title": f"Night {number} <i>",
        "url": f"https://tool.example/projects/{number}",
        "run_key": f"nightly_{number % 3}/scheduled__{day}T00:00:00+00:00",
        "created_at": f"{day}T12:00:00Z",
        "state": "finished" if completed == total else "labeling",
        "total": total,
        "completed": completed,
        "skipped": 0,
        "annotations": completed,
        "statuses": {},
        "left": total - completed,
        "in_review": None,
        "dag_run": None,
    }


@pytest.fixture
def listed(tab: Any, airflow: Airflow) -> Iterator[Any]:
    """The page, whose API lists one connection of 101 runs."""
    answers: dict[str, Any] = {
        "connections": {"connections": [{"conn_id": "tool", "tool": "label_studio"}]},
        "runs": {"runs": [run(number) for number in range(101)]},
    }

    def answer(route: Any) -> None:
        url = urlsplit(route.request.url)
        found = answers[url.path.rpartition("/")[2]]
        if "others=true" in url.query:
            found = {"runs": [*found["runs"], run(200) | {"run_key": None, "title": "By hand"}]}
        route.fulfill(body=json.dumps(found))

    tab.route("**/annotation/api/*", answer)
    tab.goto(f"{airflow.url}/annotation/")
    tab.locator("tbody tr").first.wait_for()
    yield tab
    assert not tab.locator("tbody i").count()


def titles(tab: Any) -> list[int]:
    return [int(text.split()[1]) for text in tab.locator("tbody .key").all_inner_texts()]


def test_runs_are_sorted_and_paged(listed: Any) -> None:
    assert titles(listed) == list(range(100, 75, -1))
    listed.get_by_role("button", name="Next page").click()
    assert titles(listed) == list(range(75, 50, -1))
    assert listed.get_by_text("26\N{EN DASH}50 of 101").is_visible()
    listed.get_by_role("button", name="Left").click()
    assert titles(listed)[0] == 0
    assert listed.get_by_role("columnheader", name="Left").get_attribute("aria-sort") == "descending"
    listed.get_by_role("button", name="Left").press("Enter")
    assert titles(listed)[:2] == [100, 99]
    assert listed.get_by_role("columnheader", name="Left").get_attribute("aria-sort") == "ascending"


def test_runs_are_found_by_words_dag_state_and_day(listed: Any) -> None:
    listed.locator("#dag").select_option("nightly_1")
    assert titles(listed) == list(range(100, 25, -3))
    listed.get_by_label("From").fill("2026-02-10")
    listed.get_by_label("To").fill("2026-02-16")
    assert titles(listed) == [43, 40, 37]
    listed.get_by_label("Find").fill("night 2026-02-13")
    assert titles(listed) == [40]
    listed.get_by_label("State").select_option("finished")
    listed.get_by_text("No runs match this search.").wait_for()


def test_projects_that_no_dag_made_are_shown_on_request(listed: Any) -> None:
    assert not listed.get_by_text("By hand").count()
    listed.get_by_label("Projects that no DAG made").check()
    listed.get_by_label("Find").fill("by hand")
    listed.get_by_role("link", name="By hand").wait_for()
    listed.get_by_label("Projects that no DAG made").uncheck()
    listed.get_by_text("No runs match this search.").wait_for()


def test_progress_is_read_out_and_all_fits_on_a_phone(listed: Any) -> None:
    bar = listed.get_by_role("progressbar", name="Progress of nightly_1 · scheduled 2026-04-17 00:00")
    assert bar.get_attribute("aria-valuenow") == "100"
    assert bar.get_attribute("aria-valuetext") == "100 of 100 (100 %)"
    listed.set_viewport_size({"width": 390, "height": 860})
    assert listed.evaluate("document.documentElement.scrollWidth") == 390
    screenshot(listed, "runs_phone")
