"""What is behind the objects: sky and ground, wall and table, a surface, a blurred surrounding."""

import cv2
import numpy as np
from numpy.typing import NDArray

from export.tiny import shapes, textures
from export.tiny.drawing import blur, resized
from export.tiny.textures import Field, Rng


def _surface(rng: Rng, side: int, busy: float) -> Field:
    first = textures.colour(rng)
    second = textures.near(rng, first, rng.uniform(8, 90))
    painters = textures.BUSY if rng.random() < busy else textures.CALM
    return painters[int(rng.integers(len(painters)))](rng, side, side, first, second)


def _out_of_focus(rng: Rng, picture: Field, sigma: float) -> Field:
    """Shapes with no edges left, as a far background behind a near object."""
    side = picture.shape[0]
    drawn = picture.copy()
    for _ in range(int(rng.integers(3, 25))):
        size = side * rng.uniform(0.03, 0.25)
        outline = shapes.moved(
            shapes.any_outline(rng), rng.uniform(0, side), rng.uniform(0, side), (size, size), rng.uniform(0, 6)
        )
        cv2.fillPoly(drawn, [ring.astype(np.int32) for ring in outline], textures.colour(rng).tolist())
    small = resized(drawn, side // 4, side // 4, smaller=True)
    small = blur(small, max(0.8, sigma / 4))
    return resized(small, side, side)


def _edge(rng: Rng, side: int, level: float) -> NDArray[np.bool_]:
    """[side, side] true below a border that is level, tilted or hilly."""
    xs = np.linspace(-1, 1, side, dtype=np.float32)
    line = level + rng.normal(0, 0.04) * xs
    if rng.random() < 0.3:
        line = line + 0.03 * textures.cloud(rng, 1, side, grain=0.5)[0]
    return np.asarray(np.arange(side)[:, None] > line[None] * side)


def draw(rng: Rng, side: int) -> tuple[Field, NDArray[np.uint8], float]:
    """The background, the number of each pixel's region (0, 1, ...) and the ground's level.

    The level is where things may stand, as a part of the height; 0 where a picture is taken from
    above and nothing stands.
    """
    regions = np.zeros((side, side), np.uint8)
    unit = side / 384
    kind = rng.random()
    if kind < 0.22:  # one surface seen from above, or a studio's backdrop
        picture = _surface(rng, side, busy=0.5)
        if rng.random() < 0.3:
            picture = blur(picture, rng.uniform(1, 4) * unit)
        return picture, regions, 0.0
    if kind < 0.34:  # nothing but blur
        blurred = _out_of_focus(rng, _surface(rng, side, busy=0.3), rng.uniform(4, 14) * unit)
        return blurred, regions, rng.uniform(0.4, 0.9)
    level = rng.uniform(0.25, 0.8)
    above = _surface(rng, side, busy=0.3)
    below = _surface(rng, side, busy=0.6)
    if kind < 0.65:  # outdoors: sky or a far line of trees or houses above ground
        if rng.random() < 0.5:
            far = textures.near(rng, textures.colour(rng), 30)
            sky = np.array([150, 190, 235], np.float32) + rng.normal(0, 25, 3).astype(np.float32)
            above = textures.gradient(rng, side, side, np.clip(sky, 0, 255), far)
            clouds = np.clip(textures.cloud(rng, side, side, grain=0.4, octaves=5), 0, 2)[..., None]
            above = above + clouds * np.float32(rng.uniform(0, 45))
        else:
            above = _out_of_focus(rng, above, rng.uniform(3, 12) * unit)
        if rng.random() < 0.5:  # grass or earth
            green = np.array([rng.uniform(60, 170), rng.uniform(80, 160), rng.uniform(30, 100)], np.float32)
            shade = textures.near(rng, green, rng.uniform(20, 60))
            below = textures.strands(rng, side, side, green, shade)
    lower = _edge(rng, side, level)
    picture = np.where(lower[..., None], below, above)
    regions[lower] = 1
    if rng.random() < 0.3:  # a road, a skirting board, a far field
        third = _edge(rng, side, level + rng.uniform(0.05, 0.35))
        picture = np.where(third[..., None], _surface(rng, side, busy=0.4), picture)
        regions[third] = 2
    if rng.random() < 0.35:  # depth of field: sharper towards the viewer
        sigma = rng.uniform(1.5, 6) * unit
        soft = blur(picture, sigma)
        depth = np.clip((np.arange(side, dtype=np.float32) / side - level) * 4, 0, 1)[:, None, None]
        picture = soft + (picture - soft) * depth
    return picture.astype(np.float32), regions, level
