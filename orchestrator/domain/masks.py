"""Low-res logits → a mask of the picture and what is known of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain import rle
from orchestrator.domain.geometry import Size
from orchestrator.domain.rle import Rle
from orchestrator.domain.upscale import Upscaler

STABILITY_OFFSET = 1.0

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Mask:
    """The official automatic generator's record, by its own names.

    `bbox` [x, y, w, h] in pixels, w and h being max − min as the official code has it; `point_coords` the points that
    asked for it, (x, y); `crop_box` [x, y, w, h] of the crop that it was found in.
    """

    segmentation: Rle
    bbox: Box
    area: int
    predicted_iou: float
    stability_score: float
    point_coords: tuple[tuple[float, float], ...]
    crop_box: Box


@dataclass(frozen=True)
class Shape:
    """A mask as its window: `inside` bool [w, h], column by column; its upper left pixel is (x, y)."""

    inside: NDArray[np.bool_]
    x: int
    y: int

    @property
    def area(self) -> int:
        return int(np.count_nonzero(self.inside))

    def bounds(self) -> Box:
        """[min x, min y, max x, max y] of the pixels inside; zeros if there are none."""
        columns = np.flatnonzero(self.inside.any(axis=1))
        if not len(columns):
            return (0, 0, 0, 0)
        rows = np.flatnonzero(self.inside[columns[0] : columns[-1] + 1].any(axis=0))
        x0, x1, y0, y1 = (int(place) for place in (columns[0], columns[-1], rows[0], rows[-1]))
        return (self.x + x0, self.y + y0, self.x + x1, self.y + y1)

    def encode(self, size: Size) -> Rle:
        """The mask of a picture of `size`."""
        return rle.encode_window(self.inside.T, (self.x, self.y), size)


def shape_of(mask: Mask) -> Shape:
    """The mask's pixels, in its box alone."""
    x, y, wide, high = mask.bbox
    box = (x, y, x + wide + 1, y + high + 1)
    runs = rle.unpack(mask.segmentation.counts)
    return Shape(rle.window_of_runs(runs, box, mask.segmentation.size[0]), x, y)


def look(
    low: NDArray[np.float32], upscaler: Upscaler, threshold: float, offset: float = STABILITY_OFFSET
) -> tuple[Shape, float] | None:
    """The mask above `threshold` and its stability score; None if nothing is above `threshold` − `offset`.

    The score is the IoU of the mask thresholded `offset`, 0 or more, above and below: the official
    `calculate_stability_score`, which answers NaN for None. Both fail every threshold.
    """
    cut = upscaler.cut(low, threshold, offset)
    if cut is None:
        return None
    return Shape(cut.inside, cut.x, cut.y), cut.sure / cut.likely if cut.likely else 0.0


def describe(
    low: NDArray[np.float32],
    predicted_iou: float,
    threshold: float,
    upscaler: Upscaler,
    points: Sequence[tuple[float, float]],
) -> Mask:
    """One answer of the decoder, low-res logits [L, L], as a mask of the picture."""
    found, stability = look(low, upscaler, threshold) or (Shape(np.zeros((1, 1), np.bool_), 0, 0), 0.0)
    height, width = upscaler.size
    x0, y0, x1, y1 = found.bounds()
    return Mask(
        segmentation=found.encode(upscaler.size),
        bbox=(x0, y0, x1 - x0, y1 - y0),
        area=found.area,
        predicted_iou=predicted_iou,
        stability_score=stability,
        point_coords=tuple(points),
        crop_box=(0, 0, width, height),
    )
