"""A grid of points on a picture → all its masks, as the official `SamAutomaticMaskGenerator` finds them.

What is decided is the same, but for empty masks, which go whatever the thresholds say. What it costs is not: predicted
IoUs are known before any mask is made, so only prompts that pass are upscaled; a mask is made at full size only inside
its own window; runs are encoded from there, and packed at once, as there may be thousands of candidates. Memory
follows the batch, not the picture.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain import grid, masks, nms, prompts, regions, rle
from orchestrator.domain.errors import InvalidPrompt
from orchestrator.domain.geometry import Size
from orchestrator.domain.grid import CropBox, Options
from orchestrator.domain.image import Image
from orchestrator.domain.masks import Mask, Shape
from orchestrator.domain.model import Manifest
from orchestrator.domain.upscale import Upscaler, upscaler
from orchestrator.usecases.models import Models
from orchestrator.usecases.ports.engines import Decoder, Decoders, DecoderSession, Float32, Progress
from orchestrator.usecases.segment import CANDIDATES, Segment, Segmentation
from orchestrator.usecases.stopwatch import Stopwatch

MOST_ENCODERS = 16
"""Crops on their way to the encoder at most, of all requests together."""

MOST_CANDIDATES = 30_000
"""Masks of one crop that pass the thresholds; with more, the thresholds let everything through."""

EDGE_TOLERANCE = 20
"""Pixels from a crop's edge at which a mask counts as cut off by it: the official `is_box_near_crop_edge`."""


@dataclass(frozen=True)
class Candidate:
    """A mask that passed the thresholds. `box` x0, y0, x1, y1 and `counts`, its packed runs, in the picture's frame."""

    box: tuple[int, int, int, int]
    counts: str
    area: int
    predicted_iou: float
    stability_score: float
    point: tuple[float, float]
    crop: CropBox


class Automatic:
    """`workers`: threads that make masks at full size while the decoder runs."""

    def __init__(self, models: Models, decoders: Decoders, segment: Segment, workers: int) -> None:
        self._models = models
        self._decoders = decoders
        self._segment = segment
        self._pool = ThreadPoolExecutor(workers, "masks")
        self._encoders = ThreadPoolExecutor(MOST_ENCODERS, "crops")

    def generate(
        self,
        image: Image,
        options: Options,
        model_name: str,
        watch: Stopwatch,
        progress: Progress = lambda _: None,
    ) -> Segmentation:
        """Raises what `Segment` raises, and whatever `progress` raises."""
        size = (image.height, image.width)
        model = self._models.require(model_name)
        decoder = self._decoders.get(model)
        layers = grid.crop_layers(size, options.crop_n_layers, options.crop_overlap_ratio)
        options.must_be_few_enough(layers)
        counts = {
            (layer, crop): count
            for layer, crops in enumerate(layers)
            for crop in crops
            if (count := len(options.layer_points(layer, crop)))
        }
        steps = _Steps(sum(counts.values()), progress)
        embeddings = self._embeddings(image, [crop for _, crop in counts], model, watch)
        found: list[Candidate] = []
        for (layer, crop), embedding in zip(counts, embeddings, strict=True):
            with watch.stage("decode"):
                session = decoder.open(embedding)
            work = _Crop(crop, size, model, options, upscaler(_size(crop), model.image_side))
            found += work.candidates(session, options.layer_points(layer, crop), decoder, self._pool, watch, steps)
        with watch.stage("merge"):
            if len(layers) > 1:
                found = _merge_crops(found, options.crop_nms_thresh)
            kept = _limit(_tidy(found, size, options, steps), size, options)
        return Segmentation(size, model, tuple(_record(candidate, size) for candidate in kept))

    def _embeddings(
        self, image: Image, asked: Sequence[CropBox], model: Manifest, watch: Stopwatch
    ) -> Iterator[Float32]:
        """In order; twice a batch of the encoder is under way ahead of what is being decoded."""

        def encode(crop: CropBox) -> Float32:
            return self._segment.embed(image, model, watch, crop)

        crops = iter(asked)
        at_once = min(2 * model.max_batch_size, MOST_ENCODERS)
        ahead = [self._encoders.submit(encode, crop) for crop in islice(crops, at_once)]
        try:
            while ahead:
                embedding = ahead.pop(0).result()
                ahead += [self._encoders.submit(encode, crop) for crop in islice(crops, 1)]
                yield embedding
        finally:
            for future in ahead:
                future.cancel()


class _Steps:
    """Counts prompts for `progress`."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._total = max(total, 1)
        self._done = 0
        self._progress = progress

    def add(self, count: int) -> None:
        self._done += count
        self._progress(self._done / self._total)


@dataclass(frozen=True)
class _Crop:
    """One crop's work: batches of points through the decoder, masks through the thresholds."""

    crop: CropBox
    picture: Size
    model: Manifest
    options: Options
    upscaler: Upscaler

    def candidates(
        self,
        session: DecoderSession,
        points: grid.Points,
        decoder: Decoder,
        pool: Executor,
        watch: Stopwatch,
        steps: _Steps,
    ) -> list[Candidate]:
        """Without duplicates, best first."""
        found: list[Candidate] = []
        at_once = min(decoder.prompts_at_once, self.options.points_per_batch or decoder.prompts_at_once)
        for start in range(0, len(points), at_once):
            batch = points[start : start + at_once]
            steps.add(0)
            with watch.stage("decode"):
                logits, ious, rows = self._decode(session, batch)
            with watch.stage("masks"):
                asked = zip(logits, ious, batch[rows], strict=True)
                made = pool.map(lambda each: self._candidate(*each), asked)
                found += [candidate for candidate in made if candidate]
            if len(found) > MOST_CANDIDATES:
                raise InvalidPrompt(
                    f"More than {MOST_CANDIDATES:,} masks pass the thresholds before duplicates are removed; "
                    f"raise pred_iou_thresh or stability_score_thresh."
                )
            steps.add(len(batch))
        with watch.stage("merge"):
            boxes = np.array([each.box for each in found], np.float32).reshape(-1, 4)
            scores = np.array([each.predicted_iou for each in found], np.float32)
            return [found[index] for index in nms.keep(boxes, scores, self.options.box_nms_thresh)]

    def _decode(self, session: DecoderSession, points: grid.Points) -> tuple[Float32, Float32, NDArray[np.int64]]:
        """Low-res logits of what passes the IoU threshold, their predicted IoUs, and the point that each is of."""
        asked = prompts.each_point(points)
        scores = session.scores(asked.in_model_frame(self.upscaler.size, self.model.image_side), asked.labels)
        keep = np.zeros(scores.iou.shape, np.bool_)
        keep[:, CANDIDATES] = True
        if self.options.pred_iou_thresh > 0:
            keep &= scores.iou > self.options.pred_iou_thresh
        return scores.masks(keep), scores.iou[keep], np.nonzero(keep)[0]

    def _candidate(self, low: Float32, iou: float, point: grid.Points) -> Candidate | None:
        threshold, options = self.model.mask_threshold, self.options
        seen = masks.look(low, self.upscaler, threshold, options.stability_score_offset)
        if seen is None:
            return None
        found, stability = seen
        if options.stability_score_thresh > 0 and stability < options.stability_score_thresh:
            return None
        x0, y0, _, _ = self.crop
        found = Shape(found.inside, found.x + x0, found.y + y0)
        box = found.bounds()
        if self._is_cut_off(box):
            return None
        counts, area = found.encode(self.picture).counts, found.area
        return Candidate(box, counts, area, float(iou), stability, (point[0] + x0, point[1] + y0), self.crop)

    def _is_cut_off(self, box: tuple[int, int, int, int]) -> bool:
        """Near the crop's edge, but not near the picture's."""
        height, width = self.picture
        edges = zip(box, self.crop, (0, 0, width, height), strict=True)
        return any(abs(side - cut) <= EDGE_TOLERANCE and abs(side - end) > EDGE_TOLERANCE for side, cut, end in edges)


def _size(crop: CropBox) -> Size:
    x0, y0, x1, y1 = crop
    return (y1 - y0, x1 - x0)


def _merge_crops(found: list[Candidate], threshold: float) -> list[Candidate]:
    """Duplicates between crops go; those of smaller crops are preferred."""
    boxes = np.array([each.box for each in found], np.float32).reshape(-1, 4)
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (each.crop for each in found)]
    scores = np.float32(1) / np.array(areas, np.float32)
    return [found[index] for index in nms.keep(boxes, scores, threshold)]


def _tidy(found: list[Candidate], size: Size, options: Options, steps: _Steps) -> list[Candidate]:
    """The official `postprocess_small_regions`: without small holes and islands, then without new duplicates."""
    if not found or not (options.holes or options.islands):
        return found
    tidied, unchanged = [], []
    for candidate in found:
        steps.add(0)
        shape, changed = regions.tidy(_shape(candidate, size), size, options.holes, options.islands)
        unchanged.append(0.0 if changed else 1.0)
        if changed:
            tidied.append(replace(candidate, box=shape.bounds(), counts=shape.encode(size).counts, area=shape.area))
        else:
            tidied.append(candidate)
    boxes = np.array([each.box for each in tidied], np.float32)
    threshold = max(options.box_nms_thresh, options.crop_nms_thresh)
    return [tidied[index] for index in nms.keep(boxes, np.array(unchanged, np.float32), threshold)]


def _shape(candidate: Candidate, size: Size) -> Shape:
    x0, y0, x1, y1 = candidate.box
    runs = rle.unpack(candidate.counts)
    return Shape(rle.window_of_runs(runs, (x0, y0, x1 + 1, y1 + 1), size[0]), x0, y0)


def _limit(found: list[Candidate], size: Size, options: Options) -> list[Candidate]:
    """What the caller does not want: outside of the region of interest, too large, too many."""
    if options.roi is not None:
        found = [each for each in found if _in_roi(each, size, options.roi)]
    if options.max_area is not None:
        found = [each for each in found if each.area <= options.max_area]
    if options.max_masks is not None:
        found = sorted(found, key=lambda each: -each.predicted_iou)[: options.max_masks]
    return found


def _in_roi(candidate: Candidate, size: Size, roi: NDArray[np.bool_]) -> bool:
    x0, y0, x1, y1 = candidate.box
    inside = _shape(candidate, size).inside
    within = np.count_nonzero(inside & roi[y0 : y1 + 1, x0 : x1 + 1].T)
    return bool(2 * within >= np.count_nonzero(inside))


def _record(candidate: Candidate, size: Size) -> Mask:
    x0, y0, x1, y1 = candidate.box
    left, top, right, bottom = candidate.crop
    return Mask(
        segmentation=rle.Rle(size, candidate.counts),
        bbox=(x0, y0, x1 - x0, y1 - y0),
        area=candidate.area,
        predicted_iou=candidate.predicted_iou,
        stability_score=candidate.stability_score,
        point_coords=(candidate.point,),
        crop_box=(left, top, right - left, bottom - top),
    )
