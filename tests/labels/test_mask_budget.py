"""Masks of some kilobytes that are gigabytes of pixels: they land as they stand, in little memory."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.export import ExportSource, tables_from_export
from airflow_annotation.labels.labelbox import export as labelbox
from airflow_annotation.labels.labelbox.features import Ontology
from airflow_annotation.labels.mask_budget import MaskBudget
from airflow_annotation.labels.masks import RLE, bitmask_to_rle, mask_to_rle, rle_to_brush, rle_to_mask
from airflow_annotation.labels.png import read_png
from tests.benchmarks.memory import peak_megabytes

CONFIG = """<View><Image name="image" value="$image"/>
  <BrushLabels name="brush" toName="image"><Label value="leaf"/></BrushLabels>
  <BitmaskLabels name="bitmask" toName="image"><Label value="leaf"/></BitmaskLabels></View>"""


def png(width: int, height: int, color: int, depth: int, rows: tuple[bytes, bytes]) -> bytes:
    """Return a PNG of two rows in turn, which is much smaller than its pixels."""
    deflate = zlib.compressobj(9)
    data = b"".join(deflate.compress(b"\0" + rows[y % 2]) for y in range(height)) + deflate.flush()
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([depth, color, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(chunk).to_bytes(4, "big") + name + chunk + zlib.crc32(name + chunk).to_bytes(4, "big")
        for name, chunk in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    )


def stripes(side: int) -> list[int]:
    """Return a brush stroke that paints every second row: a block a row, and a toggle in each pixel of a column."""
    pixels = np.zeros((side, side), np.bool_)
    pixels[::2] = True
    return rle_to_brush(mask_to_rle(pixels))


def lying(size: int) -> bytes:
    """Return a PNG that is one row, and says that it is a large image."""
    return png(size, 1, 6, 8, (bytes(4 * size),) * 2).replace(
        size.to_bytes(4, "big") + (1).to_bytes(4, "big"), size.to_bytes(4, "big") * 2
    )


def rgba(side: int, opaque: bool) -> tuple[bytes, bytes]:
    row = bytes([0, 0, 0, 255] * side)
    return row, bytes(4 * side) if opaque else row


BOMBS: dict[str, Callable[[], dict[str, Any]]] = {
    "brush": lambda: {"brush": stripes(4000), "size": 4000},
    "brush of a size that is not its own": lambda: {"brush": stripes(100), "size": 10**9},
    "transparent": lambda: {"png": png(9000, 9000, 6, 8, (bytes(36_000),) * 2)},
    "in stripes": lambda: {"png": png(9000, 9000, 6, 8, rgba(9000, True))},
    "a checkerboard": lambda: {"png": png(16384, 16384, 0, 1, (b"\x55" * 2048, b"\xaa" * 2048))},
    "of 16 bits": lambda: {"png": png(8000, 8000, 6, 16, (bytes(64_000),) * 2)},
    "of 30,000 x 30,000 pixels": lambda: {"png": png(30000, 30000, 0, 1, (bytes(3750),) * 2)},
    "of one row": lambda: {"png": png(1 << 28, 1, 0, 1, (bytes(1 << 25),) * 2)},
    "that has less than it says": lambda: {"png": lying(4000)},
    "as finely divided as may be": lambda: {"png": png(1400, 1400, 4, 8, (bytes([255, 255, 0, 0] * 700),) * 2)},
}
LANDS = {
    "label_studio": {"transparent", "a checkerboard", "as finely divided as may be"},
    "labelbox": {"transparent", "in stripes", "as finely divided as may be"},
}
"""Those within the budget: Label Studio's masks are what is not transparent, Labelbox's what is not black."""


def read_bomb(name: str, tool: str) -> tuple[str, float]:
    """Return the type as which a mask lands, and how many megabytes of memory it took."""
    bomb = BOMBS[name]()
    image = base64.b64encode(bomb.get("png", b"")).decode()
    if tool == "label_studio":
        size = {"original_width": bomb.get("size"), "original_height": bomb.get("size")}
        kind = "brush" if "brush" in bomb else "bitmask"
        value = {"brush": {"rle": bomb.get("brush")}, "bitmask": {"imageDataURL": f"data:image/png;base64,{image}"}}
        record = {
            "id": "a",
            "type": f"{kind}labels",
            "from_name": kind,
            "to_name": "image",
            "value": value[kind],
            **size,
        }
        text = json.dumps([{"id": 1, "data": {"image": "a"}, "annotations": [{"id": 2, "result": [record]}]}]).encode()
        source = ExportSource(project="p", config=LabelingConfig(CONFIG), item_url="{item_id}")
        del value, record, image, bomb
        before = peak_megabytes()
        labels = tables_from_export(text, source).labels
    else:
        mask = {"feature_id": "a", "annotation_kind": "ImageSegmentationMask", "mask": {"png": image}}
        row = {
            "data_row": {"id": "d"},
            "projects": {"p": {"labels": [{"id": "l", "annotations": {"objects": [mask]}}]}},
        }
        text = json.dumps(row).encode()
        del mask, row, image, bomb
        read = labelbox.ExportSource(project="p", project_id="p", ontology=Ontology({}), item_url="{item_id}")
        before = peak_megabytes()
        (tables,) = labelbox.read_export([text], read)
        labels = tables.labels
    return labels["type"][0].as_py(), peak_megabytes() - before


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["label_studio", "labelbox"])
@pytest.mark.parametrize("name", BOMBS)
def test_no_mask_takes_200_megabytes(name: str, tool: str) -> None:
    if tool == "labelbox" and name.startswith("brush"):
        pytest.skip("Labelbox has no brush strokes.")
    code = f"from tests.labels.test_mask_budget import read_bomb; print(*read_bomb({name!r}, {tool!r}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    type_, megabytes = result.stdout.split()
    assert float(megabytes) < 200
    assert type_ == ("instance" if name in LANDS[tool] else "other")


def test_a_mask_has_no_more_pixels_than_its_item_or_the_budget() -> None:
    url = "data:image/png;base64," + base64.b64encode(png(20, 10, 6, 8, rgba(20, True))).decode()
    assert bitmask_to_rle(url, MaskBudget().of_item(20, 10)).size == (10, 20)
    for budget in (MaskBudget().of_item(10, 10), MaskBudget(pixels=199), MaskBudget(toggles=9), MaskBudget(deadline=0)):
        with pytest.raises(ValueError, match=r"more than 1|finely|time"):
            bitmask_to_rle(url, budget)
    assert MaskBudget.of_pixels(128_000).toggles == 1000


@settings(max_examples=150, deadline=None)
@given(
    mode=st.sampled_from(["1", "L", "P", "LA", "RGB", "RGBA", "I;16"]),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    seed=st.integers(0, 2**32),
    strip=st.sampled_from([1, 100, 1 << 22]),
)
def test_strips_of_a_png_are_what_pillow_reads(mode: str, width: int, height: int, seed: int, strip: int) -> None:
    numbers = np.random.default_rng(seed)
    channels = {"LA": 2, "RGB": 3, "RGBA": 4}.get(mode, 1)
    values = numbers.integers(0, 2, (height, width, channels), dtype=np.uint8) * numbers.integers(
        1, 255, dtype=np.uint8
    )
    if mode == "I;16":
        image = Image.fromarray(values[..., 0].astype(np.uint16) * 256 + 7)
    else:
        image = Image.fromarray(values if channels > 1 else values[..., 0], "L" if mode == "1" else mode)
        image = image.convert("1") if mode == "1" else image
    if mode == "P":
        image.putpalette(numbers.integers(0, 255, 768, dtype=np.uint8).tobytes())
    file = io.BytesIO()
    image.save(file, "PNG", optimize=bool(seed % 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("airflow_annotation.labels.png._STRIP_BYTES", strip)
        header, strips = read_png(file.getvalue(), MaskBudget())
        samples = np.concatenate(list(strips))
    assert (header.width, header.height) == (width, height)
    with Image.open(io.BytesIO(file.getvalue())) as opened:
        expected = np.asarray(opened).reshape(height, width, -1)
        assert samples.shape == expected.shape
        assert (samples == expected).all()
        url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
        alpha = np.asarray(opened.convert("RGBA"))[..., 3]
    assert (rle_to_mask(bitmask_to_rle(url)) == (alpha > 0)).all()


def test_masks_of_labelbox_are_checked_before_they_land() -> None:
    from airflow_annotation.labels.labelbox.mask_files import read_masks
    from airflow_annotation.labels.labelbox.records import Mask

    good = mask_to_rle(np.eye(3))
    masks = [
        Mask(size=good.size, counts=good.counts),
        Mask(size=(3, 3), counts="~"),
        Mask(size=(10**6, 10**6), counts="11"),
    ]
    assert read_masks(masks, None) == [RLE((3, 3), good.counts), None, None]
