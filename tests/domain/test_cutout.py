import io
from dataclasses import asdict, replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageCms

from orchestrator.domain import alpha, cutout, foreground, rle
from orchestrator.domain.cutout import Cutout, CutoutOptions
from orchestrator.domain.errors import InvalidPrompt
from orchestrator.domain.image import Image
from orchestrator.domain.masks import Mask
from orchestrator.domain.upscale import upscaler
from tests.domain.mattes import Matte, matte
from tests.pictures import draw

SOFT, HARD = CutoutOptions(crop="full", min_area=0), CutoutOptions(crop="full", edges="hard", min_area=0)
EDGES = [2, 5, 12, 24]


def cut(known: Matte, how: CutoutOptions) -> Cutout:
    height, width = known.alpha.shape
    window = upscaler((height, width), known.side).window(known.low, -alpha.FAINTEST)
    feather = cutout.usual_feather((height, width), known.low.shape[0])
    return cutout.cut(known.image, known.mask, window, 0.0, feather, how)


def error(known: Matte, how: CutoutOptions) -> float:
    """Mean absolute error of α."""
    return float(np.abs(cut(known, how).pixels[:, :, 3] / 255 - known.alpha).mean())


@pytest.mark.parametrize("edge", EDGES)
def test_soft_edges_are_closer_to_the_true_alpha_than_hard_ones(edge: float) -> None:
    known = [matte(seed, edge) for seed in range(4)]
    soft, hard = (np.mean([error(one, how) for one in known]) for how in (SOFT, HARD))
    assert soft <= 0.7 * hard


@pytest.mark.parametrize("edge", EDGES)
def test_decontaminated_colours_are_closer_to_the_true_foreground(edge: float) -> None:
    for seed in range(4):
        known = matte(seed, edge)
        height, width = known.alpha.shape
        edges = (known.alpha > 0.05) & (known.alpha < 0.95)
        pixels = known.image.pixels
        plain = np.abs(pixels - known.foreground)[edges].mean()
        cleaned = np.abs(foreground.estimate(pixels, known.alpha) - known.foreground)[edges].mean()
        assert cleaned < 0.6 * plain
        assert (height, width) == pixels.shape[:2]


def test_solid_pixels_are_the_pictures_own_and_nothing_is_left_where_it_is_transparent() -> None:
    known = matte(0, 8)
    made, pixels = cut(known, SOFT).pixels, known.image.pixels
    solid, clear = made[:, :, 3] == 255, made[:, :, 3] == 0
    assert np.mean(solid) > 0.1
    assert np.mean(clear) > 0.3
    inner = alpha.signed_distance(rle.decode(known.mask.segmentation)) > 20
    assert solid[inner].all()
    assert np.array_equal(made[inner][:, :3], pixels[inner])
    assert not made[clear].any()


def test_large_pictures_are_worked_on_in_bands_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    known = matte(1, 8)
    whole = cut(known, SOFT).pixels
    monkeypatch.setattr("orchestrator.domain.bands.ROWS", 70)
    assert np.abs(cut(known, SOFT).pixels.astype(int) - whole).max() <= 1


def square(inside: NDArray[np.bool_]) -> Mask:
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    x0, y0, x1, y1 = (int(place) for place in (columns[0], rows[0], columns[-1], rows[-1]))
    height, width = inside.shape
    box = (x0, y0, x1 - x0, y1 - y0)
    return Mask(rle.encode(inside), box, int(inside.sum()), 0.9, 0.9, (), (0, 0, width, height))


def test_hard_edges_are_0_or_255_and_the_pixels_the_pictures_own() -> None:
    image, inside = Image(draw(40, 60)), np.zeros((40, 60), np.bool_)
    inside[10:20, 30:45] = True
    made = cutout.cut(image, square(inside), None, 0.0, 3.0, CutoutOptions(edges="hard"))
    assert made.box == (30, 10, 15, 10)
    assert np.array_equal(made.pixels[:, :, :3], image.pixels[10:20, 30:45])
    assert (made.pixels[:, :, 3] == 255).all()


def test_padding_surrounds_a_tight_crop_even_over_the_pictures_edge() -> None:
    image, inside = Image(draw(40, 60)), np.zeros((40, 60), np.bool_)
    inside[0:20, 0:15] = True
    made = cutout.cut(image, square(inside), None, 0.0, 3.0, CutoutOptions(edges="hard", padding=7))
    assert made.box == (-7, -7, 29, 34)
    assert not made.pixels[:7].any()
    assert np.array_equal(made.pixels[7:27, 7:22, :3], image.pixels[0:20, 0:15])


def test_a_background_lies_under_the_object() -> None:
    known = matte(2, 10)
    made = cut(known, replace(SOFT, background="#ffffff"))
    assert made.pixels.shape[2] == 3
    clear = cut(known, SOFT).pixels[:, :, 3] == 0
    assert (made.pixels[clear] == 255).all()


def test_a_filled_hole_is_solid_and_a_dropped_island_is_gone() -> None:
    """What was tidied after the logits were made counts."""
    low = np.full((96, 96), -8, np.float32)
    low[20:80, 20:60] = 8
    low[45:50, 35:40] = -8
    low[40:50, 80:88] = 8
    known = matte(0, 4, size=(384, 384), side=384)
    window = upscaler((384, 384), 384).window(low, -alpha.FAINTEST)
    inside = np.zeros((384, 384), np.bool_)
    inside[80:320, 80:240] = True
    made = cutout.cut(known.image, square(inside), window, 0.0, 4.0, SOFT).pixels[:, :, 3]
    assert (made[100:300, 100:220] == 255).all()
    assert not made[:, 300:].any()


def test_a_png_keeps_the_colour_profile_and_nothing_else() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image(draw(40, 60), profile)
    inside = np.zeros((40, 60), np.bool_)
    inside[10:20, 30:45] = True
    made = cutout.cut(image, square(inside), None, 0.0, 3.0, CutoutOptions())
    read = Pillow.open(io.BytesIO(made.to_png()))
    assert read.mode == "RGBA"
    assert read.info == {"icc_profile": profile}
    assert not read.getexif()
    assert np.array_equal(np.asarray(read), made.pixels)


@pytest.mark.parametrize(
    "wrong",
    [
        {"edges": "sharp"},
        {"crop": "loose"},
        {"feather": 0.0},
        {"feather": float("nan")},
        {"padding": -1},
        {"min_area": -1},
        {"max_objects": 0},
        {"background": "no colour"},
        {"background": "#ffffff80"},
    ],
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidPrompt):
        CutoutOptions(**wrong)  # type: ignore[arg-type]


def test_options_are_plain_values_and_come_back_from_them() -> None:
    how = CutoutOptions(background="white", padding=3, feather=2.5)
    assert CutoutOptions(**asdict(how)) == how
