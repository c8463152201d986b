from __future__ import annotations

import datetime
import ssl
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airflow_annotation.exceptions import MediaError
from airflow_annotation.media.ranges import open_media_in_place
from airflow_annotation.media.storage import get_http_client, open_media
from tests.servers.proxy import ProxyServer, proxy_server

HOST = "media.test"  # a name that only the proxy knows


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of the host, signed by itself, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.fixture
def media_port(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "cat.jpg").write_bytes(b"a cat")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "media"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def tls_media_port(tmp_path: Path, certificate: Path) -> Iterator[int]:
    (tmp_path / "tls_media").mkdir()
    (tmp_path / "tls_media" / "cat.jpg").write_bytes(b"a secret cat")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "tls_media"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def proxy(
    media_port: int, tls_media_port: int, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ProxyServer]:
    hosts = {f"{HOST}:80": ("127.0.0.1", media_port), f"{HOST}:443": ("127.0.0.1", tls_media_port)}
    with proxy_server(hosts) as server:
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.setenv("HTTP_PROXY", server.url)
        monkeypatch.setenv("HTTPS_PROXY", server.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        get_http_client.cache_clear()  # clients of a process read the environment once
        yield server
        get_http_client.cache_clear()


def test_media_come_through_the_proxy_of_the_environment(proxy: ProxyServer) -> None:
    with open_media(f"http://{HOST}/cat.jpg") as file:
        assert file.read() == b"a cat"
    with open_media_in_place(f"https://{HOST}/cat.jpg") as file:
        assert file.read() == b"a secret cat"
    assert proxy.seen == [f"GET http://{HOST}/cat.jpg", f"CONNECT {HOST}:443"]


def test_hosts_of_no_proxy_are_asked_directly(
    proxy: ProxyServer, media_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", f"example.com,127.0.0.1:{media_port}")
    with open_media(f"http://127.0.0.1:{media_port}/cat.jpg") as file:
        assert file.read() == b"a cat"
    assert proxy.seen == []
    with pytest.raises(MediaError, match="its server answered 403"):  # another port of the same host
        open_media(f"http://127.0.0.1:{media_port + 1}/cat.jpg")
    assert proxy.seen
