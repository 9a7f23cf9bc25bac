"""Masks as polygons, and back.

A polygon runs along the edges of pixels, which are lines between whole numbers: the pixel (x, y) is the square from
(x, y) to (x + 1, y + 1). So a mask and its polygon have the same area, and rasterising it gives the mask again.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.masks import Shape

Ring = NDArray[np.int32]
"""Corners (x, y), [n, 2], the first not repeated; clockwise on the screen around objects, the other way for holes."""

Polygon = list[Ring]
"""What is around an object, then its holes."""

TOLERANCE = 1.0
LEAST_IOU = 0.985
"""More than the promised 0.98: pycocotools sets the pixels along slanted lines in its own way, up to 0.004 worse."""


def polygons(shape: Shape, tolerance: float | None = None) -> list[Polygon]:
    """One for each 4-connected region of a mask, in the picture's frame.

    `tolerance`: pixels that simplified lines may stray from the edge, as Douglas and Peucker measure it; 0 keeps every
    corner. Without it 1 pixel, and less where the IoU with the mask would fall below 0.98.
    """
    exact = _trace(shape)
    if tolerance is not None:
        return _simplified(exact, tolerance)
    for attempt in (TOLERANCE, TOLERANCE / 2):
        found = _simplified(exact, attempt)
        if _iou(found, shape) >= LEAST_IOU:
            return found
    return exact


def rasterise(found: Sequence[Polygon], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels of a picture of `size` (height, width) whose centres lie in a polygon, and in none of its holes."""
    height, width = size
    crossings = np.zeros((height, width + 1), np.bool_)
    for ring in (ring for polygon in found for ring in polygon):
        for start, stop in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            (x0, y0), (x1, y1) = sorted((tuple(start), tuple(stop)), key=lambda corner: corner[1])
            rows = np.arange(max(y0, 0), min(y1, height))
            if len(rows):
                x = x0 + (x1 - x0) * (rows + 0.5 - y0) / (y1 - y0)
                # Of the pixels to the right of the line, the first whose centre is past it.
                columns = np.clip(np.ceil(x - 0.5), 0, width).astype(int)
                crossings[rows, columns] ^= True
    inside: NDArray[np.bool_] = np.logical_xor.accumulate(crossings, axis=1)[:, :-1]
    return inside


def _trace(shape: Shape) -> list[Polygon]:
    """Along every pixel's edge, without a loss."""
    if not shape.area:
        return []
    cells = np.pad(shape.inside.T, 1)
    regions = cv2.connectedComponents(cells.view(np.uint8), connectivity=4)[1]
    outer: dict[int, Polygon] = {}
    holes: list[tuple[int, Ring]] = []
    for ring in _rings(cells):
        x, y = ring[0]  # the highest of the leftmost of its uppermost corners
        corners = ring + np.array((shape.x, shape.y), np.int32)
        if cells[y + 1, x + 1]:
            outer[int(regions[y + 1, x + 1])] = [_turned(corners, clockwise=True)]
        else:
            holes.append((int(regions[y, x + 1]), _turned(corners, clockwise=False)))
    for region, hole in holes:
        outer[region].append(hole)
    return list(outer.values())


def _rings(cells: NDArray[np.bool_]) -> Iterator[Ring]:
    """Closed lines between cells that are set and cells that are not, each from its first corner, row by row."""
    x, y, by_row, by_column = _corners(cells)
    # Along a row of the lattice corners are joined two by two, and so they are along a column.
    across, down = _joined(np.lexsort((by_row, x, y))), _joined(np.lexsort((by_column, y, x)))
    seen = np.zeros(len(x), np.bool_)
    for first in np.lexsort((x, y)):
        if seen[first]:
            continue
        ring, corner = [], int(first)
        while not seen[corner]:
            other = int(across[corner])
            seen[corner] = seen[other] = True
            ring += [corner, other]
            corner = int(down[other])
        yield np.stack([x[ring], y[ring]], axis=1).astype(np.int32)


def _corners(cells: NDArray[np.bool_]) -> tuple[NDArray[np.int64], ...]:
    """x and y of each corner, and how two of one place are ordered in their row and in their column.

    Where two set cells touch by their corners alone there are two corners, one of each cell: so they stay apart.
    """
    upper_left, upper_right = cells[:-1, :-1], cells[:-1, 1:]
    lower_left, lower_right = cells[1:, :-1], cells[1:, 1:]
    count = upper_left.astype(np.uint8) + upper_right + lower_left + lower_right
    y, x = np.nonzero(count % 2)
    falling = np.nonzero(upper_left & lower_right & (count == 2))
    rising = np.nonzero(upper_right & lower_left & (count == 2))
    single, low, high = (np.zeros(len(found), np.int64) for found in (x, falling[0], rising[0]))
    places = [(y, x), falling, rising, falling, rising]
    by_row = np.concatenate([single, low, high, low + 1, high + 1])
    by_column = np.concatenate([single, low, high + 1, low + 1, high])
    ys, xs = (np.concatenate([place[axis] for place in places]) for axis in (0, 1))
    return xs, ys, by_row, by_column


def _joined(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each corner the other one of its pair."""
    mates = np.empty_like(order)
    mates[order[0::2]], mates[order[1::2]] = order[1::2], order[0::2]
    return mates


def _turned(ring: Ring, *, clockwise: bool) -> Ring:
    x, y = ring.T.astype(np.int64)
    twice_area = int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())
    return ring if (twice_area > 0) == clockwise else np.ascontiguousarray(ring[::-1])


def _simplified(exact: Sequence[Polygon], tolerance: float) -> list[Polygon]:
    if tolerance <= 0:
        return list(exact)
    return [[_simple(ring, tolerance) for ring in polygon] for polygon in exact]


def _simple(ring: Ring, tolerance: float) -> Ring:
    found = cv2.approxPolyDP(ring, tolerance, closed=True)[:, 0]
    # A line has no inside.
    return np.asarray(found, np.int32) if len(found) >= 3 else ring


def _iou(found: Sequence[Polygon], shape: Shape) -> float:
    wide, high = shape.inside.shape
    again = rasterise([[ring - (shape.x, shape.y) for ring in polygon] for polygon in found], (high, wide)).T
    union = np.count_nonzero(again | shape.inside)
    return np.count_nonzero(again & shape.inside) / union if union else 1.0
