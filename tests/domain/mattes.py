"""Objects with a known α and known colours, and the logits that a perfect model would have of them."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from orchestrator.domain import masks
from orchestrator.domain.image import Image
from orchestrator.domain.masks import Mask
from orchestrator.domain.upscale import upscaler

Float32 = NDArray[np.float32]
_SUREST = 1e-3


@dataclass(frozen=True)
class Matte:
    """`alpha` [H, W]; `foreground`, `background` [H, W, 3] of 255; `low`: logits [side/4, side/4]; all float32."""

    alpha: Float32
    foreground: Float32
    background: Float32
    low: Float32
    side: int

    @property
    def image(self) -> Image:
        share = self.alpha[:, :, None]
        mixed = share * self.foreground + (1 - share) * self.background
        return Image(np.rint(mixed).astype(np.uint8))

    @property
    def mask(self) -> Mask:
        height, width = self.alpha.shape
        return masks.describe(self.low, 0.9, 0.0, upscaler((height, width), self.side), [])


@lru_cache
def matte(seed: int, edge: float, size: tuple[int, int] = (320, 480), side: int = 1024) -> Matte:
    """A wavy blob whose α rises over `edge` pixels, of one mottled colour on another."""
    height, width = size
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    angle = np.arctan2(rows - height / 2, columns - width / 2)
    reach = 0.3 * min(size) * np.ones_like(angle)
    for wave in range(2, 9):
        swing = rng.normal(0, 0.25) / wave
        reach += 0.3 * min(size) * swing * np.cos(wave * angle + rng.uniform(0, 6))
    distance = reach - np.hypot(rows - height / 2, columns - width / 2)
    alpha = np.clip(distance / edge + 0.5, 0, 1).astype(np.float32)
    colours = rng.integers(30, 226, (2, 3))
    low = _logits(alpha, side // 4)
    return Matte(alpha, _mottled(size, colours[0], rng), _mottled(size, colours[1], rng), low, side)


def _logits(alpha: Float32, side: int) -> Float32:
    """The mean α of each low-res pixel as a logit; the padding is background."""
    scale = side / max(alpha.shape)
    height, width = (round(length * scale) for length in alpha.shape)
    small = np.clip(cv2.resize(alpha, (width, height), interpolation=cv2.INTER_AREA), _SUREST, 1 - _SUREST)
    low = np.full((side, side), np.log(_SUREST), np.float32)
    low[:height, :width] = np.log(small / (1 - small))
    return low


def _mottled(size: tuple[int, int], colour: NDArray[np.int64], rng: np.random.Generator) -> Float32:
    made = np.zeros((*size, 3), np.float32) + colour
    for scale, strength in ((2, 10), (8, 14), (40, 25)):
        noise = rng.normal(0, 1, (*size, 3)).astype(np.float32)
        made += cv2.GaussianBlur(noise, (0, 0), scale) * strength * scale * 1.8
    clipped: Float32 = np.clip(made, 0, 255).astype(np.float32)
    return clipped
