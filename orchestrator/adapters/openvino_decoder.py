"""The decoder's graphs (see `export/decoder.py`) on OpenVINO, which compiles them for fixed shapes.

So numbers of prompts are rounded up to a power of two by repeating the last prompt, and masks are made for all outputs
of a prompt, which costs next to nothing beside the upscaling that they share.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.adapters.openvino_graph import OpenVinoGraph, Outputs, Precision
from orchestrator.domain.model import Manifest
from orchestrator.usecases.ports.engines import Float32

CACHE_BYTES = 16 << 20
"""Of image tokens, counted in float32, that one call transforms: with 32 MB a prompt takes a tenth longer."""

MOST_PROMPTS = 32
MASK_ROWS = 4
"""Prompts upscaled by one run: their intermediate values stay in the caches."""

_SHARED = ("keys", "keys_k", "keys_v", "keys_q")
_HALVES: dict[str, Sequence[str]] = {
    "image": _SHARED,
    "prompt": (*_SHARED, "tokens"),
    "mask": ("tokens",),
    "mask_prompt": (),
}
"""The graphs, and what passes between them."""


class OpenVinoDecoder:
    """Without state between calls: every picture has a session of its own."""

    def __init__(self, folder: Path, model: Manifest, *, threads: int, precision: Precision) -> None:
        self._image, self.prompt, self.mask, self._mask_prompt = (
            OpenVinoGraph(folder / f"{name}.onnx", threads, precision, halves, fused_attention=False)
            for name, halves in _HALVES.items()
        )
        # In bfloat16 a position, an angle of many turns, would be off by pixels.
        self.point = OpenVinoGraph(folder / "point.onnx", threads, "f32")
        self._channels = model.embedding_shape[0]
        fitting = CACHE_BYTES // (4 * int(np.prod(model.embedding_shape)))
        self._prompts = min(MOST_PROMPTS, 1 << max(0, fitting.bit_length() - 1))

    @property
    def prompts_at_once(self) -> int:
        return self._prompts

    def open(self, embedding: Float32, mask_input: Float32 | None = None) -> "OpenVinoDecoderSession":
        dense: Float32 = np.zeros((self._channels, 1, 1), np.float32)
        if mask_input is not None:
            dense = self._mask_prompt.arrays({"logits": mask_input[None]})["dense"]
        return OpenVinoDecoderSession(self, self._image.run({"embedding": embedding, "dense": dense}))


class OpenVinoDecoderSession:
    def __init__(self, decoder: OpenVinoDecoder, shared: Outputs) -> None:
        self._decoder = decoder
        self._shared = shared

    def scores(self, coords: Float32, labels: NDArray[np.int32]) -> "OpenVinoScores":
        count = len(coords)
        rows = np.minimum(np.arange(1 << (count - 1).bit_length()), count - 1)
        points = self._decoder.point.arrays({"coords": coords[rows], "labels": labels[rows]})
        shared = {name: self._shared[name] for name in _SHARED}
        return OpenVinoScores(self._decoder, self._decoder.prompt.run(shared | points), count)


class OpenVinoScores:
    """Holds the prompts' image tokens until it is dropped."""

    def __init__(self, decoder: OpenVinoDecoder, answer: Outputs, count: int) -> None:
        self._decoder = decoder
        self._answer = answer
        self._count = count

    @cached_property
    def iou(self) -> Float32:
        return np.array(self._answer["iou"][: self._count], np.float32)

    def masks(self, keep: NDArray[np.bool_]) -> Float32:
        tokens, hyper = self._answer["tokens"], self._answer["hyper"]
        made: list[Float32] = []
        for start, stop in _runs(keep.any(axis=1), MASK_ROWS):
            drawn = self._decoder.mask.run({"tokens": tokens[start:stop], "hyper": hyper[start:stop]})
            made.append(drawn["logits"][keep[start:stop]])
        return np.concatenate(made) if made else np.zeros((0, 0, 0), np.float32)


def _runs(wanted: NDArray[np.bool_], longest: int) -> Iterator[tuple[int, int]]:
    """Neighbours that are wanted, at most `longest` together: (start, stop)."""
    start = 0
    for stop in range(1, len(wanted) + 1):
        if stop == len(wanted) or wanted[stop] != wanted[start] or stop - start == longest:
            if wanted[start]:
                yield start, stop
            start = stop
