"""Prompts on a picture → masks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain import masks
from orchestrator.domain.errors import InvalidPrompt
from orchestrator.domain.geometry import Size
from orchestrator.domain.grid import CropBox
from orchestrator.domain.image import Image
from orchestrator.domain.masks import Mask
from orchestrator.domain.model import Manifest
from orchestrator.domain.prompts import BACKGROUND, FOREGROUND, Prompts
from orchestrator.domain.upscale import upscaler
from orchestrator.usecases.embeddings import Embeddings
from orchestrator.usecases.models import Models
from orchestrator.usecases.ports.engines import Decoders, DecoderSession, Float16, Float32, Progress
from orchestrator.usecases.stopwatch import Stopwatch

SINGLE, CANDIDATES = slice(0, 1), slice(1, None)
"""The decoder's columns: one mask for prompts that leave no doubt, or whole, part and subpart."""


@dataclass(frozen=True)
class Segmentation:
    """The masks of a picture of `size`, and the model that made them.

    `logits`: the low-res ones [S/4, S/4] of each mask where they were kept. Half precision moves no edge to be seen.
    """

    size: Size
    model: Manifest
    masks: tuple[Mask, ...]
    logits: tuple[Float16, ...] = ()

    def chosen(self, order: Sequence[int]) -> "Segmentation":
        """Only those masks, in that order."""
        logits = tuple(self.logits[index] for index in order) if self.logits else ()
        return replace(self, masks=tuple(self.masks[index] for index in order), logits=logits)


class Segment:
    """Points, boxes and both, as the official `SamPredictor` answers them. Keeps no state between calls."""

    def __init__(self, models: Models, embeddings: Embeddings, decoders: Decoders) -> None:
        self._models = models
        self._embeddings = embeddings
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
        answer = self._segment(image, prompts, columns, model_name, watch, progress, mask_input, keep_logits=True)
        return answer.chosen(sorted(range(len(answer.masks)), key=lambda index: -answer.masks[index].predicted_iou))

    def boxes(
        self,
        image: Image,
        prompts: Prompts,
        model_name: str,
        watch: Stopwatch,
        progress: Progress = lambda _: None,
        *,
        keep_logits: bool = False,
    ) -> Segmentation:
        """One mask per box, in their order."""
        return self._segment(image, prompts, SINGLE, model_name, watch, progress, keep_logits=keep_logits)

    def _segment(
        self,
        image: Image,
        prompts: Prompts,
        columns: slice,
        model_name: str,
        watch: Stopwatch,
        progress: Progress,
        mask_input: Float32 | None = None,
        *,
        keep_logits: bool,
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
        kept: list[Float16] = []
        for start in range(0, len(prompts), decoder.prompts_at_once):
            progress(start / len(prompts))
            part = prompts.part(start, start + decoder.prompts_at_once)
            made, logits = _decode(session, part, columns, model, size, watch)
            found += made
            kept += list(logits.astype(np.float16)) if keep_logits else []
        return Segmentation(size, model, tuple(found), tuple(kept))

    def embed(self, image: Image, model: Manifest, watch: Stopwatch, crop: CropBox | None = None) -> Float32:
        """The embedding of a picture, or of a crop of it."""
        return self._embeddings.get(image, model, watch, crop)


def _decode(
    session: DecoderSession, prompts: Prompts, columns: slice, model: Manifest, size: Size, watch: Stopwatch
) -> tuple[list[Mask], Float32]:
    """Masks and their low-res logits [K, S/4, S/4]."""
    with watch.stage("decode"):
        coords = prompts.in_model_frame(size, model.image_side)
        scores = session.scores(coords, prompts.labels)
        keep = np.zeros(scores.iou.shape, np.bool_)
        keep[:, columns] = True
        logits = scores.masks(keep)
    with watch.stage("masks"):
        rows, _ = np.nonzero(keep)
        scaler = upscaler(size, model.image_side)
        found = [
            masks.describe(mask, float(iou), model.mask_threshold, scaler, _points(prompts, row))
            for mask, iou, row in zip(logits, scores.iou[keep], rows, strict=True)
        ]
    return found, logits


def _points(prompts: Prompts, row: int) -> list[tuple[float, float]]:
    """The clicked points among a prompt's tokens."""
    clicked: NDArray[np.bool_] = np.isin(prompts.labels[row], (BACKGROUND, FOREGROUND))
    return [(float(x), float(y)) for x, y in prompts.coords[row][clicked]]
