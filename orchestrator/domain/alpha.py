"""How much of each pixel is the object: α in [0, 1], from a mask, its logits and the picture.

The sigmoid of the upscaled logits says where the edge may be, within about one low-res pixel; the picture says where it
is. Near the edge the foreground's and the background's colours F and B are means of what surely is one or the other,
and a pixel I = α F + (1 − α) B measures α along F − B. Prior and measurement are weighed by their variances: where F
and B are alike or mottled, the sigmoid stays. After Chuang et al., "A Bayesian Approach to Digital Matting", CVPR 2001,
with means by blurring in place of clusters.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.bands import bands
from orchestrator.domain.masks import Shape
from orchestrator.domain.upscale import Window

Float32 = NDArray[np.float32]

FAINTEST = 6.3
"""Logits farther than this below the threshold are less than half of 1/255."""

_FIRM = 1.5  # times `feather`
_NOISE = 4.0  # standard deviation of a channel, of 255
_SURE = 0.75  # of `feather`: colours are taken from this far inside and outside on
_REACH = 3  # times `feather`: how far colours are taken from
_LEAST_VARIANCE = 0.005
_RARE = 1e-4  # weight of what is inside but not surely, for thin things
_TINY = 1e-6


def soft(window: Window, mask: Shape, pixels: NDArray[np.uint8], threshold: float, feather: float) -> Float32:
    """α of the window, [h, w]; `pixels` uint8 [h, w, 3] are the picture there. `mask` lies in the window.

    `feather`: pixels. Up to half as far from the mask's edge, logits and colours alone decide; from one and a half
    times as far on, the mask does: what is merely unsure would else be a pane of glass inside, and a mist outside.
    """
    inside = within(window, mask)
    if inside.all():
        return np.ones(inside.shape, np.float32)
    # The sigmoid, by a function that does not overflow: some models' logits go into the hundreds.
    prior = (0.5 + 0.5 * np.tanh((window.values.T - threshold) / 2)).astype(np.float32)
    distance = signed_distance(inside) / np.float32(feather)
    alpha = prior.copy()
    for core, slab, kept in bands(len(prior), 2 * int(_REACH * feather)):
        if (np.abs(distance[core]) < _FIRM).any():
            alpha[core] = _weigh(pixels[slab], prior[slab], distance[slab], _REACH * feather)[kept]
    found: Float32 = np.clip(alpha, np.clip(distance - _FIRM + 1, 0, 1), np.clip(distance + _FIRM, 0, 1))
    return found


def within(window: Window, found: Shape) -> NDArray[np.bool_]:
    """The mask in the window's frame, bool [h, w]."""
    inside = np.zeros(window.values.shape, np.bool_)
    left, top = found.x - window.x, found.y - window.y
    wide, high = found.inside.shape
    inside[left : left + wide, top : top + high] = found.inside
    return np.ascontiguousarray(inside.T)


def signed_distance(inside: NDArray[np.bool_]) -> Float32:
    """Pixels to the edge of the mask, positive inside; the border of the array is no edge."""
    mask = inside.view(np.uint8)
    inner = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_5)
    outer = cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.where(inside, inner - 0.5, 0.5 - outer).astype(np.float32)


def _weigh(pixels: NDArray[np.uint8], prior: Float32, distance: Float32, reach: float) -> Float32:
    image, size = pixels.astype(np.float32), int(reach) | 1
    sure_inside = np.clip(distance + 1 - _SURE, 0, 1) ** 2 + _RARE * (prior > 0.5)
    sure_outside = np.clip(1 - _SURE - distance, 0, 1) ** 2 + _RARE * (prior < 0.5)
    f, f_weight = _mean(image, sure_inside, size)
    b, b_weight = _mean(image, sure_outside, size)
    axis = f - b
    length = np.einsum("hwc,hwc->hw", axis, axis) + _RARE
    measured = np.einsum("hwc,hwc->hw", image - b, axis) / length
    mottled = _blur(np.einsum("hwc,hwc->hw", image - f, axis) ** 2 / length * sure_inside, size) / f_weight
    mottled += _blur(np.einsum("hwc,hwc->hw", image - b, axis) ** 2 / length * sure_outside, size) / b_weight
    # Variances of α: of the sigmoid as a coin's, of the measurement by the colours' spread along the axis.
    unsure = length * np.maximum(prior * (1 - prior), _LEAST_VARIANCE)
    trust = unsure / (unsure + _NOISE**2 + mottled)
    weighed: Float32 = np.clip(trust * measured + (1 - trust) * prior, 0, 1).astype(np.float32)
    return weighed


def _mean(image: Float32, weight: Float32, size: int) -> tuple[Float32, Float32]:
    blurred = _blur(weight, size) + _TINY
    return _blur(image * weight[:, :, None], size) / blurred[:, :, None], blurred


def _blur(values: Float32, size: int) -> Float32:
    return np.asarray(cv2.blur(values.astype(np.float32), (size, size)), np.float32)
