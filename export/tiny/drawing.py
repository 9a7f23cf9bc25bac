"""The few operations of OpenCV that the scenes are drawn with, typed."""

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]

SHIFT = 4
"""Bits below the pixel in the coordinates that OpenCV draws with."""


def blur(field: Field, sigma: float) -> Field:
    """[h, w] or [h, w, c] under a Gaussian of this deviation in pixels."""
    return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma), np.float32)


def resized(field: Field, height: int, width: int, *, smaller: bool = False) -> Field:
    """Averaged when it shrinks, linear when it grows."""
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(field, (width, height), interpolation=method), np.float32)


def streak(length: int, start: tuple[int, int], end: tuple[int, int]) -> Field:
    """A kernel [length, length] with a line of ones from x, y to x, y."""
    kernel = np.zeros((length, length), np.float32)
    cv2.line(kernel, start, end, (1.0,))
    return kernel


def filled(rings: list[NDArray[np.float64]], height: int, width: int) -> Field:
    """[height, width] in 0..1: the rings, in pixels, filled by the even-odd rule."""
    drawn = np.zeros((height, width), np.uint8)
    scaled = [np.round(ring * 2**SHIFT).astype(np.int32) for ring in rings]
    cv2.fillPoly(drawn, scaled, (255,), cv2.LINE_AA, SHIFT)
    return drawn.astype(np.float32) / np.float32(255)
