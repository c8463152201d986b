from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.media.storage import IN_MEMORY_BYTES, MediaTooLargeError, open_media


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("size", [1, IN_MEMORY_BYTES, IN_MEMORY_BYTES + 1, 3 * IN_MEMORY_BYTES])
def test_a_file_is_the_same_from_wherever_it_is_read(tmp_path: Path, web: str, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    content = content[:size]
    (tmp_path / "a b.bin").write_bytes(content)
    filesystem = MemoryFileSystem()
    attach("memory", fs=filesystem)
    filesystem.pipe_file("/storage-bucket/a b.bin", content)
    for uri in (
        str(tmp_path / "a b.bin"),
        f"file://{tmp_path}/a b.bin",
        f"{web}/a b.bin",
        "memory://storage-bucket/a b.bin",
    ):
        with open_media(uri) as file:
            assert file.tell() == 0
            assert file.read() == content
            assert isinstance(file, io.BytesIO) == (size <= IN_MEMORY_BYTES)


def test_a_file_that_cannot_be_read_is_named_without_what_may_be_secret(tmp_path: Path, web: str) -> None:
    attach("memory", fs=MemoryFileSystem())
    (tmp_path / "empty.jpg").touch()
    for uri, message in {
        f"{tmp_path}/none.jpg": f"{tmp_path}/none.jpg does not exist.",
        f"{tmp_path}/empty.jpg": f"{tmp_path}/empty.jpg is empty.",
        f"{tmp_path}": f"{tmp_path} is a folder, not a file.",
        "memory://storage-bucket/none.jpg": "memory://storage-bucket/none.jpg does not exist.",
        f"{web}/empty.jpg?signature=secret": f"{web}/empty.jpg is empty.",
        f"{web}/none.jpg?signature=secret": f"{web}/none.jpg cannot be read: its server answered 404 File not found.",
    }.items():
        with pytest.raises(MediaError) as raised:
            open_media(uri)
        assert str(raised.value) == message


def test_a_scheme_that_nothing_installed_knows_names_what_to_install() -> None:
    with pytest.raises(AnnotationError, match="install apache-airflow-providers-microsoft-azure") as raised:
        open_media("abfs://my_conn@box/a.jpg")
    assert not isinstance(raised.value, MediaError)
    assert "my_conn" not in str(raised.value)


@pytest.mark.parametrize("length", [5 << 30, None])
def test_no_more_of_a_too_large_file_is_fetched_than_tells_that_it_is(length: int | None) -> None:
    sent: list[int] = []
    is_done = threading.Event()

    class Endless(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            with suppress(OSError):  # the client closes the connection
                while sum(sent) < 200 * IN_MEMORY_BYTES:
                    sent.append(self.wfile.write(bytes(IN_MEMORY_BYTES)))
            is_done.set()

    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(MediaTooLargeError, match="5,120 MiB" if length else "3 MiB or more") as raised:
            open_media(f"http://127.0.0.1:{server.server_port}/video.mp4", limit=3 * IN_MEMORY_BYTES)
        assert is_done.wait(10)
        server.shutdown()
    assert raised.value.size == length
    assert sum(sent) < 50 * IN_MEMORY_BYTES  # what the network's buffers hold, too


def test_a_file_whose_store_says_that_it_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    filesystem = MemoryFileSystem()
    attach("memory", fs=filesystem)
    filesystem.pipe_file("/storage-bucket/large.mp4", bytes(3 * IN_MEMORY_BYTES))
    filesystem.pipe_file("/storage-bucket/small.mp4", bytes(3 * IN_MEMORY_BYTES - 1))
    open_media("memory://storage-bucket/small.mp4", limit=3 * IN_MEMORY_BYTES).close()
    monkeypatch.setattr(MemoryFile, "read", lambda *_: pytest.fail("it was read"))
    with pytest.raises(MediaTooLargeError, match=r"memory://storage-bucket/large\.mp4 has 3 MiB"):
        open_media("memory://storage-bucket/large.mp4", limit=3 * IN_MEMORY_BYTES)
