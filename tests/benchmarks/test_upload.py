"""Uploading to a live Label Studio, against the same requests made bare.

Of its own, with other sizes: python tests/benchmarks/test_upload.py [IMAGES [REFERENCES [ROUNDS]]]

The bare run knows everything beforehand: it sends ready bodies, one after the other, and reads, checks and probes
nothing. So the first ratio is what listing, reading, probing, hashing and finding doubles cost on top of the server's
own time. Runs take turns, and the fastest of each counts. The second ratio is of ``upload_items`` to its own requests
in the same run, whatever else the machine does meanwhile.
"""

# ruff: noqa: T201 - a benchmark prints its table

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))

from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.label_studio.upload_requests import (
    FILES_PER_IMPORT,
    FILES_PER_REQUEST,
    TASKS_PER_IMPORT,
)
from airflow_annotation.media.listing import list_media
from devtools.label_studio import LabelStudio, running_label_studio
from tests.benchmarks.figures import record
from tests.support.label_studio_uploads import upload_items

LABEL_CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<RectangleLabels name="objects" toName="image"><Label value="car"/></RectangleLabels></View>'
)
SIZE = (320, 240)


@pytest.mark.benchmark
def test_uploading_against_the_same_requests_made_bare(label_studio: LabelStudio, tmp_path: Path) -> None:
    measure(label_studio, tmp_path, image_count=2000, reference_count=10_000, rounds=3)


def measure(server: LabelStudio, home: Path, *, image_count: int, reference_count: int, rounds: int) -> None:
    """Run the benchmark and print its table."""
    folder = home / "photos"
    make_images(folder, image_count)
    urls = [f"https://example.com/photos/{number:06}.jpg" for number in range(reference_count)]
    rows = [
        (f"{image_count:,} images", *compare(server, str(folder), bare_files, sorted(folder.iterdir()), rounds)),
        (f"{reference_count:,} references", *compare(server, urls, bare_references, urls, rounds)),
    ]
    print(f"\n{'':<20}{'bare requests':>15}{'upload_items':>15}{'ratio':>8}{'its requests':>15}{'ratio':>8}")
    for name, bare, ours, requests in rows:
        print(f"{name:<20}{bare:>13.2f} s{ours:>13.2f} s{ours / bare:>8.2f}{requests:>13.2f} s{ours / requests:>8.2f}")
        record(f"uploading {name}", {"upload_items": ours, "bare requests": bare})


def make_images(folder: Path, count: int) -> None:
    """Write small photos, some 20 kB each, no two the same."""
    folder.mkdir()
    noise = np.random.default_rng(1)
    for number in range(count):
        coarse = Image.fromarray(noise.integers(0, 255, (60, 80, 3), dtype=np.uint8))
        coarse.resize(SIZE).save(folder / f"{number:06}.jpg", quality=80)


class TimedClient(LabelStudioClient):
    """Knows how long its requests took."""

    seconds = 0.0

    def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        started = time.perf_counter()
        try:
            return super().request(method, path, **arguments)
        finally:
            self.seconds += time.perf_counter() - started


def compare(
    server: LabelStudio, media: Any, bare: Callable[[httpx.Client, str, Any], None], bare_media: Any, rounds: int
) -> tuple[float, float, float]:
    """Return the seconds of the bare requests, of ``upload_items``, and of its requests, each into empty projects."""
    client = TimedClient(url=server.url, api_key=server.api_key)
    http = httpx.Client(base_url=server.url, headers={"Authorization": f"Token {server.api_key}"}, timeout=120)
    bare_seconds, our_seconds = [], []
    for _ in range(rounds):
        with empty_project(client, len(bare_media)) as project:
            started = time.perf_counter()
            bare(http, project, bare_media)
            bare_seconds.append(time.perf_counter() - started)
        with empty_project(client, len(bare_media)) as project:
            client.seconds, started = 0.0, time.perf_counter()
            upload_items(client, project, list_media(media))
            our_seconds.append((time.perf_counter() - started, client.seconds))
    return min(bare_seconds), *min(our_seconds)


@contextmanager
def empty_project(client: LabelStudioClient, expected: int) -> Iterator[str]:
    """Make a project; check at the end that all tasks are in it."""
    body = {"title": "upload benchmark", "label_config": LABEL_CONFIG}
    project = str(client.request("POST", "/api/projects/", json=body).json()["id"])
    yield project
    params = {"project": project, "page_size": 1, "include": "id"}
    assert client.request("GET", "/api/tasks/", params=params).json()["total"] == expected
    client.request("DELETE", f"/api/projects/{project}/")


def bare_files(http: httpx.Client, project: str, paths: list[Path]) -> None:
    """Send files and create their tasks as ``upload_items`` does, knowing everything."""
    for start in range(0, len(paths), FILES_PER_IMPORT):
        batch = paths[start : start + FILES_PER_IMPORT]
        ids: list[int] = []
        for first in range(0, len(batch), FILES_PER_REQUEST):
            files = [
                (f"file{number}", (path.name, path.read_bytes(), "image/jpeg"))
                for number, path in enumerate(batch[first : first + FILES_PER_REQUEST])
            ]
            answer = http.post(f"/api/projects/{project}/import", params={"commit_to_project": "false"}, files=files)
            ids += answer.raise_for_status().json()["file_upload_ids"]
        stored = http.get(f"/api/projects/{project}/file-uploads", params={"ids": json.dumps(ids)}).raise_for_status()
        bare_import(
            http, project, [f"/data/{upload['file']}" for upload in stored.json()], [str(path) for path in batch]
        )


def bare_references(http: httpx.Client, project: str, urls: list[str]) -> None:
    """Create tasks that refer to URLs."""
    for start in range(0, len(urls), TASKS_PER_IMPORT):
        batch = urls[start : start + TASKS_PER_IMPORT]
        bare_import(http, project, batch, batch)


def bare_import(http: httpx.Client, project: str, places: list[str], keys: list[str]) -> None:
    """Create tasks with the data that ``upload_items`` gives them."""
    tasks = [
        {"data": {"image": place, "item_key": key, "media_uri": key, "width": SIZE[0], "height": SIZE[1]}}
        for place, key in zip(places, keys, strict=True)
    ]
    http.post(f"/api/projects/{project}/import", params={"return_task_ids": "true"}, json=tasks).raise_for_status()


def main(image_count: int = 2000, reference_count: int = 10_000, rounds: int = 3) -> None:
    """Run the benchmark on a server of its own."""
    with tempfile.TemporaryDirectory() as home:
        server_home = Path(home) / "server"
        server_home.mkdir()
        with running_label_studio(server_home) as server:
            measure(server, Path(home), image_count=image_count, reference_count=reference_count, rounds=rounds)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
