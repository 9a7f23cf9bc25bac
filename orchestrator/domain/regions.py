"""Small holes and islands of masks: the official `remove_small_regions`, within the mask's own window."""

import cv2
import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.geometry import Size
from orchestrator.domain.masks import Shape

Mask = NDArray[np.bool_]
Labels = NDArray[np.int32]


def tidy(found: Shape, size: Size, holes: int, islands: int) -> tuple[Shape, bool]:
    """Fill holes smaller than `holes` pixels, then drop islands smaller than `islands`; and whether that changed it.

    Regions are 8-connected. If every island is small, the largest stays.
    """
    filled = fill_holes(_with_margin(found, size), size, holes) if holes > 0 else None
    dropped = drop_islands(filled or found, islands) if islands > 0 else None
    changed = dropped or filled
    return (changed, True) if changed else (found, False)


def fill_holes(found: Shape, size: Size, smallest: int) -> Shape | None:
    """None if there are none. `found` has a margin of background on each side that is not the picture's edge."""
    labels, areas = _regions(~found.inside)
    # Background that goes on outside of the window belongs to what it touches there. One ring of margin joins all of
    # it, unless the picture's edge cuts the ring.
    open_labels = _touching(labels, _open_sides(found, size))
    if len(open_labels) == 1:
        areas[open_labels] += size[0] * size[1] - found.inside.size
    if (areas[open_labels] < smallest).any():
        # Some of what may be a hole lies outside of the window: look at the whole picture.
        return fill_holes(_whole(found, size), size, smallest)
    small = np.flatnonzero(areas[1:] < smallest) + 1
    return Shape(found.inside | np.isin(labels, small), found.x, found.y) if len(small) else None


def drop_islands(found: Shape, smallest: int) -> Shape | None:
    """None if there are none."""
    labels, areas = _regions(found.inside)
    small = areas[1:] < smallest
    if not small.any():
        return None
    stay = np.flatnonzero(~small) + 1
    if not len(stay):
        stay = np.array([int(np.argmax(areas[1:])) + 1])
    return Shape(np.isin(labels, stay), found.x, found.y)


def _regions(mask: Mask) -> tuple[Labels, NDArray[np.int64]]:
    """Each pixel's region, 0 for none, and the regions' areas by number."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    return np.asarray(labels, np.int32), stats[:, cv2.CC_STAT_AREA].astype(np.int64)


def _with_margin(found: Shape, size: Size) -> Shape:
    """One more row and column on each side, where the picture has them."""
    height, width = size
    left, top = int(found.x > 0), int(found.y > 0)
    right = int(found.x + found.inside.shape[0] < width)
    bottom = int(found.y + found.inside.shape[1] < height)
    return Shape(np.pad(found.inside, ((left, right), (top, bottom))), found.x - left, found.y - top)


def _open_sides(found: Shape, size: Size) -> list[tuple[slice | int, slice | int]]:
    """Index of each border line behind which the picture goes on."""
    height, width = size
    every = slice(None)
    lines: list[tuple[bool, tuple[slice | int, slice | int]]] = [
        (found.x > 0, (0, every)),
        (found.y > 0, (every, 0)),
        (found.x + found.inside.shape[0] < width, (-1, every)),
        (found.y + found.inside.shape[1] < height, (every, -1)),
    ]
    return [line for is_open, line in lines if is_open]


def _touching(labels: Labels, lines: list[tuple[slice | int, slice | int]]) -> Labels:
    found = np.unique(np.concatenate([np.zeros(1, np.int32), *(labels[line] for line in lines)]))
    return np.asarray(found[1:], np.int32)


def _whole(found: Shape, size: Size) -> Shape:
    height, width = size
    inside = np.zeros((width, height), np.bool_)
    wide, high = found.inside.shape
    inside[found.x : found.x + wide, found.y : found.y + high] = found.inside
    return Shape(inside, 0, 0)
