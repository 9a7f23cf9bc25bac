"""Low-res logits → a mask of the picture and what is known of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from orchestrator.domain import rle
from orchestrator.domain.geometry import Size, resized_size
from orchestrator.domain.rle import Rle

STABILITY_OFFSET = 1.0


@dataclass(frozen=True)
class Mask:
    """The official automatic generator's record, by its own names.

    `bbox` [x, y, w, h] in pixels, w and h being max − min as the official code has it; `point_coords` the points that
    asked for it, (x, y); `crop_box` [x, y, w, h] of the crop that it was found in.
    """

    segmentation: Rle
    bbox: tuple[int, int, int, int]
    area: int
    predicted_iou: float
    stability_score: float
    point_coords: tuple[tuple[float, float], ...]
    crop_box: tuple[int, int, int, int]


def upscale(logits: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """Low-res logits [L, L] of a model with side 4·L → logits of the picture, float32 `size`.

    The official `Sam.postprocess_masks`: bilinear to S×S, the padding cut off, bilinear to the picture. OpenCV's
    bilinear filter has the same half-pixel centres as PyTorch's with `align_corners=False`.
    """
    side = 4 * logits.shape[0]
    height, width = resized_size(size, side)
    square = cv2.resize(logits, (side, side), interpolation=cv2.INTER_LINEAR)
    full = cv2.resize(square[:height, :width], size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(full, np.float32)


def stability_score(logits: NDArray[np.float32], threshold: float, offset: float = STABILITY_OFFSET) -> float:
    """IoU of the mask thresholded `offset` above and below; 0 where both are empty.

    The official `calculate_stability_score`, which answers NaN there.
    """
    inner = int(np.count_nonzero(logits > threshold + offset))
    outer = int(np.count_nonzero(logits > threshold - offset))
    return inner / outer if outer else 0.0


def bounding_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """[x, y, w, h] with w = max x − min x, as the official code has it; zeros for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return (0, 0, 0, 0)
    x, y = int(columns[0]), int(rows[0])
    return (x, y, int(columns[-1]) - x, int(rows[-1]) - y)


def describe(
    logits: NDArray[np.float32],
    predicted_iou: float,
    threshold: float,
    size: Size,
    points: Sequence[tuple[float, float]],
) -> Mask:
    """One answer of the decoder, low-res logits [L, L], as a mask of the picture of `size`."""
    full = upscale(logits, size)
    mask = full > threshold
    height, width = size
    return Mask(
        segmentation=rle.encode(mask),
        bbox=bounding_box(mask),
        area=int(np.count_nonzero(mask)),
        predicted_iou=predicted_iou,
        stability_score=stability_score(full, threshold),
        point_coords=tuple(points),
        crop_box=(0, 0, width, height),
    )
