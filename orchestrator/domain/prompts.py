"""Points and boxes as the decoder takes them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.errors import InvalidPrompt
from orchestrator.domain.geometry import Size, to_model_frame

BACKGROUND, FOREGROUND, BOX_START, BOX_END, PADDING = 0, 1, 2, 3, -1
MAX_POINTS = 1000
MAX_BOXES = 1000
_FARTHEST = 1e6  # pixels; beyond it float32 has no whole numbers to spare


@dataclass(frozen=True)
class Prompts:
    """P prompts of K tokens each: `coords` float64 [P, K, 2], (x, y) in pixels of the picture; `labels` int32 [P, K].

    Labels: 1 foreground, 0 background, 2 and 3 a box's upper left and lower right corner, -1 padding. As in the
    official prompt encoder, points without a box end in one padding token, and nothing else is ever padded: a
    padding token changes the masks. So prompts of one batch have the same number of tokens.
    """

    coords: NDArray[np.float64]
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.coords)

    @property
    def are_points(self) -> bool:
        """Whether they hold clicked points, with or without a box, and not boxes alone."""
        return bool(np.isin(self.labels, (BACKGROUND, FOREGROUND)).any())

    def part(self, start: int, stop: int) -> "Prompts":
        return Prompts(self.coords[start:stop], self.labels[start:stop])

    def in_model_frame(self, size: Size, side: int) -> NDArray[np.float32]:
        """Coordinates for the decoder, float32 [P, K, 2], in the model's frame of a picture of `size`."""
        return to_model_frame(self.coords, size, side)


def from_points(
    points: Sequence[Sequence[float]],
    labels: Sequence[int] | None,
    box: Sequence[float] | None,
    size: Size,
) -> Prompts:
    """One prompt of points, a box, or both, checked against a picture of `size`. Raises `InvalidPrompt`."""
    if not points and box is None:
        raise InvalidPrompt("Give at least one point (points=[[x,y]]) or a box (box=[x0,y0,x1,y1]).")
    if len(points) > MAX_POINTS:
        raise InvalidPrompt(f"{len(points):,} points are too many; at most {MAX_POINTS:,} are accepted.")
    coords = _numbers(points, "point", 2)
    _must_lie_inside(coords, size)
    kinds = [FOREGROUND] * len(points) if labels is None else list(labels)
    if len(kinds) != len(points):
        raise InvalidPrompt(f"{len(points)} points need as many labels, not {len(kinds)}.")
    if not set(kinds) <= {BACKGROUND, FOREGROUND}:
        raise InvalidPrompt("A label is 1 (foreground) or 0 (background).")
    if box is not None:
        corners = from_boxes([box], size)
        coords, kinds = np.concatenate([coords, corners.coords[0]]), [*kinds, BOX_START, BOX_END]
    else:
        coords, kinds = np.concatenate([coords, np.zeros((1, 2))]), [*kinds, PADDING]
    return Prompts(coords[None], np.array([kinds], np.int32))


def from_boxes(boxes: Sequence[Sequence[float]], size: Size) -> Prompts:
    """One prompt per box [x0, y0, x1, y1], checked against a picture of `size`. Raises `InvalidPrompt`.

    A box may reach over the picture's edge, as with the official code; one that lies wholly outside is refused.
    """
    if len(boxes) > MAX_BOXES:
        raise InvalidPrompt(f"{len(boxes):,} boxes are too many; at most {MAX_BOXES:,} are accepted.")
    corners = _numbers(boxes, "box", 4)
    height, width = size
    if (corners[:, :2] >= corners[:, 2:]).any():
        raise InvalidPrompt("A box is [x0, y0, x1, y1] with x0 < x1 and y0 < y1.")
    outside = (corners[:, 2:] <= 0).any(axis=1) | (corners[:, :2] >= (width, height)).any(axis=1)
    outside |= (np.abs(corners) > _FARTHEST).any(axis=1)
    if outside.any():
        values = ", ".join(f"{value:g}" for value in corners[outside][0])
        raise InvalidPrompt(f"The box [{values}] lies outside the picture of {width}×{height} pixels.")
    labels = np.tile(np.array([BOX_START, BOX_END], np.int32), (len(boxes), 1))
    return Prompts(corners.reshape(-1, 2, 2), labels)


def own_points(points: Sequence[Sequence[float]], size: Size) -> NDArray[np.float64]:
    """Points of the caller's own for automatic masks, (x, y) in pixels, [n, 2]. Raises `InvalidPrompt`."""
    coords = _numbers(points, "point", 2)
    _must_lie_inside(coords, size)
    return coords


def box_region(box: Sequence[float], size: Size) -> NDArray[np.bool_]:
    """The pixels whose centres a box [x0, y0, x1, y1] holds, bool `size`. Raises `InvalidPrompt`."""
    corners = from_boxes([box], size).coords[0]
    (x0, y0), (x1, y1) = np.clip(np.round(corners), 0, (size[1], size[0])).astype(int)
    region = np.zeros(size, np.bool_)
    region[y0:y1, x0:x1] = True
    return region


def each_point(points: NDArray[np.float64]) -> Prompts:
    """One prompt per foreground point (x, y), [n, 2]."""
    coords = np.zeros((len(points), 2, 2))
    coords[:, 0] = points
    return Prompts(coords, np.tile(np.array([FOREGROUND, PADDING], np.int32), (len(points), 1)))


def whole_picture(size: Size) -> Prompts:
    """The default box: the whole picture."""
    height, width = size
    return from_boxes([(0, 0, width, height)], size)


def _must_lie_inside(coords: NDArray[np.float64], size: Size) -> None:
    height, width = size
    outside = (coords < 0).any(axis=1) | (coords[:, 0] > width) | (coords[:, 1] > height)
    if outside.any():
        x, y = coords[outside][0]
        raise InvalidPrompt(f"The point ({x:g}, {y:g}) lies outside the picture of {width}×{height} pixels.")


def _numbers(rows: Sequence[Sequence[float]], noun: str, width: int) -> NDArray[np.float64]:
    if any(len(row) != width for row in rows):
        raise InvalidPrompt(f"A {noun} has {width} numbers.")
    values = np.array(rows, np.float64).reshape(-1, width)
    if not np.isfinite(values).all():
        raise InvalidPrompt(f"A {noun}'s coordinates are finite numbers.")
    return values
