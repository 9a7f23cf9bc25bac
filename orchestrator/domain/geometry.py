"""From the picture's frame to the model's and back.

The picture's frame: pixels of the upright picture, x to the right, y down. The model's frame: a square of side S whose
upper left corner holds the picture with its longest side resized to S, zeros to the right and below.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from orchestrator.domain.image import Image

Size = tuple[int, int]  # (height, width)


@dataclass(frozen=True)
class ModelInput:
    """What the encoder takes: `canvas` uint8 [S, S, 3] RGB, and `size`, the part of it that holds the picture."""

    canvas: NDArray[np.uint8]
    size: Size


def resized_size(size: Size, side: int) -> Size:
    """The size with the longest side made `side`, rounded as the official `get_preprocess_shape` does.

    A side that would round to 0 becomes 1 (the official code fails there).
    """
    scale = side / max(size)
    height, width = (max(1, int(length * scale + 0.5)) for length in size)
    return height, width


def to_model_input(image: Image, side: int) -> ModelInput:
    """Resize with Pillow's bilinear filter, as the official `ResizeLongestSide.apply_image`, and pad with zeros."""
    height, width = resized_size((image.height, image.width), side)
    resized = Pillow.fromarray(image.pixels).resize((width, height), Pillow.Resampling.BILINEAR)
    canvas = np.zeros((side, side, 3), np.uint8)
    canvas[:height, :width] = np.asarray(resized)
    return ModelInput(canvas, (height, width))


def to_model_frame(coords: NDArray[np.float64], size: Size, side: int) -> NDArray[np.float32]:
    """(x, y) pixels of the picture, [..., 2], to the model's frame: the official `apply_coords`."""
    height, width = size
    new_height, new_width = resized_size(size, side)
    return (coords * (new_width / width, new_height / height)).astype(np.float32)
