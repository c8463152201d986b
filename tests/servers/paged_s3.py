"""S3's protocol for lists and removals, in pages of a few keys, which notes how much was listed at once."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGE = 10
"""Keys in a page."""


class PagedS3:
    """The keys of objects, the same in any bucket, and how many of them were listed."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.listed = 0
        self.most_listed = 0
        """Most keys that were listed and not removed yet."""
        self.lock = threading.Lock()

    def page(self, prefix: str, delimiter: str, after: str) -> tuple[list[str], list[str], str]:
        """Return the keys and folders of a page, and its last name if there are more."""
        below = sorted(key for key in self.keys if key.startswith(prefix))
        names: dict[str, None] = {}
        for key in below:
            rest = key.removeprefix(prefix)
            cut = delimiter and delimiter in rest
            names[prefix + rest.partition(delimiter)[0] + delimiter if cut else key] = None
        left = [name for name in names if name > after]
        some, more = left[:PAGE], left[PAGE:]
        keys = [name for name in some if name in self.keys]
        self.listed += len(keys)
        self.most_listed = max(self.most_listed, self.listed)
        return keys, [name for name in some if name not in self.keys], some[-1] if more else ""

    def remove(self, keys: list[str]) -> None:
        """Remove objects."""
        self.keys -= set(keys)
        self.listed -= len(keys)


@contextmanager
def paged_s3() -> Iterator[tuple[PagedS3, dict[str, Any]]]:
    """Serve objects; yield them, and the connection to them."""
    store = PagedS3()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status: int, content: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content.encode())

        def do_HEAD(self) -> None:
            self.answer(200 if urlsplit(self.path).path.split("/", 2)[-1] in store.keys else 404)

        def do_GET(self) -> None:
            query = {name: value[0] for name, value in parse_qs(urlsplit(self.path).query).items()}
            with store.lock:
                found, folders, more = store.page(
                    query.get("prefix", ""), query.get("delimiter", ""), query.get("continuation-token", "")
                )
            self.answer(
                200,
                "<ListBucketResult><Name>bucket</Name>"
                + "".join(
                    f'<Contents><Key>{key}</Key><Size>1</Size><ETag>"e"</ETag>'
                    "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
                    for key in found
                )
                + "".join(f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>" for folder in folders)
                + f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>"
                + (f"<NextContinuationToken>{more}</NextContinuationToken>" if more else "")
                + "</ListBucketResult>",
            )

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            with store.lock:
                store.remove(re.findall("<Key>(.*?)</Key>", body))
            self.answer(200, "<DeleteResult></DeleteResult>")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        extra = {"endpoint_url": f"http://127.0.0.1:{server.server_port}", "region_name": "us-east-1"}
        yield store, {"conn_type": "aws", "login": "test", "password": "test", "extra": extra}
        server.shutdown()
