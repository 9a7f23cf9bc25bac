"""Training samples: prompts lie where they should, targets are whole and part."""

from pathlib import Path

import numpy as np
import pytest
import torch

from export.errors import ExportError
from export.tiny import pool
from export.tiny.samples import ANYWHERE, CELL, DEEPEST, Batch, Forest, batches, covers, sample
from export.tiny.scenes import scene
from export.tiny.stages import Stage

SIDE = 128
CPU = torch.device("cpu")
STAGE = Stage(SIDE, 6, 1, (1e-3, 1e-3), 8, 2, 4, 0, (0.5, 1.0), 0.5, 99)


@pytest.fixture
def batch(scenes: Path) -> Batch:
    return next(batches(pool.Pool(scenes, CPU), STAGE, 3, 0))


def one_scene(owners: torch.Tensor, parents: list[int]) -> pool.Scenes:
    """A white scene in which these pixels belong to these nodes; node 1 is a region."""
    nodes = torch.zeros(1, 256, dtype=torch.long)
    nodes[0, : len(parents)] = torch.tensor(parents)
    regions = torch.zeros(1, 256, dtype=torch.bool)
    regions[0, 1] = True
    image = torch.full((1, *owners.shape, 3), 255, dtype=torch.uint8)
    return pool.Scenes(image, owners[None].byte(), nodes, regions)


def test_a_batch_has_the_shapes_that_the_training_relies_on(batch: Batch) -> None:
    rows = SIDE // CELL
    assert batch.image.shape == (6, SIDE, SIDE, 3)
    assert batch.chains.shape == (6, 8, 3, rows, rows)
    assert batch.boxed.shape == (6, 4, rows, rows)
    assert batch.edges.shape == (6, 2, rows, rows)
    assert batch.sides.shape == (6, 4, rows, rows)


def test_the_same_number_gives_the_same_batch_and_another_one_another(scenes: Path) -> None:
    held = pool.Pool(scenes, CPU)
    first, again, other = (next(batches(held, STAGE, 3, number)) for number in (5, 5, 6))
    assert all(torch.equal(tensor, getattr(again, name)) for name, tensor in vars(first).items())
    assert not torch.equal(first.image, other.image)


def test_nothing_is_shown_outside_the_picture(batch: Batch) -> None:
    for image, (height, width) in zip(batch.image, batch.shown, strict=True):
        assert not image[height:].any()
        assert not image[:, width:].any()
        assert image[: int(height), : int(width)].any()


def test_a_larger_target_contains_the_smaller_one(batch: Batch) -> None:
    smallest, between, whole = batch.chains.unbind(2)
    assert (smallest <= between).all()
    assert (between <= whole).all()
    assert (smallest < whole).any()


def test_a_box_surrounds_its_mask_but_for_the_jitter(batch: Batch) -> None:
    for boxes, masks in zip(batch.boxes, batch.boxed, strict=True):
        for box, mask in zip(boxes, masks, strict=True):
            rows, columns = torch.nonzero(mask > 0.5, as_tuple=True)
            if len(rows):
                slack = 0.11 * (box[2:] - box[:2]).max() + 2 * CELL
                assert columns.min() * CELL >= box[0] - slack
                assert columns.max() * CELL <= box[2] + slack
                assert rows.min() * CELL >= box[1] - slack
                assert rows.max() * CELL <= box[3] + slack


def test_most_points_lie_on_an_object_and_see_its_mask(batch: Batch) -> None:
    x, y = (batch.points.long() // CELL).unbind(2)
    which = torch.arange(6)[:, None]
    covered = batch.chains[:, :, 2][which, torch.arange(8)[None], y, x]
    real = batch.chains[:, :, 0].sum((-2, -1)) > 0
    assert (covered[real] > 0).all()
    assert real.float().mean() > 1 - 2 * ANYWHERE


def test_a_crop_shows_what_its_owners_say_whether_mirrored_or_turned() -> None:
    drawn = torch.zeros(64, 64, dtype=torch.long)
    drawn[10:40, 20:30] = 2
    scenes = one_scene(drawn, [0, 0, 0])
    scenes.image[0][drawn != 2] = 0
    for seed in range(12):
        made = sample(scenes, STAGE, torch.Generator().manual_seed(seed))
        shown = made.image[0, CELL // 2 :: CELL, CELL // 2 :: CELL].amax(2) > 100
        whole = made.solid[0] > 0
        border = made.edges[0, 1] > 0
        assert (shown == whole)[~border].all()


def test_a_crop_without_an_object_is_asked_for_nothing() -> None:
    made = sample(one_scene(torch.ones(64, 64), [0, 0]), STAGE, torch.Generator().manual_seed(0))
    assert not made.boxed.any()


def test_a_point_on_a_part_of_a_part_asks_for_it_for_its_owner_and_for_the_whole() -> None:
    parents = torch.tensor([[0, 0, 0, 2, 3, 0]])
    forest = Forest(parents)
    visible = torch.tensor([[False, True, True, True, True, True]])
    assert forest.levels(torch.tensor([[4, 3, 2, 0]]), visible).tolist() == [
        [[4, 3, 2], [3, 2, 2], [2, 2, 2], [0, 0, 0]]
    ]
    visible[0, 4] = False
    assert forest.levels(torch.tensor([[4]]), visible).tolist() == [[[3, 2, 2]]]
    assert forest.roots.tolist() == [[0, 1, 2, 2, 2, 5]]


def test_no_scene_has_parts_deeper_than_the_samples_follow() -> None:
    drawn = [scene(910_000 + seed, 192) for seed in range(20)]
    assert max(len(one.chain(node)) for one in drawn for node in one.objects()) <= DEEPEST


def test_covers_counts_the_pixels_of_a_node_and_its_parts() -> None:
    owners = torch.zeros(16, 16, dtype=torch.long)
    owners[:8] = 1
    owners[:2, :2] = 2
    cells = owners.view(1, 4, 4, 4, 4).permute(0, 2, 4, 1, 3).reshape(1, 16, 16)
    cover = covers(Forest(torch.tensor([[0, 0, 1]])), cells, torch.tensor([[1, 2, 0]]))
    assert cover[0, 0, 0, 0] == 1.0
    assert cover[0, 1, 0, 0] == 0.25
    assert cover[0, 0, 3].max() == 0.0
    assert cover[0, 2].max() == 0.0


def test_areas_count_each_place_for_its_node_and_for_all_that_it_is_part_of() -> None:
    areas = Forest(torch.tensor([[0, 0, 1, 2]])).areas(torch.tensor([[0, 1, 2, 3, 3]]))
    assert areas.tolist() == [[0.0, 4.0, 3.0, 2.0]]


def test_scenes_of_many_wholes_are_left_out(scenes: Path) -> None:
    drawn = pool.Pool(scenes, CPU).draw(np.random.default_rng(0), 30, most_wholes=4)
    few = sum(len(scene(seed, pool.SIDE).wholes()) <= 4 for seed in range(6))
    assert len({image.numpy().tobytes() for image in drawn.image}) == few
    assert 0 < few < 6


def test_a_pool_without_scenes_says_how_to_draw_some(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"export\.tiny\.pool"):
        pool.Pool(tmp_path, CPU).draw(np.random.default_rng(0), 1, 99)
