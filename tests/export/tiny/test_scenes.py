"""The drawn scenes: the same every time, and consistent as wholes and parts."""

import numpy as np
import pytest

from export.tiny.scenes import SMALLEST_OBJECT, Scene, scene

SIDE = 192
SEEDS = range(900_000, 900_012)


@pytest.fixture(scope="module")
def drawn() -> list[Scene]:
    return [scene(seed, SIDE) for seed in SEEDS]


def test_the_same_seed_draws_the_same_scene(drawn: list[Scene]) -> None:
    again = scene(SEEDS[0], SIDE)
    assert np.array_equal(again.image, drawn[0].image)
    assert np.array_equal(again.owners, drawn[0].owners)
    assert np.array_equal(again.parents, drawn[0].parents)


def test_other_seeds_draw_other_scenes(drawn: list[Scene]) -> None:
    assert len({one.image.tobytes() for one in drawn}) == len(drawn)


def test_a_scene_is_a_colour_picture_of_the_side_asked_for(drawn: list[Scene]) -> None:
    for one in drawn:
        assert one.image.shape == (SIDE, SIDE, 3)
        assert one.image.dtype == np.uint8
        assert one.owners.shape == (SIDE, SIDE)


def test_scenes_show_objects_and_parts(drawn: list[Scene]) -> None:
    assert sum(len(one.wholes()) for one in drawn) >= len(drawn)
    assert sum(len(one.objects()) - len(one.wholes()) for one in drawn) >= len(drawn)


def test_what_is_seen_of_siblings_does_not_overlap(drawn: list[Scene]) -> None:
    for one in drawn:
        for parent in range(len(one.parents)):
            children = [n for n in one.objects() if one.parents[n] == parent]
            layered = np.sum([one.mask(n) for n in children], axis=0) if children else np.zeros(1)
            assert layered.max() <= 1


def test_a_part_lies_inside_its_whole(drawn: list[Scene]) -> None:
    for one in drawn:
        for node in one.objects():
            parent = int(one.parents[node])
            if parent:
                assert not (one.mask(node) & ~one.mask(parent)).any()
                assert one.mask(node).sum() < one.mask(parent).sum()


def test_every_object_is_large_enough_to_be_meant(drawn: list[Scene]) -> None:
    for one in drawn:
        for node in one.objects():
            assert one.mask(node).mean() >= SMALLEST_OBJECT


def test_a_chain_leads_from_the_part_to_the_whole(drawn: list[Scene]) -> None:
    for one in drawn:
        for node in one.objects():
            chain = one.chain(node)
            assert chain[0] == node
            assert one.parents[chain[-1]] == 0
