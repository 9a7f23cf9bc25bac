import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from pycocotools import mask as coco

from orchestrator.domain import rle
from orchestrator.domain.rle import Rle

Mask = NDArray[np.bool_]
MASKS = arrays.arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40)))


def reference(mask: Mask) -> str:
    counts: bytes = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    return counts.decode()


@given(MASKS)
def test_counts_are_identical_to_pycocotools(mask: Mask) -> None:
    assert rle.encode(mask).counts == reference(mask)


@given(MASKS)
def test_a_mask_comes_back_as_it_was(mask: Mask) -> None:
    encoded = rle.encode(mask)
    assert np.array_equal(rle.decode(encoded), mask)
    assert rle.area(encoded) == mask.sum()


@given(MASKS, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_a_window_encodes_as_the_whole_picture_would(window: Mask, x: int, y: int, right: int, below: int) -> None:
    height, width = window.shape
    whole = np.zeros((y + height + below, x + width + right), np.bool_)
    whole[y : y + height, x : x + width] = window
    size = (whole.shape[0], whole.shape[1])
    assert rle.encode_window(window, (x, y), size).counts == reference(whole)


def test_a_large_ragged_mask_is_identical_to_pycocotools() -> None:
    mask = np.random.default_rng(0).random((1200, 1801)) < 0.3
    mask[:, 100:900] = True
    assert rle.encode(mask).counts == reference(mask)


def test_runs_whose_sum_wraps_around_are_refused() -> None:
    runs = np.array([2**62, 2**62, 2**62, 2**62 + 9], np.int64)
    with pytest.raises(ValueError, match="counts"):
        rle.decode(Rle((3, 3), rle.pack(runs)))
    with pytest.raises(ValueError, match="runs"):
        rle.decode(Rle((3, 3), rle.pack(np.array([2**30, 9], np.int64))))


@pytest.mark.parametrize("counts", ["\x00", "~", "o", "P" * 20, "1"])
def test_what_is_no_run_length_encoding_is_refused(counts: str) -> None:
    with pytest.raises(ValueError, match=r"counts|runs"):
        rle.decode(Rle((3, 3), counts))
