"""A browser for tests to look with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from devtools.airflow import Airflow

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]


@contextmanager
def running_browser() -> Iterator[Any]:
    """Start the browser that is there, or skip the test."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"There is no browser: install one of {', '.join(BROWSERS)}.")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=OPTIONS)
        yield browser
        browser.close()


@contextmanager
def logged_in_tab(browser: Any, airflow: Airflow, theme: str) -> Iterator[Any]:
    """Open a tab of somebody who is logged in; nothing may go wrong in its scripts."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    token = airflow.login()["Authorization"].removeprefix("Bearer ")
    context.add_cookies([{"name": "_token", "value": token, "url": airflow.url}])
    context.add_init_script(f"localStorage.setItem('theme', '{theme}')")
    tab = context.new_page()
    tab.set_default_timeout(180_000)
    wrong: list[str] = []
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.theme = theme
    yield tab
    context.close()
    assert not wrong, wrong


def screenshot(tab: Any, name: str) -> None:
    """Keep a picture for whoever wants to look: in the folder that ``SCREENSHOTS`` names."""
    if folder := os.environ.get("SCREENSHOTS"):
        tab.screenshot(path=Path(folder) / f"{name}_{tab.theme}.png")
