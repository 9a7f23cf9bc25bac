import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from segment_anything.utils.transforms import ResizeLongestSide

from orchestrator.domain.geometry import resized_size, to_model_frame, to_model_input
from orchestrator.domain.image import Image
from tests.pictures import draw

SIDES = st.integers(1, 5000)


@given(SIDES, SIDES, st.sampled_from([384, 512, 1024]))
def test_sizes_are_rounded_as_the_official_code_does_and_never_to_zero(height: int, width: int, side: int) -> None:
    official = ResizeLongestSide.get_preprocess_shape(height, width, side)
    assert resized_size((height, width), side) == tuple(max(1, length) for length in official)


@pytest.mark.parametrize(("height", "width"), [(600, 800), (800, 600), (300, 300), (1, 700), (700, 2), (64, 64)])
def test_the_picture_is_resized_as_the_official_code_does_and_padded_with_zeros(height: int, width: int) -> None:
    pixels = draw(height, width)
    found = to_model_input(Image(pixels), 384)
    official = ResizeLongestSide(384).apply_image(pixels)
    assert found.size == official.shape[:2]
    assert np.array_equal(found.canvas[: found.size[0], : found.size[1]], official)
    assert found.canvas.sum(dtype=np.int64) == official.sum(dtype=np.int64)


def test_coordinates_are_scaled_as_the_official_code_does() -> None:
    coords = np.random.default_rng(0).uniform(0, 1500, (20, 2))
    official = ResizeLongestSide(384).apply_coords(coords, (1500, 1777)).astype(np.float32)
    assert np.array_equal(to_model_frame(coords, (1500, 1777), 384), official)
