"""Training samples: prompts lie where they should, targets are whole and part."""

import numpy as np
import pytest

from export.tiny.samples import CELL, Sample, covers, sample
from export.tiny.scenes import scene
from export.tiny.stages import Stage

SIDE = 128
STAGE = Stage(SIDE, 1, 1, (1e-3, 1e-3), 8, 2, 4, 0, (0.5, 1.0), 0.5, 99)


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    drawn = [scene(910_000 + seed, 192) for seed in range(6)]
    rng = np.random.default_rng(3)
    made = [sample(rng, one, STAGE) for one in drawn]
    return [one for one in made if one is not None]


def test_a_sample_has_the_shapes_that_the_training_relies_on(samples: list[Sample]) -> None:
    rows = SIDE // CELL
    for one in samples:
        assert one.image.shape == (SIDE, SIDE, 3)
        assert one.chains.shape == (8, 3, rows, rows)
        assert one.boxed.shape == (4, rows, rows)


def test_nothing_is_shown_outside_the_picture(samples: list[Sample]) -> None:
    for one in samples:
        height, width = one.shown
        assert not one.image[height:].any()
        assert not one.image[:, width:].any()


def test_a_larger_target_contains_the_smaller_one(samples: list[Sample]) -> None:
    for one in samples:
        smallest, between, whole = one.chains.transpose(1, 0, 2, 3).astype(int)
        assert (smallest <= between + 1).all()
        assert (between <= whole + 1).all()


def test_a_box_surrounds_its_mask_but_for_the_jitter(samples: list[Sample]) -> None:
    for one in samples:
        for box, mask in zip(one.boxes, one.boxed, strict=True):
            rows, columns = np.nonzero(mask > 127)
            if len(rows):
                slack = 0.11 * (box[2:] - box[:2]).max() + 2 * CELL
                assert columns.min() * CELL >= box[0] - slack
                assert rows.max() * CELL <= box[3] + slack


def test_covers_counts_the_pixels_of_a_node_and_its_parts() -> None:
    owners = np.zeros((16, 16), np.uint8)
    owners[:8] = 1
    owners[:2, :2] = 2
    members = np.array([[False, False, False], [False, True, True], [False, False, True]])
    cover = covers(owners, members)
    assert cover[1, 0, 0] == 1.0
    assert cover[2, 0, 0] == 0.25
    assert cover[1, 3].max() == 0.0
