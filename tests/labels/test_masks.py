from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from label_studio_sdk.converter.brush import decode_rle, encode_rle, mask2rle
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from airflow_annotation.labels.masks import (
    RLE,
    bitmask_to_rle,
    brush_to_rle,
    mask_to_rle,
    merge_rles,
    rle_area,
    rle_bbox,
    rle_to_bitmask,
    rle_to_brush,
    rle_to_mask,
)

Mask = npt.NDArray[np.bool_]

shapes = st.tuples(st.integers(1, 24), st.integers(1, 24))
masks = shapes.flatmap(lambda shape: arrays(np.bool_, shape))
alphas = shapes.flatmap(lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 0, 1, 127, 255, 255])))


def decoded_by_the_sdk(brush: list[int], height: int, width: int) -> npt.NDArray[np.uint8]:
    values = decode_rle(brush)
    return np.asarray(values, np.uint8).reshape(height, width, 4)


def painted(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Brush strokes with soft edges."""
    image = Image.new("L", (width * 2, height * 2))
    draw = ImageDraw.Draw(image)
    corners = np.random.default_rng(7).random((8, 2)) * (width * 2, height * 2)
    draw.line([tuple(corner) for corner in corners.tolist()], fill=255, width=max(width // 16, 2), joint="curve")
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def packed(values: list[int], blocks: list[tuple[bool, int, int]], sizes: tuple[int, ...], bits: int) -> list[int]:
    """Write a stream of runs and literals as rle-pack's description has it.

    :param blocks: whether it is a run, which size its length has, and how many values it covers
    """
    stream = f"{len(values):032b}{bits - 1:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    at = 0
    for is_run, size, length in blocks:
        stream += f"{is_run:b}{size:02b}{length - 1:0{sizes[size]}b}"
        stream += "".join(f"{value:0{bits}b}" for value in values[at : at + (1 if is_run else length)])
        at += length
    stream += "0" * (-len(stream) % 8)
    return [int(stream[place : place + 8], 2) for place in range(0, len(stream), 8)]


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[int], int, int]:
    """Draw streams as other encoders may write them: literals, any sizes, values of fewer bits, runs cut anywhere."""
    width, height = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    bits = draw(st.integers(1, 8))
    sizes = tuple(draw(st.lists(st.integers(1, 16), min_size=4, max_size=4)))
    values: list[int] = []
    blocks = []
    while len(values) < width * height * 4:
        is_run, size = draw(st.booleans()), draw(st.integers(0, 3))
        length = draw(st.integers(1, min(2 ** sizes[size], width * height * 4 - len(values), 20)))
        value = st.integers(0, 2**bits - 1)
        values += [draw(value)] * length if is_run else draw(st.lists(value, min_size=length, max_size=length))
        blocks.append((is_run, size, length))
    return packed(values, blocks, sizes, bits), width, height


# COCO's RLE


@given(masks)
def test_rle_is_that_of_pycocotools_and_goes_back(mask: Mask) -> None:
    rle = mask_to_rle(mask)
    expected = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    assert rle == RLE((mask.shape[0], mask.shape[1]), expected["counts"].decode())
    assert np.array_equal(rle_to_mask(rle), mask)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12).filter(any))
def test_runs_of_no_length_change_nothing(counts: list[int]) -> None:
    height, width = sum(counts), 2
    counts = [*counts, height]
    encoded = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    rle = RLE((height, width), encoded["counts"].decode())
    mask = coco_mask.decode([encoded])[..., 0] > 0
    assert np.array_equal(rle_to_mask(rle), mask)
    assert (rle_area(rle), rle_bbox(rle)) == (rle_area(mask_to_rle(mask)), rle_bbox(mask_to_rle(mask)))
    assert rle_to_brush(rle) == rle_to_brush(mask_to_rle(mask))


@given(masks)
def test_area_and_box_are_those_of_the_painted_pixels(mask: Mask) -> None:
    rle = mask_to_rle(mask)
    y, x = np.nonzero(mask)
    box = [x.min(), y.min(), x.max() + 1 - x.min(), y.max() + 1 - y.min()] if len(x) else [0, 0, 0, 0]
    assert rle_area(rle) == mask.sum()
    assert rle_bbox(rle) == box


@given(shapes.flatmap(lambda shape: st.lists(arrays(np.bool_, shape), min_size=1, max_size=4)))
def test_merged_masks_have_what_any_of_them_has(parts: list[Mask]) -> None:
    merged = merge_rles([mask_to_rle(mask) for mask in parts])
    assert np.array_equal(rle_to_mask(merged), np.any(parts, axis=0))


def test_only_masks_of_one_size_are_merged() -> None:
    with pytest.raises(ValueError, match=r"one size.*\(2, 2\), \(2, 3\)"):
        merge_rles([mask_to_rle(np.ones((2, 2))), mask_to_rle(np.ones((2, 3)))])
    with pytest.raises(ValueError, match="none"):
        merge_rles([])


@pytest.mark.parametrize("counts", ["", "é", "o", "05", "04X", " ", "~~", "0" * 50 + "P"])
def test_counts_that_are_not_those_of_the_size_are_an_error_with_the_size(counts: str) -> None:
    for read in (rle_to_mask, rle_area, rle_bbox, rle_to_brush, rle_to_bitmask):
        with pytest.raises(ValueError, match=r"of 2 x 2 pixels"):
            read(RLE((2, 2), counts))


def test_a_mask_of_other_dimensions_is_an_error_that_shows_them() -> None:
    with pytest.raises(ValueError, match=r"\(2, 2, 4\)"):
        mask_to_rle(np.ones((2, 2, 4)))
    with pytest.raises(ValueError, match=r"\(0, 2\)"):
        mask_to_rle(np.ones((0, 2)))


# Brush strokes


@given(alphas)
def test_brush_strokes_are_read_as_the_sdk_reads_them(alpha: npt.NDArray[np.uint8]) -> None:
    height, width = alpha.shape
    brush = mask2rle(alpha)  # type: ignore[no-untyped-call]  # the SDK has no types
    assert brush_to_rle(brush, width, height) == mask_to_rle(alpha)


@given(alphas, st.integers(0, 255))
def test_only_the_alpha_channel_counts(alpha: npt.NDArray[np.uint8], colour: int) -> None:
    height, width = alpha.shape
    pixels = np.full((height, width, 4), colour, np.uint8)
    pixels[..., 3] = alpha
    brush = encode_rle(pixels.ravel())  # type: ignore[no-untyped-call]  # the SDK has no types
    assert brush_to_rle(brush, width, height) == mask_to_rle(alpha)


@given(streams())
def test_any_stream_of_runs_and_literals_is_read_as_the_sdk_reads_it(case: tuple[list[int], int, int]) -> None:
    brush, width, height = case
    expected = decoded_by_the_sdk(brush, height, width)[..., 3]
    assert brush_to_rle(brush, width, height) == mask_to_rle(expected)


@given(masks)
def test_brush_strokes_are_written_so_that_the_sdk_reads_the_same_mask(mask: Mask) -> None:
    height, width = mask.shape
    brush = rle_to_brush(mask_to_rle(mask))
    assert np.array_equal(decoded_by_the_sdk(brush, height, width), np.repeat(mask[..., None] * 255, 4, axis=2))
    assert brush_to_rle(brush, width, height) == mask_to_rle(mask)
    assert len(brush) <= len(mask2rle(mask.astype(np.uint8)))  # type: ignore[no-untyped-call]  # the SDK has no types


@pytest.mark.parametrize("shape", [(480, 640), (1081, 1919), (2160, 3840), (1, 70_000), (70_000, 1), (16_384, 1)])
@pytest.mark.parametrize("kind", ["strokes", "empty", "full"])
def test_large_masks_go_there_and_back(shape: tuple[int, int], kind: str) -> None:
    height, width = shape
    alpha = painted(height, width) if kind == "strokes" else np.full(shape, 255 * (kind == "full"), np.uint8)
    rle = mask_to_rle(alpha)
    brush = rle_to_brush(rle)
    assert np.array_equal(decoded_by_the_sdk(brush, height, width)[..., 3] > 0, alpha > 0)
    assert brush_to_rle(brush, width, height) == rle
    assert brush_to_rle(mask2rle(alpha), width, height) == rle  # type: ignore[no-untyped-call]  # the SDK has no types
    assert bitmask_to_rle(rle_to_bitmask(rle)) == rle


def test_thousands_of_runs_and_literals_across_chunks_are_read_as_the_sdk_reads_them() -> None:
    alpha = np.random.default_rng(3).integers(0, 3, (300, 301), np.uint8)
    pixels = np.random.default_rng(4).integers(0, 3, (300, 301, 4), np.uint8)
    pixels[..., 3] = alpha
    literals = [(False, 3, 65_536)] * (pixels.size // 65_536) + [(False, 3, pixels.size % 65_536)]
    brush = packed(pixels.ravel().tolist(), literals, (3, 4, 8, 16), 8)
    assert brush_to_rle(brush, 301, 300) == mask_to_rle(alpha)
    assert brush_to_rle(encode_rle(pixels.ravel()), 301, 300) == mask_to_rle(alpha)  # type: ignore[no-untyped-call]  # the SDK has no types


@given(masks.filter(lambda mask: mask.size > 1), st.data())
def test_a_brush_stroke_that_is_cut_off_is_an_error(mask: Mask, data: st.DataObject) -> None:
    height, width = mask.shape
    brush = rle_to_brush(mask_to_rle(mask))
    cut = data.draw(st.integers(0, len(brush) - 1))
    with pytest.raises(ValueError, match=r"too short|cut off"):
        brush_to_rle(brush[:cut], width, height)


def test_a_brush_stroke_of_another_image_is_an_error_with_both_sizes() -> None:
    brush = rle_to_brush(mask_to_rle(np.ones((3, 4))))
    with pytest.raises(ValueError, match="has 48 values, an image of 4 x 4 pixels has 64"):
        brush_to_rle(brush, 4, 4)


def test_a_brush_stroke_of_no_bytes_or_no_colours_is_an_error() -> None:
    with pytest.raises(ValueError, match="numbers from 0 to 255"):
        brush_to_rle([256], 1, 1)
    with pytest.raises(ValueError, match="values of 16 bits"):
        brush_to_rle(packed([1, 1, 1, 1], [(True, 0, 4)], (3, 4, 8, 16), 16), 1, 1)


# Bitmasks


@given(masks)
def test_bitmasks_go_there_and_back(mask: Mask) -> None:
    assert np.array_equal(rle_to_mask(bitmask_to_rle(rle_to_bitmask(mask_to_rle(mask)))), mask)


@given(masks)
def test_bitmasks_are_written_black_on_a_transparent_background(mask: Mask) -> None:
    head, encoded = rle_to_bitmask(mask_to_rle(mask)).split(",")
    assert head == "data:image/png;base64"
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGBA"))
    assert np.array_equal(pixels[..., 3], mask * 255)
    assert not pixels[..., :3].any()


def as_bitmask(image: Image.Image, image_format: str = "PNG") -> str:
    file = io.BytesIO()
    image.save(file, image_format)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


@given(alphas)
def test_bitmasks_of_the_editor_are_read_by_their_alpha_channel(alpha: npt.NDArray[np.uint8]) -> None:
    pixels = np.zeros((*alpha.shape, 4), np.uint8)
    pixels[..., 3] = alpha
    assert bitmask_to_rle(as_bitmask(Image.fromarray(pixels))) == mask_to_rle(alpha)


def test_a_bitmask_without_transparency_is_all_mask_as_in_the_editor() -> None:
    assert rle_area(bitmask_to_rle(as_bitmask(Image.new("L", (3, 2))))) == 6


def test_a_bitmask_that_is_no_png_is_an_error_that_says_why() -> None:
    with pytest.raises(ValueError, match=r"begins with 'https://example.org/mask.png'"):
        bitmask_to_rle("https://example.org/mask.png")
    with pytest.raises(ValueError, match="cannot be read"):
        bitmask_to_rle("data:image/png;base64,!!!")
    with pytest.raises(ValueError, match="cannot be read"):
        bitmask_to_rle(as_bitmask(Image.new("RGB", (2, 2)), "JPEG"))
    head, encoded = rle_to_bitmask(mask_to_rle(painted(50, 50))).split(",")
    cut = base64.b64encode(base64.b64decode(encoded)[:-30]).decode()
    with pytest.raises(ValueError, match="cannot be read"):
        bitmask_to_rle(f"{head},{cut}")
