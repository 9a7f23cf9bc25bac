"""Pictures that tests draw."""

import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

Pixels = NDArray[np.uint8]


def draw(height: int, width: int, seed: int = 0) -> Pixels:
    """A picture with shapes on a shaded ground, uint8 [H, W, 3] RGB, different for each seed."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(60, 160, width, dtype=np.float32)[None, :, None] + np.zeros((height, 1, 3), np.float32)
    picture = np.clip(ramp + rng.normal(0, 4, (height, width, 3)), 0, 255).astype(np.uint8)
    for _ in range(6):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(max(1, width * rng.uniform(0.05, 0.25))), int(max(1, height * rng.uniform(0.05, 0.25))))
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        cv2.ellipse(picture, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
    return picture


def encoded(pixels: Pixels, kind: str = "PNG", **options: object) -> bytes:
    """The file of an array, as Pillow writes it."""
    return saved(Pillow.fromarray(pixels), kind, **options)


def saved(picture: Pillow.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()
