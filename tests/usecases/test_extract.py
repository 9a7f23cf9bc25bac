import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Pillow

from orchestrator.domain import prompts, rle
from orchestrator.domain.cutout import CutoutOptions
from orchestrator.domain.grid import Options
from orchestrator.domain.image import Image
from orchestrator.usecases.automatic import Automatic
from orchestrator.usecases.extract import Extract, Extraction
from orchestrator.usecases.segment import Segment
from orchestrator.usecases.stopwatch import Stopwatch
from tests.fakes import FakeDecoder, FakeEncoder
from tests.pictures import draw

SIZE = (200, 300)
IMAGE = Image(draw(*SIZE))
LOOSE = Options(points_per_side=4, pred_iou_thresh=0.55, stability_score_thresh=0.1, min_mask_region_area=0)
EVERY = replace(LOOSE, box_nms_thresh=1.0)
BOXES = prompts.from_boxes([[0, 0, 20, 20], [5, 5, 250, 150]], SIZE)


class Canceled(Exception):
    pass


@pytest.fixture
def extract(segment: Segment, automatic: Automatic, decoder: FakeDecoder) -> Extract:
    return Extract(segment, automatic, decoder)


def run(extract: Extract, asked: prompts.Prompts | Options, how: CutoutOptions = CutoutOptions()) -> Extraction:  # noqa: B008
    return extract.extract(IMAGE, asked, how, "tiny", Stopwatch())


def alpha_of(png: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Pillow.open(io.BytesIO(png)))[:, :, 3]


def test_each_box_gives_an_object(extract: Extract) -> None:
    found = run(extract, BOXES)
    assert len(found.objects) == 2
    assert found.size == SIZE
    for each in found.objects:
        x, y, wide, high = each.box
        assert (high, wide) == alpha_of(each.png).shape
        assert (x, y) == (0, 0)


def test_a_prompt_of_points_gives_its_best_candidate(extract: Extract) -> None:
    (only,) = run(extract, prompts.from_points([[5, 6]], None, None, SIZE)).objects
    assert only.mask.predicted_iou == pytest.approx(0.8)


def test_objects_come_largest_first_and_small_ones_go(extract: Extract) -> None:
    areas = [each.mask.area for each in run(extract, EVERY).objects]
    assert areas == sorted(areas, reverse=True)
    assert len(set(areas)) == 3
    assert len(run(extract, EVERY, CutoutOptions(min_area=areas[0])).objects) == areas.count(areas[0])
    assert len(run(extract, EVERY, CutoutOptions(max_objects=2)).objects) == 2
    assert run(extract, EVERY, CutoutOptions(min_area=10**9)).objects == ()


def test_automatic_objects_have_the_soft_edges_of_their_own_masks(extract: Extract) -> None:
    """Which candidate a mask was is found again by its predicted IoU: the fake's differ in height."""
    flat = Image(np.full((*SIZE, 3), 90, np.uint8))  # no colours to move the edge by
    for each in extract.extract(flat, EVERY, CutoutOptions(crop="full"), "tiny", Stopwatch()).objects:
        assert np.mean((alpha_of(each.png) >= 128) != rle.decode(each.mask.segmentation)) < 0.02


def test_crops_are_encoded_once_for_masks_and_edges(extract: Extract, encoder: FakeEncoder) -> None:
    assert run(extract, replace(EVERY, crop_n_layers=1)).objects
    assert encoder.encodings == 5


def test_hard_edges_need_no_second_look(extract: Extract, decoder: FakeDecoder) -> None:
    run(extract, LOOSE, CutoutOptions(edges="hard"))
    asked = sum(decoder.calls)
    run(extract, LOOSE)
    assert asked == 16
    assert sum(decoder.calls) == 2 * asked + 1


def test_progress_rises_to_one_and_may_end_the_work(extract: Extract) -> None:
    seen: list[float] = []
    extract.extract(IMAGE, EVERY, CutoutOptions(), "tiny", Stopwatch(), seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0

    def cancel(share: float) -> None:
        if share > 0.6:
            raise Canceled

    with pytest.raises(Canceled):
        extract.extract(IMAGE, EVERY, CutoutOptions(), "tiny", Stopwatch(), cancel)
