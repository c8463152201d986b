"""Reading masks out of a Labelbox project, against the bare parallel download of the same files.

Of its own, with another number of masks: python tests/benchmarks/test_mask_files.py [MASKS]

The bare run knows the files' addresses beforehand, gets them with as many threads, and throws them away; the second one
also decodes them, with Pillow and pycocotools. Reading the project also waits for the export, and makes tables. Runs
take turns, and the fastest of each counts. The stand-in is a process of its own, on the same cores.
"""

# ruff: noqa: T201 - a benchmark prints its table

from __future__ import annotations

import base64
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

sys.path.insert(0, str(Path(__file__).parents[2]))

from airflow_annotation.hooks.labelbox import LabelboxHook
from airflow_annotation.hooks.labelbox.export_stream import export_lines
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.media.items import MediaItem
from devtools.processes import stop_groups
from tests.benchmarks.figures import record
from tests.servers.labelbox.process import LabelboxProcess, start_labelbox
from tests.support.connections import airflow_connection

WIDTH, HEIGHT = 1280, 720
THREADS = 16
ROUNDS = 3


@pytest.mark.benchmark
def test_masks_against_the_bare_download_of_their_files(labelbox_process: LabelboxProcess) -> None:
    measure(labelbox_process, 500)


def measure(server: LabelboxProcess, count: int) -> None:
    """Run the benchmark and print its table."""
    with airflow_connection("labelbox_masks", server.connection) as conn_id:
        hook = LabelboxHook(conn_id)
        project = fill(hook, server, count)
        try:
            found = hook.get_project(project)
            urls = mask_urls(hook, project)
            assert len(urls) == count
            headers = {"Authorization": f"Bearer {server.api_key}"}
            with httpx.Client(headers=headers, limits=httpx.Limits(max_connections=THREADS)) as client:
                runs: dict[str, Callable[[], Any]] = {
                    "bare download": lambda: download(client, urls),
                    "bare download and decode": lambda: download(client, urls, decode),
                    "read_tables": lambda: sum(tables.labels.num_rows for tables in hook.read_tables(found)),
                }
                fastest = {name: float("inf") for name in runs}
                for _ in range(ROUNDS):
                    for name, run in runs.items():
                        started = time.perf_counter()
                        assert run() == count
                        fastest[name] = min(fastest[name], time.perf_counter() - started)
        finally:
            hook.delete_project(project)
    print(f"\n{f'{count} masks of {WIDTH} x {HEIGHT}':<32}{'seconds':>10}{'ratio':>8}")
    for name, seconds in fastest.items():
        print(f"{name:<32}{seconds:>10.2f}{seconds / fastest['bare download']:>8.2f}")
    record("masks out of Labelbox", {name: fastest[name] for name in ("read_tables", "bare download and decode")})


def fill(hook: LabelboxHook, server: LabelboxProcess, count: int) -> str:
    """Make a project with a mask on each item, and return its id."""
    schema = LabelSchema.from_dict({"sky": {"type": "instances", "classes": ["sky"]}})
    project = hook.create_project(title="Masks", run_key=str(uuid4()), label_schema=schema)
    keys = [str(uuid4()) for _ in range(count)]
    items = [MediaItem(media=f"https://media.example/{key}.jpg", item_key=key) for key in keys]
    for item in items:
        server.control.describe_media(item.media, {"width": WIDTH, "height": HEIGHT})
    hook.upload_items(project.id, items)
    noise = np.random.default_rng(1)
    for key in keys:
        line = {"name": "sky: sky", "mask": {"png": base64.b64encode(drawn(noise)).decode()}}
        server.control.submit_label(project.id, [line], global_key=key)
    return project.id


def drawn(noise: np.random.Generator) -> bytes:
    """Return a mask as people draw one: a few smooth patches."""
    coarse = Image.fromarray(noise.integers(0, 255, (9, 16), dtype=np.uint8)).resize((WIDTH, HEIGHT))
    file = io.BytesIO()
    Image.fromarray((np.asarray(coarse) > 150).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def mask_urls(hook: LabelboxHook, project_id: str) -> list[str]:
    """Return where the masks are."""
    rows = [json.loads(line) for line in export_lines(hook.client, project_id, {"label_details": True})]
    labels = [label for row in rows for label in row["projects"][project_id]["labels"]]
    return [object_["mask"]["url"] for label in labels for object_ in label["annotations"]["objects"]]


def download(client: httpx.Client, urls: list[str], use: Callable[[bytes], Any] = len) -> int:
    """Get files in parallel, and do something with each."""

    def get(url: str) -> bytes:
        return client.get(url).raise_for_status().content

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(1 for content in pool.map(get, urls) if use(content) is not None)


def decode(content: bytes) -> Any:
    """Return a mask as COCO's RLE."""
    with Image.open(io.BytesIO(content)) as image:
        return coco_mask.encode(np.asfortranarray(np.asarray(image) > 0))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        running = start_labelbox(Path(home))
        try:
            measure(running, int(sys.argv[1]) if len(sys.argv) > 1 else 500)
        finally:
            stop_groups(running.pid)
