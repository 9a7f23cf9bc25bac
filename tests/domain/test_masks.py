import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from segment_anything.modeling import Sam
from segment_anything.utils.amg import batched_mask_to_box, box_xyxy_to_xywh, calculate_stability_score

from export.tiny import architecture
from orchestrator.domain import masks, rle
from orchestrator.domain.geometry import resized_size
from orchestrator.domain.image import Image
from orchestrator.domain.overlay import colour, draw, to_png
from tests import pictures


@pytest.fixture(scope="module")
def sam() -> Sam:
    return architecture.build()


def logits(side: int, seed: int = 0) -> NDArray[np.float32]:
    """Smooth low-res logits with values on both sides of zero."""
    noise = np.random.default_rng(seed).normal(0, 1, (side, side)).astype(np.float32)
    return np.asarray(8 * cv2.GaussianBlur(noise, (0, 0), 4), np.float32)


@pytest.mark.parametrize("size", [(853, 1280), (1280, 853), (200, 200), (3, 700), (384, 384), (97, 4000)])
def test_masks_are_upscaled_as_the_official_code_does(sam: Sam, size: tuple[int, int]) -> None:
    low = logits(96)
    official = sam.postprocess_masks(torch.from_numpy(low)[None, None], resized_size(size, 384), size)[0, 0].numpy()
    found = masks.upscale(low, size)
    assert np.abs(found - official).max() < 1e-4
    assert np.mean((found > 0) != (official > 0)) < 1e-5


def test_stability_and_box_are_the_official_ones() -> None:
    full = logits(300)
    official = float(calculate_stability_score(torch.from_numpy(full)[None], 0.0, 1.0)[0])
    assert masks.stability_score(full, 0.0) == pytest.approx(official, abs=1e-7)
    box = batched_mask_to_box(torch.from_numpy(full > 0)[None])[0]
    assert list(masks.bounding_box(full > 0)) == box_xyxy_to_xywh(box).tolist()


def test_an_empty_mask_has_an_empty_box_and_no_stability() -> None:
    empty = np.full((10, 10), -9, np.float32)
    assert masks.bounding_box(empty > 0) == (0, 0, 0, 0)
    assert masks.stability_score(empty, 0.0) == 0.0


def test_the_record_agrees_with_its_own_mask() -> None:
    record = masks.describe(logits(96), 0.9, 0.0, (300, 400), [(3.0, 4.0)])
    mask = rle.decode(record.segmentation)
    assert mask.shape == (300, 400)
    assert record.area == mask.sum()
    assert record.bbox == masks.bounding_box(mask)
    assert record.crop_box == (0, 0, 400, 300)
    assert record.point_coords == ((3.0, 4.0),)


def test_the_overlay_tints_masks_and_leaves_the_rest_alone() -> None:
    image = Image(pictures.draw(120, 160))
    mask = np.zeros((120, 160), np.bool_)
    mask[20:60, 30:90] = True
    drawn = draw(image, [mask])
    assert np.array_equal(drawn[80:], image.pixels[80:])
    assert np.abs(drawn[40, 60].astype(int) - image.pixels[40, 60]).max() > 10
    assert len({colour(index) for index in range(12)}) == 12
    assert np.array_equal(cv2.imdecode(np.frombuffer(to_png(drawn), np.uint8), 1)[:, :, ::-1], drawn)
