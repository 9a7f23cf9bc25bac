import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from pycocotools import mask as coco

from orchestrator.domain.masks import Shape
from orchestrator.domain.polygons import Polygon, polygons, rasterise

Mask = NDArray[np.bool_]


def blotches(size: tuple[int, int], seed: int, smooth: float) -> Mask:
    noise = np.random.default_rng(seed).normal(0, 1, size).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), smooth) > 0)


def shape(mask: Mask, x: int = 0, y: int = 0) -> Shape:
    return Shape(np.ascontiguousarray(mask.T), x, y)


def area(found: list[Polygon]) -> float:
    """By the shoelace formula; holes run the other way and take theirs off."""
    total = 0.0
    for ring in (ring for polygon in found for ring in polygon):
        x, y = ring.T.astype(float)
        total += float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2
    return total


def by_pycocotools(found: list[Polygon], size: tuple[int, int]) -> Mask:
    """Rasterised by somebody else: objects, less their holes."""
    height, width = size
    made = np.zeros(size, np.bool_)
    for outer, *holes in found:
        part = _fill(outer, height, width)
        for hole in holes:
            part &= ~_fill(hole, height, width)
        made |= part
    return made


def _fill(ring: NDArray[np.int32], height: int, width: int) -> Mask:
    rles = coco.frPyObjects([ring.ravel().astype(float).tolist()], height, width)
    return np.asarray(coco.decode(coco.merge(rles)), np.bool_)


@given(arrays.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_exact_polygons_are_the_mask_again(mask: Mask) -> None:
    found = polygons(shape(mask, 3, 2), 0)
    placed = np.zeros((mask.shape[0] + 4, mask.shape[1] + 5), np.bool_)
    placed[2 : 2 + mask.shape[0], 3 : 3 + mask.shape[1]] = mask
    assert np.array_equal(rasterise(found, (placed.shape[0], placed.shape[1])), placed)
    assert area(found) == mask.sum()
    assert len(found) == cv2.connectedComponents(mask.view(np.uint8), connectivity=4)[0] - 1


@pytest.mark.parametrize("smooth", [3.0, 8.0, 25.0])
@pytest.mark.parametrize("tolerance", [None, 0.0])
def test_another_rasteriser_gives_the_mask_again_holes_included(smooth: float, tolerance: float | None) -> None:
    for seed in range(3):
        mask = blotches((300, 400), seed, smooth)
        found = polygons(shape(mask), tolerance)
        assert any(len(polygon) > 1 for polygon in found) or smooth > 20
        for again in (by_pycocotools(found, (300, 400)), rasterise(found, (300, 400))):
            assert np.count_nonzero(again & mask) / np.count_nonzero(again | mask) >= 0.98


def test_a_tolerance_saves_corners() -> None:
    mask = blotches((300, 400), 0, 12)
    corners = [sum(len(ring) for polygon in polygons(shape(mask), t) for ring in polygon) for t in (0, None, 5)]
    assert corners[0] > 3 * corners[1]
    assert corners[1] > corners[2]


def test_small_and_ragged_masks_keep_what_their_iou_needs() -> None:
    for seed in range(30):
        mask = blotches((14, 17), seed, 1.0)
        again = rasterise(polygons(shape(mask)), (14, 17))
        assert np.count_nonzero(again & mask) / np.count_nonzero(again | mask) >= 0.98


def test_an_empty_mask_has_no_polygon() -> None:
    assert polygons(shape(np.zeros((3, 4), np.bool_))) == []
