from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from airflow_annotation.labels.geometry import path_area
from airflow_annotation.labels.masks import RLE, mask_to_rle, rle_area, rle_to_mask
from airflow_annotation.labels.outlines import polygons_to_rle, rle_to_polygons

Mask = npt.NDArray[np.bool_]

masks = st.tuples(st.integers(1, 16), st.integers(1, 16)).flatmap(lambda shape: arrays(np.bool_, shape))


def rle_of(*rows: str) -> RLE:
    return mask_to_rle(np.array([[cell == "#" for cell in row] for row in rows]))


def connected_parts(mask: Mask) -> int:
    """Count the parts whose pixels touch along a side, by flooding."""
    left = set(zip(*(axis.tolist() for axis in np.nonzero(mask)), strict=True))
    parts = 0
    while left:
        parts += 1
        front = [left.pop()]
        while front:
            y, x = front.pop()
            near = {(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)} & left
            left -= near
            front += near
    return parts


def signed_area(ring: npt.NDArray[np.float64]) -> float:
    x, y = ring.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


@given(masks)
def test_outlines_of_a_mask_go_back_to_it_to_the_pixel(mask: Mask) -> None:
    rle = mask_to_rle(mask)
    height, width = rle.size
    assert polygons_to_rle(rle_to_polygons(rle), width, height) == rle


@given(masks)
def test_each_connected_part_is_a_polygon_with_its_own_holes(mask: Mask) -> None:
    rle = mask_to_rle(mask)
    height, width = rle.size
    polygons = rle_to_polygons(rle)
    assert len(polygons) == connected_parts(mask)
    for polygon in polygons:
        assert connected_parts(rle_to_mask(polygons_to_rle([polygon], width, height))) == 1
        outline, *holes = (ring * (width, height) for ring in polygon)
        assert signed_area(outline) > 0, "clockwise as seen, y pointing down"
        assert all(signed_area(hole) < 0 for hole in holes)


@given(masks)
def test_areas_of_outlines_less_their_holes_are_the_masks(mask: Mask) -> None:
    rle = mask_to_rle(mask)
    size = rle.size[::-1]
    area = sum(
        path_area(outline * size) - sum(path_area(hole * size) for hole in holes)
        for outline, *holes in rle_to_polygons(rle)
    )
    assert area == pytest.approx(rle_area(rle))


def test_a_ring_has_one_hole_and_an_island_in_it_is_a_polygon_of_its_own() -> None:
    polygons = rle_to_polygons(rle_of("#####", "#...#", "#.#.#", "#...#", "#####"))
    assert [len(polygon) for polygon in polygons] == [2, 1]
    outline, hole = (ring * 5 for ring in polygons[0])
    assert sorted(outline.tolist()) == [[0, 0], [0, 5], [5, 0], [5, 5]]
    assert sorted(hole.tolist()) == [[1, 1], [1, 4], [4, 1], [4, 4]]
    assert sorted((polygons[1][0] * 5).tolist()) == [[2, 2], [2, 3], [3, 2], [3, 3]]


def test_a_hole_beside_a_hole_that_begins_further_up_belongs_to_the_same_outline() -> None:
    polygons = rle_to_polygons(rle_of("#####", "#.###", "#.###", "#.#.#", "#####"))
    assert [len(polygon) for polygon in polygons] == [3]


def test_pixels_that_touch_at_a_corner_are_two_polygons() -> None:
    assert len(rle_to_polygons(rle_of("#.", ".#"))) == len(rle_to_polygons(rle_of(".#", "#."))) == 2


def test_a_mask_of_very_many_parts_has_a_square_for_each_pixel_in_the_order_of_a_scan() -> None:
    board = np.indices((300, 400)).sum(axis=0) % 2 == 0
    polygons = rle_to_polygons(mask_to_rle(board))
    assert {len(polygon) for polygon in polygons} == {1}
    corners = np.array([ring * (400, 300) for (ring,) in polygons])
    assert corners.shape == (60_000, 4, 2)
    x, y = np.rint(corners.min(axis=1)).astype(int).T
    assert np.array_equal(np.argwhere(board), np.column_stack([y, x]))


def test_a_grid_is_one_polygon_with_very_many_holes() -> None:
    grid = np.ones((301, 401), np.bool_)
    grid[1::2, 1::2] = False
    (polygon,) = rle_to_polygons(mask_to_rle(grid))
    assert len(polygon) == 1 + 150 * 200
    assert sum(map(signed_area, polygon)) * 301 * 401 == pytest.approx(grid.sum())


def test_an_empty_mask_has_no_polygon_and_no_polygon_is_an_empty_mask() -> None:
    assert rle_to_polygons(rle_of("...", "...")) == []
    assert polygons_to_rle([], 3, 2) == rle_of("...", "...")


@given(st.lists(st.lists(st.tuples(st.floats(-0.5, 1.5), st.floats(-0.5, 1.5)), min_size=3, max_size=8), max_size=4))
def test_polygons_without_holes_are_filled_as_coco_fills_them(polygons: list[list[tuple[float, float]]]) -> None:
    width, height = 37, 23
    filled = np.zeros((height, width), np.bool_)
    for polygon in polygons:
        flat = (np.array(polygon) * (width, height)).ravel().tolist()
        filled |= coco_mask.decode(coco_mask.frPyObjects([flat], height, width))[..., 0] > 0
    assert polygons_to_rle([[polygon] for polygon in polygons], width, height) == mask_to_rle(filled)


def test_overlapping_polygons_are_one_mask_and_a_hole_is_cut_out_of_its_own_only() -> None:
    square = [(0, 0), (1, 0), (1, 1), (0, 1)]
    hole = [(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)]
    assert rle_area(polygons_to_rle([[square, hole]], 4, 4)) == 12
    assert rle_area(polygons_to_rle([[square, hole], [hole]], 4, 4)) == 16


def test_a_ring_with_two_corners_is_an_error_that_shows_it() -> None:
    with pytest.raises(ValueError, match=r"\[\[0.0, 0.0\], \[1.0, 1.0\]\]"):
        polygons_to_rle([[[(0, 0), (1, 1)]]], 4, 4)
