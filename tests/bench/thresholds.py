"""Thresholds for weights whose scores mean nothing."""

import numpy as np

from orchestrator.bootstrap import Engines
from orchestrator.domain import prompts
from orchestrator.domain.grid import point_grid
from orchestrator.domain.image import Image
from orchestrator.domain.masks import STABILITY_OFFSET, look
from orchestrator.domain.upscale import upscaler
from orchestrator.usecases.ports.engines import Float32, Scores
from orchestrator.usecases.stopwatch import Stopwatch
from tests.pictures import Pixels


def quantile_thresholds(engines: Engines, picture: Pixels, name: str) -> dict[str, float]:
    """For weights whose scores are low or random: 30 % of the masks pass the IoU threshold, 10 % both.

    Random logits are small: the stability's offset of 1 would be far outside of all of them, so it follows them.
    """
    model = engines.models.require(name)
    size = (picture.shape[0], picture.shape[1])
    decoder = engines.decoders.get(model)
    session = decoder.open(engines.segment.embed(Image(picture), model, Stopwatch()))
    asked = prompts.each_point(point_grid(8) * (size[1], size[0]))
    coords = asked.in_model_frame(size, model.image_side)
    parts = [slice(start, start + decoder.prompts_at_once) for start in range(0, len(coords), decoder.prompts_at_once)]
    scores = [session.scores(coords[part], asked.labels[part]).iou[:, 1:] for part in parts]
    iou = float(np.quantile(np.concatenate(scores), 0.7))
    passing = (_passing(session.scores(coords[part], asked.labels[part]), iou) for part in parts)
    logits = np.concatenate([each for each in passing if len(each)])
    offset = min(STABILITY_OFFSET, float(logits.std()) / 4)
    scaler = upscaler(size, model.image_side)
    seen = [look(low, scaler, model.mask_threshold, offset) for low in logits]
    stable = [found[1] if found else 0.0 for found in seen]
    return {
        "pred_iou_thresh": iou,
        "stability_score_thresh": max(float(np.quantile(stable, 2 / 3)), 1e-6),
        "stability_score_offset": offset,
    }


def _passing(scores: Scores, iou: float) -> Float32:
    """Low-res logits of the candidates whose predicted IoU is above `iou`; none are [0, 0, 0]."""
    keep = scores.iou > iou
    keep[:, 0] = False
    return scores.masks(keep)
