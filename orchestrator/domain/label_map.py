"""All masks in one picture of numbers."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.errors import InvalidPrompt
from orchestrator.domain.geometry import Size
from orchestrator.domain.masks import Mask, shape_of

MOST_LABELS = 0xFFFF


def draw(masks: Sequence[Mask], size: Size) -> NDArray[np.uint16]:
    """[H, W]: 0 is background, n the n-th mask of the answer. Masks that overlap: smaller ones lie on top.

    Raises `InvalidPrompt` for more masks than 16 bits can number.
    """
    if len(masks) > MOST_LABELS:
        raise InvalidPrompt(f"A label map holds {MOST_LABELS:,} masks; these are {len(masks):,}. Lower max_masks.")
    labels = np.zeros(size, np.uint16)
    for index in sorted(range(len(masks)), key=lambda index: -masks[index].area):
        shape = shape_of(masks[index])
        wide, high = shape.inside.shape
        part = labels[shape.y : shape.y + high, shape.x : shape.x + wide]
        part[shape.inside.T] = index + 1
    return labels


def to_png(labels: NDArray[np.uint16]) -> bytes:
    """As a 16-bit grey PNG."""
    done, data = cv2.imencode(".png", labels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise ValueError("OpenCV could not encode the label map")
    return data.tobytes()
