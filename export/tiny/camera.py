"""From a drawn picture to something like a photograph: light, lens, sensor and compression."""

import cv2
import numpy as np
from numpy.typing import NDArray

from export.tiny.drawing import blur, streak
from export.tiny.textures import Field, Rng, cloud

Pixels = NDArray[np.uint8]


def light(rng: Rng, picture: Field) -> Field:
    """Uneven light, a colour cast, haze or contrast, and a vignette now and then."""
    height, width = picture.shape[:2]
    ys, xs = np.mgrid[-1 : 1 : complex(height), -1 : 1 : complex(width)].astype(np.float32)
    angle, strength = rng.uniform(0, 6.3), rng.uniform(0, 0.35)
    field = 1 + strength * (np.float32(np.cos(angle)) * xs + np.float32(np.sin(angle)) * ys)
    if rng.random() < 0.25:  # the soft shadow of something outside the picture
        field *= 1 - rng.uniform(0.2, 0.5) * np.clip(cloud(rng, height, width, grain=0.7, octaves=2), 0, 1)
    if rng.random() < 0.3:
        field *= 1 - rng.uniform(0.1, 0.5) * np.clip((xs**2 + ys**2) / 2, 0, 1)
    cast = 1 + rng.normal(0, 0.06, 3).astype(np.float32)
    lit = picture * field[..., None] * cast
    contrast = rng.uniform(0.6, 1.15)
    return np.asarray((lit - 128) * np.float32(contrast) + np.float32(128 + rng.normal(0, 14)), np.float32)


def expose(rng: Rng, picture: Field) -> Pixels:
    """Blur, tone curve, sensor noise, loss of resolution, JPEG. uint8 of the same size."""
    height, width = picture.shape[:2]
    unit = max(height, width) / 384
    shown = picture
    chance = rng.random()
    if chance < 0.35:
        shown = blur(shown, rng.uniform(0.4, 1.1) * unit)
    elif chance < 0.42:  # a moving camera
        length = int(rng.integers(3, 7) * unit)
        kernel = streak(length, (0, int(rng.integers(0, length))), (length - 1, int(rng.integers(0, length))))
        shown = np.asarray(cv2.filter2D(shown, -1, kernel / kernel.sum()), np.float32)
    tone = np.clip(shown / 255, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.25))) * 255
    if rng.random() < 0.6:
        grain = rng.standard_normal((height, width, 1 if rng.random() < 0.5 else 3), np.float32)
        tone = tone + grain * np.float32(rng.gamma(1.5, 3))
    if rng.random() < 0.07:
        tone = np.repeat(tone.mean(axis=2, keepdims=True), 3, axis=2)
    pixels = np.clip(tone, 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        less = rng.uniform(0.5, 0.9)
        small = cv2.resize(pixels, None, fx=less, fy=less, interpolation=cv2.INTER_AREA)
        pixels = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    if rng.random() < 0.6:
        quality = int(rng.uniform(30, 96))
        _, coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        pixels = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(pixels, dtype=np.uint8)
