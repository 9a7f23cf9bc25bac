"""A picture and prompts, or a grid → its objects, cut out."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from orchestrator.domain import alpha, cutout, prompts
from orchestrator.domain.cutout import CutoutOptions
from orchestrator.domain.geometry import Size
from orchestrator.domain.grid import Options
from orchestrator.domain.image import Image
from orchestrator.domain.masks import Box, Mask
from orchestrator.domain.model import Manifest
from orchestrator.domain.prompts import Prompts
from orchestrator.domain.upscale import Window, upscaler
from orchestrator.usecases.automatic import Automatic
from orchestrator.usecases.ports.engines import Decoders, Float16, Progress
from orchestrator.usecases.segment import CANDIDATES, Segment, Segmentation
from orchestrator.usecases.stopwatch import Stopwatch


@dataclass(frozen=True)
class ExtractedObject:
    """`mask`: its record; `box` [x, y, w, h] of the PNG in the picture's frame; `png`: the file."""

    mask: Mask
    box: Box
    png: bytes


@dataclass(frozen=True)
class Extraction:
    """The objects of a picture of `size`, largest first, and the model that found them."""

    size: Size
    model: Manifest
    objects: tuple[ExtractedObject, ...]


class Extract:
    """Segmentation, then a cut-out of each mask."""

    def __init__(self, segment: Segment, automatic: Automatic, decoders: Decoders) -> None:
        self._segment = segment
        self._automatic = automatic
        self._decoders = decoders

    def extract(
        self,
        image: Image,
        asked: Prompts | Options,
        how: CutoutOptions,
        model_name: str,
        watch: Stopwatch,
        progress: Progress = lambda _: None,
    ) -> Extraction:
        """One object for each box, the best one for a prompt of points, or all that a grid finds; largest first.

        Raises what `Segment` and `Automatic` raise, and whatever `progress` raises.
        """
        finding = _part_of(progress, 0.0, 0.5)
        if isinstance(asked, Options):
            found = self._automatic.generate(image, asked, model_name, watch, finding)
        elif asked.are_points:
            found = self._segment.single(image, asked, model_name, watch, progress=finding)
            found = found.chosen([0])
        else:
            found = self._segment.boxes(image, asked, model_name, watch, finding, keep_logits=True)
        return self.cut(image, largest(found, how), how, watch, _part_of(progress, 0.5, 1.0))

    def cut(
        self,
        image: Image,
        found: Segmentation,
        how: CutoutOptions,
        watch: Stopwatch,
        progress: Progress = lambda _: None,
    ) -> Extraction:
        """A cut-out of each mask, in their order."""
        model, objects = found.model, dict[int, ExtractedObject]()
        # Crop by crop, so that each crop's decoder session is opened once.
        order = sorted(range(len(found.masks)), key=lambda index: found.masks[index].crop_box)
        lows = self._logits(image, found.chosen(order), how, watch)
        for index, low in zip(order, lows, strict=True):
            progress(len(objects) / len(order))
            mask = found.masks[index]
            with watch.stage("cut"):
                window = None if low is None else _window(low, mask.crop_box, model)
                _, _, wide, high = mask.crop_box
                feather = cutout.usual_feather((high, wide), model.low_res_side)
                made = cutout.cut(image, mask, window, model.mask_threshold, feather, how)
                objects[index] = ExtractedObject(mask, made.box, made.to_png())
        progress(1.0)
        return Extraction(found.size, model, tuple(objects[index] for index in range(len(order))))

    def _logits(
        self, image: Image, found: Segmentation, how: CutoutOptions, watch: Stopwatch
    ) -> Iterator[Float16 | None]:
        """Low-res logits of each mask; None where its edges are hard."""
        if how.edges == "hard":
            yield from (None for _ in found.masks)
        elif found.logits:
            yield from found.logits
        else:
            yield from self._look_again(image, found, watch)

    def _look_again(self, image: Image, found: Segmentation, watch: Stopwatch) -> Iterator[Float16 | None]:
        """Automatic masks come without logits, which thousands of candidates would fill the memory with.

        Each is asked for again by its own point: of that prompt's candidates it is the one with its predicted IoU.
        """
        decoder, side = self._decoders.get(found.model), found.model.image_side
        session, crop_box = None, None
        for mask in found.masks:
            if len(mask.point_coords) != 1:
                yield None  # what asked for it is not known any more
                continue
            if session is None or mask.crop_box != crop_box:
                crop_box = mask.crop_box
                x, y, wide, high = crop_box
                embedding = self._segment.embed(image, found.model, watch, (x, y, x + wide, y + high))
                with watch.stage("decode"):
                    session = decoder.open(embedding)
            x, y, wide, high = mask.crop_box
            with watch.stage("decode"):
                asked = prompts.each_point(np.array(mask.point_coords, np.float64) - (x, y))
                scores = session.scores(asked.in_model_frame((high, wide), side), asked.labels)
                keep = np.zeros(scores.iou.shape, np.bool_)
                candidates = np.abs(scores.iou[0, CANDIDATES] - mask.predicted_iou)
                keep[0, CANDIDATES.start + int(candidates.argmin())] = True
                (logits,) = scores.masks(keep)
            yield logits.astype(np.float16)


def largest(found: Segmentation, how: CutoutOptions) -> Segmentation:
    """What is large enough, largest first."""
    order = sorted(range(len(found.masks)), key=lambda index: -found.masks[index].area)
    kept = [index for index in order if found.masks[index].area >= max(how.min_area, 1)][: how.max_objects]
    return found.chosen(kept)


def _window(low: Float16, crop_box: Box, model: Manifest) -> Window | None:
    """Logits in the picture's frame, wherever they can be seen."""
    x, y, wide, high = crop_box
    scaler = upscaler((high, wide), model.image_side)
    window = scaler.window(low.astype(np.float32), model.mask_threshold - alpha.FAINTEST)
    return window and Window(window.values, window.x + x, window.y + y)


def _part_of(progress: Progress, start: float, stop: float) -> Progress:
    return lambda share: progress(start + share * (stop - start))
