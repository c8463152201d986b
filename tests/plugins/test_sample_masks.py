"""The page decodes masks in the API server: in little memory, and for some seconds only."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from airflow_annotation.hooks.annotation import AnnotationHook
from airflow_annotation.hooks.label_studio.hook import LabelStudioHook
from airflow_annotation.labels.masks import mask_to_rle, rle_to_bitmask
from airflow_annotation.plugins.page import samples
from devtools.label_studio import LabelStudio
from tests.benchmarks.memory import peak_megabytes
from tests.labels.test_mask_budget import png
from tests.support.connections import airflow_connection

CONFIG = """<View><Image name="image" value="$image"/>
  <BitmaskLabels name="bitmask" toName="image"><Label value="leaf"/></BitmaskLabels></View>"""


@pytest.fixture
def hook(label_studio: LabelStudio) -> Iterator[LabelStudioHook]:
    connection = {"conn_type": "label_studio", "host": label_studio.url, "password": label_studio.api_key}
    with airflow_connection("sample_masks", connection) as conn_id:
        hook = AnnotationHook.for_connection(conn_id)
        assert isinstance(hook, LabelStudioHook)
        yield hook


def region(url: str) -> dict[str, Any]:
    value = {"imageDataURL": url, "bitmasklabels": ["leaf"]}
    return {"id": uuid4().hex, "type": "bitmasklabels", "from_name": "bitmask", "to_name": "image", "value": value}


def bomb() -> str:
    """Return 60 kB that are 256 MB of pixels, as many as the page still decodes."""
    rows = (bytes(32_000), bytes([0, 0, 0, 255]) + bytes(31_996))
    return "data:image/png;base64," + base64.b64encode(png(8000, 8000, 6, 8, rows)).decode()


def read(conn_id: str, project_id: str) -> None:
    """Read a sample, and print what is drawn, how long it took, and the memory in megabytes."""
    hook = AnnotationHook.for_connection(conn_id)
    before, start = peak_megabytes(), time.monotonic()
    sample = samples.read_sample(hook, hook.get_project(project_id))
    labels = sample.items[0].labels
    kinds = {name: sum(name in label for label in labels) for name in ("polygons", "bbox")}
    figures = (kinds["polygons"], kinds["bbox"], len(labels), time.monotonic() - start, peak_megabytes() - before)
    sys.stdout.write(" ".join(map(str, figures)))


def test_masks_of_many_pixels_take_the_page_neither_long_nor_much_memory(hook: LabelStudioHook) -> None:
    project = hook.create_project(title="Masks", run_key=f"masks/{uuid4().hex[:8]}", label_config=CONFIG)
    noise = rle_to_bitmask(mask_to_rle(np.random.default_rng(1).random((300, 400)) < 0.5))
    square = rle_to_bitmask(mask_to_rle(np.pad(np.ones((20, 30), np.bool_), 5)))
    result = [region(url) for url in (square, noise, *[bomb()] * 30)]
    task = {"data": {"image": "https://example.com/a.png"}, "annotations": [{"result": result}]}
    try:
        hook.client.request("POST", f"/api/projects/{project.id}/import", json=[task])
        code = f"from tests.plugins.test_sample_masks import read; read({'sample_masks'!r}, {project.id!r})"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ)
        assert not run.returncode, run.stderr[-3000:]
        polygons, boxes, labels, seconds, megabytes = map(float, run.stdout.split()[-5:])
        assert labels == 32
        assert polygons >= 1 or seconds > 5  # a busy machine may need all of the page's time to read them
        assert boxes < 31
        assert polygons + boxes < 32
        assert seconds < 30
        assert megabytes < 200
    finally:
        hook.delete_project(project.id)
