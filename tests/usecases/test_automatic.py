import time
from dataclasses import replace

import numpy as np
import pytest

from orchestrator.domain import rle
from orchestrator.domain.errors import DeadlineExceeded
from orchestrator.domain.grid import Options
from orchestrator.domain.image import Image
from orchestrator.usecases.automatic import Automatic
from orchestrator.usecases.segment import Segmentation
from orchestrator.usecases.stopwatch import Deadline, Stopwatch
from tests.fakes import FakeDecoder, FakeEncoder
from tests.pictures import draw

SIZE = (200, 300)
IMAGE = Image(draw(*SIZE))
LOOSE = Options(points_per_side=4, pred_iou_thresh=0.55, stability_score_thresh=0.1, min_mask_region_area=0)


class Canceled(Exception):
    pass


def run(automatic: Automatic, options: Options) -> Segmentation:
    return automatic.generate(IMAGE, options, "tiny", Stopwatch())


def test_duplicates_leave_the_best_one(automatic: Automatic) -> None:
    (mask,) = run(automatic, LOOSE).masks
    assert mask.predicted_iou == pytest.approx(0.8)
    assert rle.decode(mask.segmentation)[:140].all()
    assert not rle.decode(mask.segmentation)[160:].any()


def test_progress_rises_to_one_between_batches(automatic: Automatic, decoder: FakeDecoder) -> None:
    seen: list[float] = []
    automatic.generate(IMAGE, LOOSE, "tiny", Stopwatch(), seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len(set(seen)) > len(decoder.calls) - 1


def test_what_progress_raises_ends_the_work_soon(automatic: Automatic, decoder: FakeDecoder) -> None:
    def cancel(share: float) -> None:
        if share > 0.3:
            raise Canceled

    with pytest.raises(Canceled):
        automatic.generate(IMAGE, LOOSE, "tiny", Stopwatch(), cancel)
    assert len(decoder.calls) < 4


def test_a_deadline_stops_the_work_and_says_how_far_it_came(automatic: Automatic) -> None:
    with pytest.raises(DeadlineExceeded, match="0% done after 1e-09 s"):
        automatic.generate(IMAGE, LOOSE, "tiny", Stopwatch(), Deadline(1e-9, time.monotonic()).check)


def test_each_crop_is_encoded_once(automatic: Automatic, encoder: FakeEncoder) -> None:
    run(automatic, Options(points_per_side=2, crop_n_layers=1, pred_iou_thresh=0.55, stability_score_thresh=0.1))
    assert encoder.encodings == 5


def test_a_batch_is_no_larger_than_asked_or_than_suits_the_machine(automatic: Automatic, decoder: FakeDecoder) -> None:
    run(automatic, Options(points_per_side=3, points_per_batch=2))
    run(automatic, Options(points_per_side=3, points_per_batch=500))
    assert decoder.calls == [2, 2, 2, 2, 1, 3, 3, 3]


def test_masks_outside_of_the_region_of_interest_are_dropped(automatic: Automatic) -> None:
    below = np.zeros(SIZE, np.bool_)
    below[120:] = True
    assert len(run(automatic, LOOSE).masks) == 1
    assert not run(automatic, replace(LOOSE, roi=below)).masks
    assert run(automatic, replace(LOOSE, roi=~below)).masks


def test_masks_that_are_too_large_or_too_many_are_dropped(automatic: Automatic) -> None:
    every = replace(LOOSE, box_nms_thresh=1.0)
    assert len(run(automatic, every).masks) == 48
    best = run(automatic, replace(every, max_masks=5)).masks
    assert [round(mask.predicted_iou, 2) for mask in best] == [0.8] * 5
    assert not run(automatic, replace(every, max_area=100)).masks


def test_points_of_ones_own_are_in_the_answer(automatic: Automatic) -> None:
    own = np.array([[30.0, 40.0]])
    (mask,) = run(automatic, replace(LOOSE, points=own)).masks
    assert mask.point_coords == ((30.0, 40.0),)


def test_no_points_give_no_masks(automatic: Automatic) -> None:
    assert run(automatic, replace(LOOSE, roi=np.zeros(SIZE, np.bool_))).masks == ()
