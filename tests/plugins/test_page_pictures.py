"""Pictures of each view of the page, light and dark, at the width of a desk and of a phone.

No Airflow and no tool runs: the app gives its files, and its API's answers are those of ``page_views``. A picture has
to show what it should: the color of the theme, the labels where they were drawn. What it shows is legible and in the
window, and nothing lies over anything else. With ``SCREENSHOTS=folder`` the pictures are kept.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from airflow.api_fastapi.core_api.security import get_user
from fastapi.testclient import TestClient
from PIL import Image

from airflow_annotation.plugins.page.app import app
from tests.plugins.browser import running_browser
from tests.plugins.page_views import BOX, CLASSES, SITE, VIEWS, answer, view_url

playwright = pytest.importorskip("playwright.sync_api")

WIDTHS: Final = {"desk": 1280, "phone": 390}
PAPER: Final = {"light": (255, 255, 255), "dark": (15, 20, 27)}
"""The color of the page."""
FIRST_COLOR: Final = (0xE4, 0x57, 0x2E)
"""The color of the first class."""
LOADING: Final = re.compile("Asking the|Reading |Looking for")
LOOKS: Final = Path(__file__).with_name("looks.js").read_text()

File = tuple[dict[str, str], bytes]


@pytest.fixture(scope="module")
def files() -> Callable[[str], File]:
    """What the app gives somebody who is logged in, by path."""
    client = TestClient(app)
    kept: dict[str, File] = {}

    def get(path: str) -> File:
        if path not in kept:
            app.dependency_overrides[get_user] = object
            try:
                answer = client.get(path).raise_for_status()
            finally:
                del app.dependency_overrides[get_user]
            kept[path] = (dict(answer.headers), answer.content)
        return kept[path]

    return get


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with running_browser() as browser:
        yield browser


def open_view(browser: Any, files: Callable[[str], File], view: str, theme: str) -> Any:
    """Open a view in a tab of its own, and wait until all of it is there."""
    tab = browser.new_context(viewport={"width": WIDTHS["desk"], "height": 900}, color_scheme=theme).new_page()
    tab.set_default_timeout(60_000)
    tab.wrong = []
    tab.on("pageerror", lambda error: tab.wrong.append(str(error)))
    tab.on("console", lambda said: tab.wrong.append(said.text) if "Content Security" in said.text else None)

    def serve(route: Any) -> None:
        path = urlsplit(route.request.url).path.removeprefix("/annotation")
        if path.startswith("/api/"):
            status, body = answer(view, route.request.url)
            route.fulfill(status=status, body=body)
        else:
            headers, body = files(path)
            route.fulfill(headers=headers, body=body)

    tab.route(f"{SITE}/**", serve)
    tab.goto(view_url(view))
    playwright.expect(tab.locator("main")).not_to_contain_text(LOADING, timeout=60_000)
    if view == "large":
        tab.get_by_role("button", name="Show boxes.jpg large").click()
        tab.get_by_role("dialog").locator("svg rect").first.wait_for()
    return tab


def take_picture(tab: Any, name: str) -> Image.Image:
    """Take a picture of all of a page, whose lazy images have come."""
    tab.evaluate("document.querySelectorAll('img').forEach((image) => { image.loading = 'eager'; })")
    playwright.expect(tab.locator("[aria-busy]")).to_have_count(0, timeout=60_000)
    # A dialog stays in the middle of the window, however long the page below it is.
    is_dialog = tab.get_by_role("dialog").is_visible()
    picture = tab.screenshot(full_page=not is_dialog, animations="disabled")
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder, f"{name}.png").write_bytes(picture)
    return Image.open(io.BytesIO(picture)).convert("RGB")


def is_near(one: Any, other: tuple[int, int, int], by: int = 40) -> bool:
    return all(abs(int(first) - second) <= by for first, second in zip(one, other, strict=True))


@pytest.mark.parametrize("theme", PAPER)
@pytest.mark.parametrize("view", VIEWS)
def test_a_view_looks_as_it_should(browser: Any, files: Callable[[str], File], view: str, theme: str) -> None:
    tab, found = open_view(browser, files, view, theme), []
    try:
        for size, width in WIDTHS.items():
            tab.set_viewport_size({"width": width, "height": 900})
            picture = take_picture(tab, f"{view.replace(' ', '_')}_{size}_{theme}")
            assert picture.width == width
            if view != "large":  # whose backdrop shades the page
                assert is_near(picture.getpixel((2, 2)), PAPER[theme], 1)
            assert len(picture.getcolors(1 << 24) or ()) > 20
            assert tab.evaluate("document.documentElement.scrollWidth") == width
            found += [f"{size}: {wrong}" for wrong in tab.evaluate(LOOKS)]
            if view in {"photos", "large"}:
                assert_box_is_painted(tab, picture, view)
        found += tab.wrong
        assert not found, "\n".join(found)
    finally:
        tab.context.close()


def assert_box_is_painted(tab: Any, picture: Image.Image, view: str) -> None:
    """Look in the picture for the box of the first photo, where it was drawn."""
    within = tab.get_by_role("dialog") if view == "large" else tab.locator("#items li").first
    scrolled = 0 if view == "large" else tab.evaluate("window.scrollY")
    place = within.locator(".picture img").bounding_box()
    left, top = place["x"] + BOX[0] * place["width"], place["y"] + scrolled + BOX[1] * place["height"]
    middle = top + BOX[3] * place["height"] / 2
    edge = [picture.getpixel((round(left) + by, round(middle))) for by in range(-2, 3)]
    assert any(is_near(pixel, FIRST_COLOR) for pixel in edge), (CLASSES[0], edge)
    outside: Any = picture.getpixel((round(left) - 12, round(middle)))
    assert max(outside) - min(outside) < 12, outside  # gray, as the photo is
