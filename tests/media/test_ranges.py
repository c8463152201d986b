from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.media.probe import probe_media
from airflow_annotation.media.ranges import open_media_in_place
from airflow_annotation.media.selections import Listed
from airflow_annotation.media.video import open_video
from tests.support.videos import make_video, number_of

CONTENT = bytes(range(256)) * 8000


class MediaServer:
    """Serves one file, with ranges and failures as told.

    :param breaks_after: bytes of an answer after which the connection breaks, once each time it is set
    """

    def __init__(self) -> None:
        self.content = CONTENT
        self.has_ranges = True
        self.breaks_after: int | None = None
        self.redirect: str | None = None
        self.signature: str | None = None
        self.requests: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/video.mp4"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.requests.append({name.lower(): value for name, value in request.headers.items()})
        if self.redirect:
            request.send_response(302)
            request.send_header("Location", self.redirect)
            request.end_headers()
            return
        if self.signature and f"signature={self.signature}" not in request.path:
            request.send_error(403)
            return
        start = int(request.headers["Range"].removeprefix("bytes=").rstrip("-")) if self.has_ranges else 0
        if start >= len(self.content) and self.has_ranges:
            request.send_error(416)
            return
        content = self.content[start:]
        request.send_response(206 if self.has_ranges else 200)
        if self.has_ranges:
            request.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if self.breaks_after is not None:
            content, self.breaks_after = content[: self.breaks_after], None
        try:
            for place in range(0, len(content), 1 << 16):
                request.wfile.write(content[place : place + (1 << 16)])
        except (BrokenPipeError, ConnectionResetError):
            pass


@pytest.fixture
def server() -> Iterator[MediaServer]:
    server = MediaServer()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture(scope="module")
def shared_server() -> Iterator[MediaServer]:
    server = MediaServer()
    yield server
    server.server.shutdown()
    server.server.server_close()


@given(st.lists(st.tuples(st.integers(0, len(CONTENT)), st.integers(0, 300_000)), max_size=6))
def test_any_part_of_a_web_file_is_what_a_local_file_has(
    shared_server: MediaServer, parts: list[tuple[int, int]]
) -> None:
    local = io.BytesIO(CONTENT)
    with open_media_in_place(shared_server.url) as file:
        assert file.seekable()
        for place, size in parts:
            assert file.seek(place) == local.seek(place)
            got = b""
            while part := file.read(size - len(got)):  # a part at a time, as it arrives
                got += part
            assert got == local.read(size)


def test_reading_on_is_one_request_and_a_jump_another(server: MediaServer) -> None:
    with open_media_in_place(server.url) as file:
        while file.read(100_000):
            pass
        assert len(server.requests) == 1
        file.seek(1000)
        file.read(10)
        file.seek(50_000)
        assert file.read(2) == CONTENT[50_000:50_002]
        assert [request["range"] for request in server.requests] == ["bytes=0-", "bytes=1000-"]


def test_a_connection_that_breaks_is_taken_up_where_it_broke(server: MediaServer) -> None:
    server.breaks_after = 700_000
    with open_media_in_place(server.url) as file:
        assert b"".join(iter(lambda: file.read(300_000), b"")) == CONTENT
    first, second = (request["range"] for request in server.requests)
    assert first == "bytes=0-"
    assert second in {f"bytes={place}-" for place in range(600_000, 700_001)}


def test_a_server_without_ranges_sends_the_whole_file_once(server: MediaServer) -> None:
    server.has_ranges = False
    with open_media_in_place(server.url) as file:
        for place in (1_000_000, 10, 2_000_000):
            file.seek(place)
            assert file.read(10) == CONTENT[place : place + 10]
    assert len(server.requests) == 1


def test_headers_go_to_the_host_and_not_to_where_it_redirects(server: MediaServer) -> None:
    elsewhere = MediaServer()
    server.redirect = elsewhere.url
    headers = {"X-Token": "secret", "Authorization": "Bearer secret"}
    with open_media_in_place(server.url, headers=headers) as file:
        assert file.read(4) == CONTENT[:4]
    assert server.requests[0]["x-token"] == "secret"
    assert "secret" not in str(elsewhere.requests)
    elsewhere.server.shutdown()
    elsewhere.server.server_close()


def test_a_url_is_signed_again_when_its_signature_has_expired(server: MediaServer) -> None:
    signatures = iter(["one", "two"])
    server.signature = "one"

    def sign(uri: str) -> tuple[str, dict[str, str]]:
        assert uri == "gs://bucket/video.mp4"
        return f"{server.url}?signature={next(signatures)}", {"X-Account": "a"}

    with open_media_in_place("gs://bucket/video.mp4", url_signer=sign) as file:
        assert file.read(4) == CONTENT[:4]
        server.signature = "two"
        file.seek(1_500_000)
        assert file.read(4) == CONTENT[1_500_000:1_500_004]
    assert [request.get("x-account") for request in server.requests] == ["a"] * 3


def sign_nothing(uri: str) -> tuple[str, dict[str, str]]:
    return f"{uri}?signature=x", {}


def test_a_signer_is_found_by_its_dotted_path(server: MediaServer) -> None:
    server.signature = "x"
    with open_media_in_place(server.url, url_signer=f"{__name__}.sign_nothing") as file:
        assert file.read(4) == CONTENT[:4]
    with pytest.raises(AnnotationError, match=r"no function 'tests\.nothing\.sign'"):
        open_media_in_place(server.url, url_signer="tests.nothing.sign")


def test_a_file_that_cannot_be_read_is_named_without_what_may_be_secret(server: MediaServer, tmp_path: Path) -> None:
    attach("memory", fs=MemoryFileSystem())
    server.signature = "right"
    (tmp_path / "empty.mp4").touch()
    for uri, message in {
        f"{server.url}?signature=wrong": f"{server.url} cannot be read: its server answered 403 Forbidden.",
        f"{tmp_path}/none.mp4": f"{tmp_path}/none.mp4 does not exist.",
        f"{tmp_path}/empty.mp4": f"{tmp_path}/empty.mp4 is empty.",
        f"{tmp_path}": f"{tmp_path} is a folder, not a file.",
        "memory://a-bucket/none.mp4": "memory://a-bucket/none.mp4 does not exist.",
    }.items():
        with pytest.raises(MediaError) as raised:
            open_media_in_place(uri)
        assert str(raised.value) == message
    server.signature, server.content = None, b""
    with pytest.raises(MediaError, match="is empty"):
        open_media_in_place(server.url)


def test_a_file_that_changes_while_it_is_read_is_an_error(server: MediaServer) -> None:
    with open_media_in_place(server.url) as file:
        server.content = CONTENT[:-1]
        file.seek(1_500_000)
        with pytest.raises(MediaError, match="was changed while it was read"):
            file.read(1)


def test_a_large_remote_video_is_probed_and_entered_without_fetching_it(server: MediaServer) -> None:
    server.content = make_video(
        200,
        size=(320, 180),
        noisy=True,
        codec_options={"g": "20", "qp": "1", "preset": "ultrafast", "sc_threshold": "0"},
        container_options={"movflags": "faststart"},
    )
    assert len(server.content) > 8 << 20
    fetched = 0

    class CountingFile(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal fetched
            data = super().read(size)
            fetched += len(data)
            return data

    probe = probe_media(CountingFile(server.content), "video.mp4", "video")
    assert (probe.width, probe.height, probe.frame_count, probe.frame_rate) == (320, 180, 200, 30.0)
    assert probe.duration == pytest.approx(200 / 30)
    assert fetched < len(server.content) / 4

    fetched = 0
    with open_video(CountingFile(server.content), "video.mp4") as reader:
        (frame,) = reader.read_frames(Listed([190]))
    assert number_of(frame.picture) == 190
    assert fetched < len(server.content) / 2

    with open_media_in_place(server.url) as file, open_video(file, "video.mp4") as reader:
        (frame,) = reader.read_frames(Listed([190]))
    assert number_of(frame.picture) == 190
    assert [request["range"] == "bytes=0-" for request in server.requests] == [True, False]
