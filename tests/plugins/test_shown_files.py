"""What the page reads of files that no browser shows: the beginning of texts and time series, and documents."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from airflow_annotation.exceptions import MediaError
from airflow_annotation.hooks.label_studio.hook import LabelStudioHook
from airflow_annotation.plugins.page.shown_files import Series, read_document, read_series, read_texts
from airflow_annotation.plugins.page.shown_media import MediaPart, read_image
from tests.support.connections import airflow_connection

KEY = {"Authorization": "Token secret"}
MOST_SHOWN = 5_000


class Tool:
    """A tool's server that holds one file."""

    def __init__(self) -> None:
        self.content = b""
        self.sent = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").partition("-")[0])
                part = outer.content[start:]
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(outer.content) - 1}/{len(outer.content)}")
                self.send_header("Content-Length", str(len(part)))
                self.end_headers()
                with suppress(ConnectionError):  # who has enough goes away
                    for place in range(0, len(part), 1 << 16):
                        outer.sent += self.wfile.write(part[place : place + (1 << 16)])

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def tool() -> Iterator[Tool]:
    tool = Tool()
    with airflow_connection("shown_files", {"conn_type": "label_studio", "host": tool.url, "password": "secret"}):
        yield tool
    tool.server.shutdown()


def read(tool: Tool, content: bytes | str, how: Any, *more: Any) -> Any:
    tool.content = content.encode() if isinstance(content, str) else content
    tool.sent = 0
    return how(LabelStudioHook("shown_files"), (f"{tool.url}/data/file", KEY), *more)


def text_of(tool: Tool, content: bytes | str, media_type: str = "text") -> str:
    (shown,) = read(tool, content, read_texts, media_type)
    return str(shown.text)


def series_of(tool: Tool, content: bytes | str) -> Series:
    series: Series = read(tool, content, read_series)
    return series


def test_a_text_is_read_as_browsers_count_it(tool: Tool) -> None:
    assert text_of(tool, "\ufeff😀 <b>one</b>\r\ntwo\n") == "😀 <b>one</b>\ntwo\n"


def test_of_a_long_text_the_beginning_is_read(tool: Tool) -> None:
    assert text_of(tool, "😀" * 6_000_000) == "😀" * MOST_SHOWN + "…"
    assert tool.sent < 12 << 20
    # The cut goes through a character, which is no reason to refuse the text.
    assert text_of(tool, "a" + "😀" * 1_000_000)[:2] == "a😀"


def test_what_is_no_text_is_refused(tool: Tool) -> None:
    for content in (b"\xff\xfe", b"a\0b", b"%PDF-1.4"):
        with pytest.raises(MediaError, match="not a text"):
            text_of(tool, content)


def test_of_html_the_text_between_the_tags_is_read(tool: Tool) -> None:
    assert text_of(tool, "<p>It <b>rains</b>.</p><script>alert(1)</script>", "html") == "It rains."


def test_a_conversation_has_a_line_for_each_message(tool: Tool) -> None:
    assert text_of(tool, '[{"role": "user", "content": "Hi"}, {"role": "bot", "content": "Ho"}]', "conversation") == (
        "user: Hi\nbot: Ho"
    )
    with pytest.raises(MediaError, match="not JSON"):
        text_of(tool, "Hi", "conversation")


def test_a_time_series_is_read_by_its_names(tool: Tool) -> None:
    series = series_of(tool, "note;current;seconds\na;1.5;0\nb;;1\nc;2.5;2\nd;-1;3\n")
    assert (series.start, series.end, series.is_clock, series.is_cut) == (0, 3, False, False)
    (channel,) = series.channels
    assert (channel.name, channel.low, channel.high) == ("current", -1, 2.5)
    assert channel.lines == [[(0, 1.5)], [(2, 2.5), (3, -1)]]


def test_times_may_be_dates_and_rows_may_have_none(tool: Tool) -> None:
    series = series_of(tool, "date,heat\n2026-01-01 00:00:00,1\n2026-01-01 00:01:00,2\n")
    assert (series.is_clock, series.end - series.start) == (True, 60)
    assert series.start == datetime(2026, 1, 1, tzinfo=timezone.utc).timestamp()
    series = series_of(tool, "heat,load\n5,1\n3,2\n4,3\n")
    assert (series.start, series.end) == (0, 2)
    assert [channel.name for channel in series.channels] == ["heat", "load"]
    assert series_of(tool, "0,5\n1,6\n").channels[0].lines == [[(0, 5), (1, 6)]]


def test_of_a_long_time_series_whole_rows_of_the_beginning_are_read(tool: Tool) -> None:
    rows = "".join(f"{n},{n % 7}\n" for n in range(2_000_000))
    series = series_of(tool, f"time,value\n{rows}")
    assert series.is_cut
    assert 100_000 < series.end < 2_000_000
    assert series.end == int(series.end)
    assert tool.sent < 12 << 20
    assert sum(len(line) for line in series.channels[0].lines) <= 800


@settings(max_examples=25)
@given(values=st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=2_000), spike=st.data())
def test_of_many_values_none_that_stands_out_is_left_out(tool: Tool, values: list[float], spike: Any) -> None:
    place = spike.draw(st.integers(0, len(values) - 1))
    values[place] = 2e9
    series = series_of(tool, "time,value\n" + "".join(f"{n},{value!r}\n" for n, value in enumerate(values)))
    points = [point for line in series.channels[0].lines for point in line]
    assert (place, 2e9) in points
    assert min(value for _, value in points) == pytest.approx(min(values))
    assert [time for time, _ in points] == sorted({time for time, _ in points})


@pytest.mark.parametrize("content", ["", "name\n", "name,other\na,b\n", '"', b"%PDF-1.4\xff", "time\n1\n2\n"])
def test_what_is_no_time_series_is_refused(tool: Tool, content: bytes | str) -> None:
    with pytest.raises(MediaError):
        series_of(tool, content)


def test_a_document_is_given_only_if_it_is_one(tool: Tool) -> None:
    part = read(tool, b"%PDF-1.4\n%%EOF", read_document)
    assert (part.content, part.media_type) == (b"%PDF-1.4\n%%EOF", "application/pdf")
    for content in (b"<html><script>alert(1)</script>", b"%PDF-" + bytes(26 << 20)):
        with pytest.raises(MediaError):
            read(tool, content, read_document)


def image(tool: Tool, made: Image.Image, format_: str, **settings: Any) -> tuple[MediaPart, bytes]:
    written = io.BytesIO()
    made.save(written, format_, **settings)
    tool.content = written.getvalue()
    place = (f"{tool.url}/data/file", KEY)
    return read_image(LabelStudioHook("shown_files"), place, is_small=True), tool.content


def test_a_large_photo_is_made_small_and_stands_as_its_camera_says(tool: Tool) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # its top is at the right
    part, _ = image(tool, Image.new("RGB", (2000, 1000), "red"), "JPEG", exif=turned)
    with Image.open(io.BytesIO(part.content)) as small:
        assert (small.size, small.format, part.media_type) == ((320, 640), "JPEG", "image/jpeg")
        assert not small.getexif()


def test_small_images_and_what_a_photo_has_not_are_given_as_they_are(tool: Tool) -> None:
    for made, format_ in (
        (Image.new("RGB", (640, 10)), "JPEG"),
        (Image.new("RGBA", (900, 900), (0, 0, 0, 0)), "PNG"),
        (Image.new("I;16", (900, 900)), "PNG"),
    ):
        part, content = image(tool, made, format_)
        assert part.content == content
        assert part.media_type == f"image/{format_.lower()}"
