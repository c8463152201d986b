"""Media that items name are read where that is allowed, and nowhere else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.media import access
from airflow_annotation.media.access import AllowedMedia, check_roots, is_public
from tests.servers.proxy import proxy_server

SECRET = b"fernet_key = secret"


class Served:
    def __init__(self) -> None:
        self.url = ""
        self.location: str | None = None
        self.seen: list[str] = []


@contextmanager
def web_server() -> Iterator[Served]:
    served = Served()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.seen.append(f"{self.headers['Host']} {self.path}")
            if served.location and self.path == "/redirect":
                self.send_response(302)
                self.send_header("Location", served.location)
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(SECRET)))
            self.end_headers()
            self.wfile.write(SECRET)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield served
        server.shutdown()
        thread.join()


@pytest.fixture
def web() -> Iterator[Served]:
    with web_server() as served:
        yield served


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    file = tmp_path / "photos" / "cat.jpg"
    file.write_bytes(SECRET)
    (tmp_path / "airflow.cfg").write_bytes(SECRET)
    return file


def read(allowed: AllowedMedia, uri: str, **kwargs: Any) -> bytes:
    with allowed.open(uri, **kwargs) as file:
        return file.read()


@pytest.mark.parametrize("form", ["{path}", "file://{path}", "FILE://{path}"])
def test_local_files_are_not_read(photo: Path, form: str) -> None:
    with pytest.raises(MediaError, match=r"named by an item of the labeling tool.*media_roots"):
        read(AllowedMedia(), form.format(path=photo))


@pytest.mark.parametrize(
    "uri", ["s3://prod_secrets@private/key.bin", "gs://private/key.bin", "memory://private/key.bin", "ftp://host/x"]
)
def test_stores_are_not_asked(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "open_media_in_place", pytest.fail)
    with pytest.raises(MediaError, match="media_roots"):
        read(AllowedMedia(["s3://other/", "/tmp"]), uri)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]"]
)
def test_this_machine_is_not_asked_however_it_is_spelled(web: Served, host: str) -> None:
    port = web.url.rpartition(":")[2]
    with pytest.raises(MediaError):
        read(AllowedMedia(), f"http://{host}:{port}/latest/meta-data")
    assert web.seen == []


@pytest.mark.parametrize(
    "address",
    [
        *("10.0.0.1", "169.254.169.254", "192.168.1.1", "172.16.0.1", "100.64.0.1", "224.0.0.1", "240.0.0.1"),
        *("fd00::1", "fe80::1%eth0", "::", "::ffff:10.0.0.1", "2002:0a00:0001::", "64:ff9b::a00:1", "192.0.2.1"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


def test_addresses_that_are_public() -> None:
    assert all(map(is_public, ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]))


@given(st.ip_addresses())
def test_every_address_is_public_or_not(address: Any) -> None:
    assert is_public(str(address)) in {True, False}


def resolve_as(monkeypatch: pytest.MonkeyPatch, answers: Callable[[], str]) -> None:
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        host = host.decode() if isinstance(host, bytes) else host
        return real(answers() if host == "photos.test" else host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def test_a_name_of_a_private_address_is_not_asked(web: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_as(monkeypatch, lambda: "127.0.0.1")
    with pytest.raises(MediaError, match=r"photos\.test.*private network"):
        read(AllowedMedia(), f"http://photos.test:{web.url.rpartition(':')[2]}/x")
    assert web.seen == []


def test_a_name_that_is_answered_twice_is_asked_for_once(web: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["8.8.8.8", "127.0.0.1", "127.0.0.1"])
    asked = []

    def answer() -> str:
        asked.append(next(answers))
        return asked[-1]

    resolve_as(monkeypatch, answer)
    connected = []
    real = access._PublicNetwork()._network.connect_tcp

    def connect(self: Any, host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        connected.append(host)
        return real("127.0.0.1", port, *args, **kwargs)  # nothing leaves this machine

    monkeypatch.setattr("httpcore.SyncBackend.connect_tcp", connect)
    port = web.url.rpartition(":")[2]
    assert read(AllowedMedia(), f"http://photos.test:{port}/x") == SECRET
    assert connected == ["8.8.8.8"]
    assert asked == ["8.8.8.8"]
    assert web.seen == [f"photos.test:{port} /x"]


def test_a_redirect_leads_to_no_private_host(web: Served) -> None:
    with web_server() as inner:
        web.location = f"{inner.url}/latest/meta-data"
        allowed = AllowedMedia([web.url])
        assert read(allowed, f"{web.url}/cat.jpg") == SECRET
        with pytest.raises(MediaError, match="private network"):
            read(allowed, f"{web.url}/redirect")
        assert inner.seen == []
        assert read(AllowedMedia([web.url, inner.url]), f"{web.url}/redirect") == SECRET


def test_the_tool_itself_is_asked_and_its_redirects_are_checked(web: Served) -> None:
    with web_server() as inner:
        web.location = inner.url
        own = AllowedMedia(
            request=lambda uri: (uri, {"Authorization": "x"} if uri.startswith(web.url) else {}),
            is_own=lambda url: url.startswith(web.url),
        )
        assert read(own, f"{web.url}/data/upload/1/cat.jpg") == SECRET
        with pytest.raises(MediaError, match="private network"):
            read(own, f"{web.url}/redirect")
        assert inner.seen == []


def test_what_is_not_allowed_is_read_from_the_tools_own_copy(web: Served, photo: Path) -> None:
    allowed = AllowedMedia(is_own=lambda url: url.startswith(web.url))
    headers = {"Authorization": "Token x"}
    assert read(allowed, str(photo), own_copy=lambda: (f"{web.url}/data/cat.jpg", headers)) == SECRET
    assert [path for path in web.seen if "/data/cat.jpg" in path]
    with pytest.raises(MediaError, match="media_roots"):
        read(allowed, str(photo), own_copy=lambda: None)
    with pytest.raises(MediaError, match="media_roots"):
        read(allowed, str(photo), own_copy=lambda: (f"file://{photo}", {}))


@pytest.mark.parametrize("root", ["{folder}", "{folder}/", "file://{folder}"])
def test_a_root_allows_what_is_below_it_and_nothing_else(photo: Path, root: str) -> None:
    allowed = AllowedMedia([root.format(folder=photo.parent)])
    assert read(allowed, str(photo)) == SECRET
    assert read(allowed, f"file://{photo}") == SECRET
    secret = photo.parent.parent / "airflow.cfg"
    (photo.parent / "link.jpg").symlink_to(secret)
    (photo.parent.parent / "photos_of_others").mkdir()
    for path in (
        secret,
        f"{photo.parent}/../airflow.cfg",
        f"{photo.parent}/link.jpg",
        f"{photo.parent}_of_others/cat.jpg",
        f"{photo.parent}/%2e%2e/airflow.cfg",
    ):
        with pytest.raises(MediaError):
            read(allowed, str(path))


def test_a_root_reads_with_its_own_connection() -> None:
    filesystem = MemoryFileSystem()
    attach("memory", fs=filesystem)
    filesystem.pipe_file("/photos/cat.jpg", SECRET)
    try:
        allowed = AllowedMedia(["memory://photos/"])
        assert read(allowed, "memory://photos/cat.jpg") == SECRET
        for uri in (
            "memory://photos/../photos/cat.jpg",
            "memory://other@photos/cat.jpg",
            "memory://photos2/cat.jpg",
            "memory://photos/a?/../../cat.jpg",
        ):
            with pytest.raises(MediaError, match="media_roots"):
                read(allowed, uri)
    finally:
        filesystem.rm("/photos", recursive=True)
    assert AllowedMedia(["s3://conn@bucket/a/"]).find("s3://bucket/a/b#1.jpg") == "s3://conn@bucket/a/b#1.jpg"
    assert AllowedMedia(["s3://conn@bucket/a/"]).find("s3://bucket/ab/c.jpg") is None


@pytest.mark.parametrize(
    ("root", "uri", "below"),
    [
        ("https://Media.example/a", "https://media.example:443/a/b.jpg", True),
        ("https://media.example/a", "https://media.example/ab", False),
        ("https://media.example/a", "https://media.example/a/%2e%2e/b", False),
        ("https://media.example/a", "https://media.example.evil/a/b", False),
        ("https://media.example/a", "http://media.example/a/b", False),
        ("https://media.example", "https://media.example@evil.example/a", False),
        ("https://media.example", "https://media.example\\@evil.example/a", False),
    ],
)
def test_a_url_as_root(root: str, uri: str, below: bool) -> None:
    try:
        found = AllowedMedia([root]).find(uri)
    except MediaError:
        found = None
    assert (found is not None) == below


@given(st.text(max_size=40))
def test_nothing_that_an_item_may_name_is_a_raw_error(uri: str) -> None:
    allowed = AllowedMedia(["/nowhere", "https://media.example/a", "s3://conn@bucket/"])
    try:
        found = allowed.find(uri)
        assert found is None or found.startswith(("/nowhere", "https://media.example", "s3://conn@bucket"))
        allowed.check_url(uri) if "://" not in uri else None
    except MediaError:
        pass


def test_a_browser_is_sent_to_public_hosts_only(web: Served) -> None:
    for url in (
        web.url,
        "http://169.254.169.254/latest",
        "javascript:alert(1)",
        "s3://bucket/x",
        "http://user@8.8.8.8",
    ):
        with pytest.raises(MediaError):
            AllowedMedia().check_url(url)
    AllowedMedia().check_url("https://8.8.8.8/cat.jpg")
    AllowedMedia([web.url]).check_url(f"{web.url}/cat.jpg")


def test_through_a_proxy_private_hosts_are_refused_by_name(web: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    address = ("127.0.0.1", int(web.url.rpartition(":")[2]))
    with proxy_server({"photos.test:80": address, "intranet:80": address, "127.0.0.1:80": address}) as proxy:
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        access._public_client.cache_clear()
        try:
            assert read(AllowedMedia(), "http://photos.test/cat.jpg") == SECRET
            for host in ("127.0.0.1", "intranet", "[::1]", "metadata.internal", "169.254.169.254"):
                with pytest.raises(MediaError, match="private network"):
                    read(AllowedMedia(), f"http://{host}/x")
            assert proxy.seen == ["GET http://photos.test/cat.jpg"]
        finally:
            access._public_client.cache_clear()


@pytest.mark.parametrize("roots", [[""], [None], 3, {"a": 1}, ["s3://"], ["https://"], "https://"])
def test_roots_that_are_none(roots: Any) -> None:
    with pytest.raises(AnnotationError):
        check_roots(roots)


@pytest.mark.parametrize("path", ["images%2Fa.jpg?alt=media", "a%23b.jpg", "a%3Fb.jpg", "a%2520b.jpg", "200/"])
def test_a_url_below_a_root_is_asked_for_as_it_is(path: str) -> None:
    url = f"https://private.example.com/photos/{path}"
    allowed = AllowedMedia(check_roots(["https://private.example.com/photos/"]))
    assert allowed.find(url) == url
