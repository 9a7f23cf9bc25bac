"""The quick automatic masks are the official generator's."""

import numpy as np
import pytest
from segment_anything import SamAutomaticMaskGenerator, SamPredictor

from export.tiny import automatic, weights
from export.tiny.scenes import scene


def test_automatic_masks_equal_the_official_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automatic, "PREDICTED_IOU", 0.8)  # low, so that there is something to compare
    monkeypatch.setattr(automatic, "STABILITY", 0.6)
    sam = weights.load()
    drawn = scene(920_000, 256)
    official = SamAutomaticMaskGenerator(
        sam, points_per_side=8, pred_iou_thresh=0.8, stability_score_thresh=0.6
    ).generate(drawn.image)
    wanted = np.array([record["segmentation"] for record in official])
    found = automatic.automatic_masks(SamPredictor(sam), drawn.image, points_per_side=8)
    if not len(wanted):
        pytest.fail("a comparison without masks shows nothing")
    assert found.shape == wanted.shape
    assert (found != wanted).mean() < 1e-4
