"""The bundled picture: `python -m export.tiny.sample PATH` draws it, the same every time."""

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from export.tiny import layers, shapes, textures, things
from export.tiny.drawing import blur
from export.tiny.layers import Surface
from export.tiny.textures import Field
from export.tiny.things import Part

WIDTH, HEIGHT = 1280, 853
QUALITY = 90
SUN = (0.6, 0.35)
HORIZON = 470


def _rgb(*values: int) -> Field:
    return np.array(values, np.float32)


def _plain(*values: int) -> Surface:
    return textures.plain, _rgb(*values), _rgb(*values)


def _landscape(rng: np.random.Generator) -> Field:
    """Sky with clouds, two rows of hills out of focus, a meadow. [WIDTH, WIDTH, 3]."""
    down = np.linspace(0, 1, WIDTH, dtype=np.float32)[:, None, None]
    picture = _rgb(96, 158, 222) + down * 1.9 * (_rgb(214, 232, 244) - _rgb(96, 158, 222))
    picture = np.broadcast_to(picture, (WIDTH, WIDTH, 3)).copy()
    clouds = np.clip(textures.cloud(rng, WIDTH, WIDTH, grain=0.35, octaves=6) - 0.35, 0, 1.1)
    picture += (clouds * np.linspace(1, 0.3, WIDTH, dtype=np.float32)[:, None])[..., None] * 45
    ys = np.arange(WIDTH, dtype=np.float32)[:, None]
    for level, tone, swing in ((395, (142, 170, 178), 34), (432, (96, 136, 92), 22)):
        line = level + swing * textures.cloud(rng, 1, WIDTH, grain=0.4, octaves=3)
        hill = np.clip((ys - line) / 3, 0, 1)[..., None]
        leaves = 1 + 0.06 * textures.cloud(rng, WIDTH, WIDTH, grain=0.03, octaves=3)[..., None]
        picture += hill * (_rgb(*tone) * leaves - picture)
    picture = blur(picture.astype(np.float32), 3.0)
    grass = textures.strands(rng, WIDTH, WIDTH, _rgb(118, 156, 66), _rgb(84, 128, 48))
    meadow = np.clip((ys - HORIZON) / 4, 0, 1)[..., None]
    near = np.clip((ys - HORIZON) / 380, 0, 1)[..., None]
    picture += meadow * (grass * (0.86 + 0.22 * near) - picture)
    return np.asarray(picture, np.float32)


def _balloon(rng: np.random.Generator) -> list[Part]:
    bag = shapes.moved(shapes.ellipse(rng), 0, 0, (0.62, 0.0))
    angle = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    narrow = np.where(np.sin(angle) > 0, 1 - 0.45 * np.sin(angle) ** 3, 1.0)
    bag = [np.stack([np.cos(angle) * 0.68 * narrow, np.sin(angle) * 0.8 - 0.2], axis=1)]
    basket = [np.array([[-0.13, 0.78], [0.13, 0.78], [0.1, 1.0], [-0.1, 1.0]])]
    return [Part(bag, 0, own=False), Part(basket, 1)]


def draw() -> NDArray[np.uint8]:
    """uint8 [HEIGHT, WIDTH, 3] RGB: a house, a tree, a balloon, a car and a dog in a meadow."""
    rng = np.random.default_rng(18)
    picture = _landscape(rng)
    owners = np.zeros((WIDTH, WIDTH), np.uint8)
    cream, brick, glass = (
        _plain(238, 222, 190),
        (textures.checks, _rgb(176, 78, 56), _rgb(150, 62, 46)),
        _plain(74, 104, 130),
    )
    bark, leaf = (
        (textures.strands, _rgb(104, 76, 52), _rgb(78, 56, 40)),
        (textures.mottled, _rgb(58, 116, 44), _rgb(92, 150, 58)),
    )
    bands = (textures.stripes, _rgb(236, 92, 60), _rgb(250, 214, 92))
    red, rubber, steel = (
        (textures.gradient, _rgb(206, 32, 38), _rgb(176, 20, 30)),
        _plain(34, 34, 38),
        _plain(196, 200, 206),
    )
    fur = (textures.patches, _rgb(214, 128, 52), _rgb(222, 140, 62))
    white, dark, collar = _plain(246, 238, 224), _plain(30, 26, 26), _plain(40, 90, 200)
    planned: list[tuple[things.Kind, list[Surface], tuple[float, float, float], int]] = [
        (things.house, [cream, brick, glass, _plain(120, 72, 44)], (250, 395, 190), 5),
        (things.tree, [bark, leaf], (1085, 350, 235), 7),
        (_balloon, [bands, _plain(122, 84, 48)], (660, 170, 130), 3),
        (
            things.car,
            [red, glass, rubber, steel, _plain(120, 14, 22), _plain(250, 240, 190), _plain(150, 10, 16)],
            (430, 640, 265),
            4,
        ),
        (things.beast, [fur, white, dark, collar, white], (960, 655, 185), 11),
    ]
    for kind, palette, (x, y, size), seed in planned:
        own = np.random.default_rng(seed)
        parts = kind(own)
        layer = layers.render(own, parts, [1] * len(parts), kind, (x, y, size, 0.0), WIDTH, palette)
        if layer is None:
            continue
        if y > HORIZON:
            layers.shade_below(own, picture, layer, SUN)
        layers.lay(picture, owners, layer)
    grain = rng.standard_normal((WIDTH, WIDTH, 1), np.float32) * 2
    shown = np.clip(blur(picture, 0.7) + grain, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(shown[:HEIGHT])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    chosen = parser.parse_args()
    cv2.imwrite(str(chosen.path), draw()[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


if __name__ == "__main__":
    main()
