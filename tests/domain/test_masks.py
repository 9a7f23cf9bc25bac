import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from segment_anything.modeling import Sam
from segment_anything.utils.amg import batched_mask_to_box, box_xyxy_to_xywh, calculate_stability_score

from export.tiny import architecture
from orchestrator.domain import coco, masks, rle
from orchestrator.domain.geometry import resized_size
from orchestrator.domain.image import Image
from orchestrator.domain.masks import Mask, Shape
from orchestrator.domain.overlay import colour, draw, to_png
from orchestrator.domain.upscale import upscaler
from tests import pictures

Float32 = NDArray[np.float32]
SIZES = [(853, 1280), (1280, 853), (200, 200), (3, 700), (512, 512), (97, 4000), (1, 767), (1200, 1800)]
SIDE = architecture.IMAGE_SIDE
LOW = SIDE // 4


@pytest.fixture(scope="module")
def sam() -> Sam:
    return architecture.build()


def blotches(side: int = LOW, seed: int = 0) -> Float32:
    """Smooth low-res logits with values on both sides of zero."""
    noise = np.random.default_rng(seed).normal(0, 1, (side, side)).astype(np.float32)
    return np.asarray(8 * cv2.GaussianBlur(noise, (0, 0), 4), np.float32)


def official(sam: Sam, low: Float32, size: tuple[int, int]) -> Float32:
    made: Float32 = sam.postprocess_masks(torch.from_numpy(low)[None, None], resized_size(size, SIDE), size)[
        0, 0
    ].numpy()
    return made


@pytest.mark.parametrize("size", SIZES)
def test_logits_are_upscaled_as_the_official_code_does(sam: Sam, size: tuple[int, int]) -> None:
    low = blotches()
    expected, found = official(sam, low, size), upscaler(size, SIDE).full(low)
    assert np.abs(found - expected).max() < 1e-5
    assert np.mean((found > 0) != (expected > 0)) < 1e-5


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("above", [-1.0, 0.0, 2.0])
def test_a_window_holds_every_value_above_the_threshold(sam: Sam, size: tuple[int, int], above: float) -> None:
    for seed in range(5):
        low = blotches(seed=seed)
        low[:, : 10 * seed] = -9
        low[LOW - 1 - 9 * seed :] = -9
        expected = official(sam, low, size) > above
        window = upscaler(size, SIDE).window(low, above)
        found = np.zeros(size, np.bool_)
        if window:
            width, height = window.values.shape
            found[window.y : window.y + height, window.x : window.x + width] = (window.values > above).T
        assert np.mean(found != expected) < 1e-5


def test_a_window_of_a_small_object_is_small() -> None:
    low = np.full((LOW, LOW), -9, np.float32)
    low[60:72, 40:48] = 5
    window = upscaler((1200, 1800), SIDE).window(low, -1)
    assert window is not None
    assert window.values.size < 0.02 * 1200 * 1800


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("offset", [0.0, 1.0, 3.0])
def test_mask_stability_and_box_are_the_official_ones(sam: Sam, size: tuple[int, int], offset: float) -> None:
    low = blotches()
    low[:, :20] = -9
    full = official(sam, low, size)
    expected = float(calculate_stability_score(torch.from_numpy(full)[None], 0.0, offset)[0])
    seen = masks.look(low, upscaler(size, SIDE), 0.0, offset)
    assert seen is not None
    shape, stability = seen
    assert stability == pytest.approx(expected, abs=1e-4)
    found = np.zeros(size, np.bool_)
    width, height = shape.inside.shape
    found[shape.y : shape.y + height, shape.x : shape.x + width] = shape.inside.T
    assert np.mean(found != (full > 0)) < 1e-5
    x0, y0, x1, y1 = Shape((full > 0).T, 0, 0).bounds()
    box = batched_mask_to_box(torch.from_numpy(full > 0)[None])[0]
    assert [x0, y0, x1 - x0, y1 - y0] == box_xyxy_to_xywh(box).tolist()


def test_an_empty_mask_has_an_empty_box_and_no_stability() -> None:
    record = masks.describe(np.full((LOW, LOW), -9, np.float32), 0.5, 0.0, upscaler((30, 40), SIDE), [])
    assert (record.bbox, record.area, record.stability_score) == ((0, 0, 0, 0), 0, 0.0)
    assert not rle.decode(record.segmentation).any()


def record(seed: int = 0, size: tuple[int, int] = (300, 400)) -> Mask:
    return masks.describe(blotches(seed=seed), 0.9, 0.0, upscaler(size, SIDE), [(3.0, 4.0)])


def test_the_record_agrees_with_its_own_mask(sam: Sam) -> None:
    found = record()
    mask = rle.decode(found.segmentation)
    assert np.array_equal(mask, official(sam, blotches(), (300, 400)) > 0)
    assert found.area == mask.sum()
    assert found.crop_box == (0, 0, 400, 300)
    assert found.point_coords == ((3.0, 4.0),)


def test_the_pixels_of_a_record_come_back_from_its_runs() -> None:
    found = record()
    shape = masks.shape_of(found)
    x, y, width, height = found.bbox
    assert np.array_equal(shape.inside.T, rle.decode(found.segmentation)[y : y + height + 1, x : x + width + 1])


def test_the_overlay_tints_masks_and_leaves_the_rest_alone() -> None:
    image = Image(pictures.draw(120, 160))
    inside = np.zeros((120, 160), np.bool_)
    inside[20:60, 30:90] = True
    mask = Mask(rle.encode(inside), (30, 20, 59, 39), 2400, 0.9, 0.9, (), (0, 0, 160, 120))
    drawn = draw(image, [mask])
    assert np.array_equal(drawn[80:], image.pixels[80:])
    assert np.abs(drawn[40, 60].astype(int) - image.pixels[40, 60]).max() > 10
    assert len({colour(index) for index in range(12)}) == 12
    decoded = cv2.imdecode(np.frombuffer(to_png(drawn), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert np.array_equal(decoded[:, :, ::-1], drawn)


def test_a_coco_document_is_what_pycocotools_loads() -> None:
    from pycocotools import mask as reference
    from pycocotools.coco import COCO

    found = [record(seed) for seed in range(3)]
    dataset = COCO()
    dataset.dataset = coco.document([("a.jpg", (300, 400), found[:2]), ("b.jpg", (300, 400), found[2:])])
    dataset.createIndex()
    assert len(dataset.imgs) == 2
    for annotation, mask in zip(dataset.anns.values(), found, strict=True):
        assert np.array_equal(dataset.annToMask(annotation), rle.decode(mask.segmentation))
        assert annotation["area"] == reference.area(annotation["segmentation"])
        assert annotation["bbox"] == reference.toBbox(annotation["segmentation"]).tolist()
