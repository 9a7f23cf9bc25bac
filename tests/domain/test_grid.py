import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from segment_anything.utils import amg
from torchvision.ops import nms as official_nms

from orchestrator.domain import grid, nms, regions
from orchestrator.domain.errors import InvalidPrompt
from orchestrator.domain.grid import Options
from orchestrator.domain.masks import Shape


@pytest.mark.parametrize("per_side", [1, 2, 7, 32])
def test_the_grid_is_the_official_one(per_side: int) -> None:
    assert np.array_equal(grid.point_grid(per_side), amg.build_point_grid(per_side))


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 4), st.floats(0, 0.9))
def test_crops_are_the_official_ones(height: int, width: int, layers: int, overlap: float) -> None:
    boxes, indexes = amg.generate_crop_boxes((height, width), layers, overlap)
    found = grid.crop_layers((height, width), layers, overlap)
    sound = [(box, layer) for box, layer in zip(boxes, indexes, strict=True) if box[0] < box[2] and box[1] < box[3]]
    assert [(list(box), layer) for layer, crops in enumerate(found) for box in crops] == sound


def test_the_grid_of_a_crop_layer_is_thinned_out() -> None:
    options = Options(points_per_side=16, crop_n_layers=2, crop_n_points_downscale_factor=2)
    assert [len(options.layer_points(layer, (0, 0, 9, 9))) for layer in range(3)] == [256, 64, 16]


def test_only_points_in_the_region_of_interest_are_asked() -> None:
    roi = np.zeros((100, 200), np.bool_)
    roi[:, :100] = True
    points = Options(points_per_side=10, roi=roi).layer_points(0, (0, 0, 200, 100))
    assert len(points) == 50
    assert points[:, 0].max() < 100
    shifted = Options(points_per_side=10, roi=roi).layer_points(1, (80, 0, 120, 100))
    assert len(shifted) == 50


def test_points_of_ones_own_are_asked_in_the_whole_picture_alone() -> None:
    own = np.array([[5.0, 6.0]])
    options = Options(points=own, crop_n_layers=1)
    assert np.array_equal(options.layer_points(0, (0, 0, 20, 20)), own)
    assert len(options.layer_points(1, (0, 0, 10, 10))) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"points_per_side": 0},
        {"points_per_side": 257},
        {"points_per_side": None},
        {"point_grids": [np.zeros((1, 2))]},
        {"points_per_side": None, "point_grids": [np.full((1, 2), 2.0)]},
        {"points_per_side": None, "point_grids": [np.zeros((1, 2))], "crop_n_layers": 1},
        {"points_per_side": None, "point_grids": [np.zeros((0, 2))]},
        {"pred_iou_thresh": float("nan")},
        {"stability_score_offset": -1.0},
        {"crop_n_layers": 5},
        {"crop_overlap_ratio": 1.0},
        {"crop_n_points_downscale_factor": 0},
        {"min_mask_region_area": -1},
        {"points": np.zeros((0, 2))},
        {"points_per_batch": 0},
        {"max_masks": 0},
    ],
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidPrompt, match=next(reversed(wrong)).split("_")[0] + "|point"):
        Options(**wrong)  # type: ignore[arg-type]


def test_more_points_than_anybody_can_wait_for_are_refused() -> None:
    options = Options(points_per_side=256, crop_n_layers=4)
    with pytest.raises(InvalidPrompt, match="crop_n_points_downscale_factor"):
        options.must_be_few_enough(grid.crop_layers((1000, 1000), 4, 0.3))
    Options(points_per_side=32, crop_n_layers=2).must_be_few_enough(grid.crop_layers((1000, 1000), 2, 0.3))


BOXES = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 30), st.integers(0, 30), st.integers(0, 5)),
    min_size=1,
    max_size=40,
)


@given(BOXES, st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]))
def test_suppression_decides_as_torchvision(drawn: list[tuple[int, int, int, int, int]], threshold: float) -> None:
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h, _ in drawn], np.float32)
    scores = np.array([score for *_, score in drawn], np.float32)
    expected = official_nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold)
    assert nms.keep(boxes, scores, threshold).tolist() == expected.tolist()


def ragged(seed: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    """A blob with holes and islands, sometimes over the picture's edge."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(size, np.bool_)
    for _ in range(rng.integers(1, 8)):
        y, x = rng.integers(-5, size[0]), rng.integers(-5, size[1])
        h, w = rng.integers(1, size[0]), rng.integers(1, size[1])
        mask[max(y, 0) : y + h, max(x, 0) : x + w] ^= True
    mask ^= rng.random(size) < rng.choice([0, 0.02, 0.2])
    return mask


@pytest.mark.parametrize("smallest", [1, 5, 30, 200, 10_000])
def test_holes_and_islands_go_as_the_official_code_decides(smallest: int) -> None:
    for seed in range(120):
        size = (int(np.random.default_rng(seed).integers(5, 50)), 37)
        mask = ragged(seed, size)
        expected, filled = amg.remove_small_regions(mask, smallest, "holes")
        expected, dropped = amg.remove_small_regions(expected, smallest, "islands")
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            continue
        y, x = int(rows[0]), int(columns[0])
        window = np.ascontiguousarray(mask[y : rows[-1] + 1, x : columns[-1] + 1].T)
        found, changed = regions.tidy(Shape(window, x, y), size, smallest, smallest)
        whole = np.zeros(size, np.bool_)
        width, height = found.inside.shape
        whole[found.y : found.y + height, found.x : found.x + width] = found.inside.T
        assert changed == (filled or dropped)
        assert np.array_equal(whole, expected)
