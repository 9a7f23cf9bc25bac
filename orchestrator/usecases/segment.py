"""Prompts on a picture → masks."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain import masks
from orchestrator.domain.errors import InvalidPrompt, ModelNotLoaded
from orchestrator.domain.geometry import Size, to_model_input
from orchestrator.domain.image import Image
from orchestrator.domain.masks import Mask
from orchestrator.domain.model import Manifest
from orchestrator.domain.prompts import BACKGROUND, FOREGROUND, Prompts
from orchestrator.domain.upscale import upscaler
from orchestrator.usecases.models import Models
from orchestrator.usecases.ports import Decoders, DecoderSession, Encoder, Float32, Progress
from orchestrator.usecases.stopwatch import Stopwatch

SINGLE, CANDIDATES = slice(0, 1), slice(1, None)
"""The decoder's columns: one mask for prompts that leave no doubt, or whole, part and subpart."""


@dataclass(frozen=True)
class Segmentation:
    """The masks of a picture of `size`, and the model that made them."""

    size: Size
    model: Manifest
    masks: tuple[Mask, ...]


class Segment:
    """Points, boxes and both, as the official `SamPredictor` answers them. Keeps no state between calls."""

    def __init__(self, models: Models, encoder: Encoder, decoders: Decoders) -> None:
        self._models = models
        self._encoder = encoder
        self._decoders = decoders

    def single(
        self,
        image: Image,
        prompts: Prompts,
        model_name: str,
        watch: Stopwatch,
        *,
        multimask: bool = True,
        mask_input: Float32 | None = None,
        progress: Progress = lambda _: None,
    ) -> Segmentation:
        """One prompt, answered by up to three candidates, best first, or by one mask."""
        columns = CANDIDATES if multimask else SINGLE
        answer = self._segment(image, prompts, columns, model_name, watch, progress, mask_input)
        best_first = sorted(answer.masks, key=lambda mask: -mask.predicted_iou)
        return Segmentation(answer.size, answer.model, tuple(best_first))

    def boxes(
        self,
        image: Image,
        prompts: Prompts,
        model_name: str,
        watch: Stopwatch,
        progress: Progress = lambda _: None,
    ) -> Segmentation:
        """One mask per box, in their order."""
        return self._segment(image, prompts, SINGLE, model_name, watch, progress)

    def _segment(
        self,
        image: Image,
        prompts: Prompts,
        columns: slice,
        model_name: str,
        watch: Stopwatch,
        progress: Progress,
        mask_input: Float32 | None = None,
    ) -> Segmentation:
        progress(0.0)
        size = (image.height, image.width)
        model = self._models.require(model_name)
        if mask_input is not None and mask_input.shape != (model.low_res_side,) * 2:
            side = model.low_res_side
            raise InvalidPrompt(f"A mask prompt for {model_name} is of {side}×{side} low-res logits.")
        embedding = self.embed(image, model, watch)
        decoder = self._decoders.get(model)
        with watch.stage("decode"):
            session = decoder.open(embedding, mask_input)
        found: list[Mask] = []
        for part in _chunks(prompts, decoder.prompts_at_once):
            progress(len(found) / len(prompts))
            found += _decode(session, part, columns, model, size, watch)
        return Segmentation(size, model, tuple(found))

    def embed(self, image: Image, model: Manifest, watch: Stopwatch) -> Float32:
        """The picture's embedding; a model that was unloaded meanwhile is loaded again, once."""
        with watch.stage("prepare"):
            picture = to_model_input(image, model.image_side)
        with watch.stage("encode"):
            try:
                embedding = self._encoder.encode(model, picture)
            except ModelNotLoaded:
                self._models.forget(model.variant)
                self._models.require(model.variant)
                embedding = self._encoder.encode(model, picture)
        self._models.must_still_be(model)
        return embedding


def _decode(
    session: DecoderSession, prompts: Prompts, columns: slice, model: Manifest, size: Size, watch: Stopwatch
) -> list[Mask]:
    with watch.stage("decode"):
        coords = prompts.in_model_frame(size, model.image_side)
        scores = session.scores(coords, prompts.labels)
        keep = np.zeros(scores.iou.shape, np.bool_)
        keep[:, columns] = True
        logits = scores.masks(keep)
    with watch.stage("masks"):
        rows, _ = np.nonzero(keep)
        scaler = upscaler(size, model.image_side)
        return [
            masks.describe(mask, float(iou), model.mask_threshold, scaler, _points(prompts, row))
            for mask, iou, row in zip(logits, scores.iou[keep], rows, strict=True)
        ]


def _points(prompts: Prompts, row: int) -> list[tuple[float, float]]:
    """The clicked points among a prompt's tokens."""
    clicked: NDArray[np.bool_] = np.isin(prompts.labels[row], (BACKGROUND, FOREGROUND))
    return [(float(x), float(y)) for x, y in prompts.coords[row][clicked]]


def _chunks(prompts: Prompts, count: int) -> Iterator[Prompts]:
    for start in range(0, len(prompts), count):
        yield Prompts(prompts.coords[start : start + count], prompts.labels[start : start + count])
