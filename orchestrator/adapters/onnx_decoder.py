"""The decoder's graphs (see `export/decoder.py`) on ONNX Runtime."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime import OrtValue

from orchestrator.adapters.onnx_graph import OnnxGraph, Slice
from orchestrator.domain.model import Manifest
from orchestrator.usecases.ports.engines import Float32

CACHE_BYTES = 16 << 20
"""Of image tokens that one call transforms on a CPU: with 32 MB a prompt takes a sixth longer."""

MOST_PROMPTS = 64
MASK_ROWS = 4
"""Prompts upscaled by one run: their intermediate values stay in the CPU's caches."""


class OnnxDecoder:
    """Without state between calls: every picture has a session of its own."""

    def __init__(self, folder: Path, model: Manifest, threads: int) -> None:
        self.image = OnnxGraph(folder / "image.onnx", threads)
        self.point = OnnxGraph(folder / "point.onnx", threads)
        self.prompt = OnnxGraph(folder / "prompt.onnx", threads)
        self.mask = OnnxGraph(folder / "mask.onnx", threads)
        self._mask_prompt = OnnxGraph(folder / "mask_prompt.onnx", threads)
        self._channels = model.embedding_shape[0]
        tokens = 4 * int(np.prod(model.embedding_shape))
        self._prompts = max(1, min(MOST_PROMPTS, CACHE_BYTES // tokens))

    @property
    def prompts_at_once(self) -> int:
        return MOST_PROMPTS if self.prompt.device == "cuda" else self._prompts

    def open(self, embedding: Float32, mask_input: Float32 | None = None) -> "OnnxDecoderSession":
        dense: Float32 | OrtValue = np.zeros((self._channels, 1, 1), np.float32)
        if mask_input is not None:
            dense = self._mask_prompt.run({"logits": mask_input[None]})["dense"]
        return OnnxDecoderSession(self, self.image.run({"embedding": embedding, "dense": dense}))


class OnnxDecoderSession:
    def __init__(self, decoder: OnnxDecoder, shared: dict[str, OrtValue]) -> None:
        self._decoder = decoder
        self._shared = shared

    def scores(self, coords: Float32, labels: NDArray[np.int32]) -> "OnnxScores":
        points = self._decoder.point.run({"coords": coords, "labels": labels})
        answer = self._decoder.prompt.run({**self._shared, **points}, host=("iou", "hyper"))
        return OnnxScores(self._decoder, answer)


class OnnxScores:
    """Holds the prompts' image tokens, on the decoder's device, until it is dropped."""

    def __init__(self, decoder: OnnxDecoder, answer: dict[str, OrtValue]) -> None:
        self._decoder = decoder
        self._answer = answer

    @cached_property
    def iou(self) -> Float32:
        return np.asarray(self._answer["iou"].numpy(), np.float32)

    def masks(self, keep: NDArray[np.bool_]) -> Float32:
        hyper = self._answer["hyper"].numpy()
        made: list[Float32] = []
        for start, stop in _even_runs(keep.sum(axis=1), MASK_ROWS):
            chosen = hyper[start:stop][keep[start:stop]].reshape(stop - start, -1, hyper.shape[2])
            tokens = Slice(self._answer["tokens"], start, stop)
            logits = self._decoder.mask.run({"tokens": tokens, "hyper": chosen}, host=("logits",))["logits"]
            made.append(logits.numpy().astype(np.float32, copy=False).reshape(-1, *logits.shape()[2:]))
        return np.concatenate(made) if made else np.zeros((0, 0, 0), np.float32)


def _even_runs(counts: NDArray[np.int64], longest: int) -> Iterator[tuple[int, int]]:
    """Neighbours with the same count, none with 0, at most `longest` together: (start, stop)."""
    start = 0
    for stop in range(1, len(counts) + 1):
        if stop == len(counts) or counts[stop] != counts[start] or stop - start == longest:
            if counts[start]:
                yield start, stop
            start = stop
