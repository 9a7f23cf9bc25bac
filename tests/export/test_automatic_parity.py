"""Automatic masks against the official generator: the same decisions, the same masks."""

from typing import Any

import pytest
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam

from orchestrator import bootstrap
from orchestrator.bootstrap import Engines
from orchestrator.domain.grid import Options
from orchestrator.domain.image import Image
from orchestrator.settings import Settings
from orchestrator.usecases.stopwatch import Stopwatch
from tests.bench.agreement import compare, pairs
from tests.conftest import REPOSITORY
from tests.pictures import draw

CASES: dict[str, dict[str, Any]] = {
    "lenient": {"points_per_side": 8, "pred_iou_thresh": 0.75, "stability_score_thresh": 0.4},
    "official": {"points_per_side": 10, "pred_iou_thresh": 0.88, "stability_score_thresh": 0.95},
    "without thresholds": {"points_per_side": 4, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0},
    "small regions removed": {
        "points_per_side": 8,
        "pred_iou_thresh": 0.75,
        "stability_score_thresh": 0.4,
        "min_mask_region_area": 800,
    },
    "a layer of crops": {
        "points_per_side": 6,
        "pred_iou_thresh": 0.75,
        "stability_score_thresh": 0.4,
        "crop_n_layers": 1,
        "crop_n_points_downscale_factor": 2,
    },
    "another offset and stricter suppression": {
        "points_per_side": 8,
        "pred_iou_thresh": 0.75,
        "stability_score_thresh": 0.5,
        "stability_score_offset": 0.5,
        "box_nms_thresh": 0.4,
    },
}


@pytest.fixture(scope="module")
def engines() -> Engines:
    return bootstrap.engines(Settings(model_repository=REPOSITORY, _env_file=None))


@pytest.mark.parametrize("parameters", CASES.values(), ids=CASES)
@pytest.mark.parametrize("size", [(300, 420), (500, 260)])
def test_the_masks_are_the_official_generators(
    engines: Engines, sam: Sam, size: tuple[int, int], parameters: dict[str, Any]
) -> None:
    pixels = draw(*size, seed=7)
    official = SamAutomaticMaskGenerator(sam, output_mode="coco_rle", **parameters).generate(pixels)
    options = Options(**{"min_mask_region_area": 0} | parameters)
    ours = engines.automatic.generate(Image(pixels), options, "tiny", Stopwatch()).masks
    agreement = compare(official, ours)
    assert official, "nothing to compare"
    assert agreement.found >= 0.99
    assert agreement.right >= 0.99
    assert abs(len(official) - len(ours)) <= 0.01 * len(official)
    matched = list(pairs(official, ours))
    assert len(matched) >= 0.99 * len(official)
    for record, mask in matched:
        assert list(mask.bbox) == pytest.approx(record["bbox"], abs=1)
        assert mask.area == pytest.approx(record["area"], rel=0.01, abs=2)
        assert mask.predicted_iou == pytest.approx(record["predicted_iou"], abs=1e-3)
        assert mask.stability_score == pytest.approx(record["stability_score"], abs=5e-3)
        assert list(mask.crop_box) == record["crop_box"]
