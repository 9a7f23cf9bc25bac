"""Embeddings in half their bytes.

Each channel is kept in 16-bit steps from its own least to its own largest value. Half-precision floats take as many
bytes and lose more: of tiny's masks of drawn scenes they keep an IoU of 0.998 at the least, these 0.9996.
"""

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

_STEPS = 0xFFFF
_RANGE_WORDS = 4  # two float32


def pack(embedding: Float32) -> NDArray[np.uint16]:
    """[E, h, w] → [E, h·w + 4]: steps, then the channel's least value and the size of a step."""
    channels = embedding.reshape(len(embedding), -1)
    least = channels.min(axis=1, keepdims=True)
    step = np.maximum((channels.max(axis=1, keepdims=True) - least) / _STEPS, np.float32(1e-30))
    steps = np.clip(np.rint((channels - least) / step), 0, _STEPS).astype(np.uint16)
    ranges = np.ascontiguousarray(np.concatenate([least, step], axis=1), np.float32)
    return np.concatenate([steps, ranges.view(np.uint16)], axis=1)


def unpack(packed: NDArray[np.uint16], shape: tuple[int, int, int]) -> Float32:
    """[E, h, w] again."""
    least, step = np.ascontiguousarray(packed[:, -_RANGE_WORDS:]).view(np.float32).T
    values = packed[:, :-_RANGE_WORDS].astype(np.float32)
    values *= step[:, None]
    values += least[:, None]
    return values.reshape(shape)
