"""Painting one thing onto a layer of its own, and the layer onto the picture."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.tiny import shapes, textures, things
from export.tiny.drawing import blur, filled
from export.tiny.textures import Field, Rng


@dataclass
class Layer:
    """A painted thing inside the window [top, bottom) x [left, right) of the picture.

    colour: float32 [h, w, 3]; alpha: float32 [h, w] in 0..1; numbers: uint8 [h, w], 0 outside.
    """

    window: tuple[int, int, int, int]
    colour: Field
    alpha: Field
    numbers: NDArray[np.uint8]


def _stencil(outline: shapes.Outline, left: int, top: int, height: int, width: int) -> Field:
    """[height, width] in 0..1, the outline filled by the even-odd rule."""
    return filled([ring - [left, top] for ring in outline], height, width)


def _ragged(rng: Rng, stencil: Field, size: float) -> Field:
    """The same shape with a border of tufts about `size` pixels long."""
    noise = rng.standard_normal(stencil.shape, np.float32)
    noise = blur(noise, max(0.7, size * 0.35))
    noise /= np.float32(noise.std() + 1e-4)
    soft = blur(stencil, max(0.6, size * 0.5))
    border = 4 * soft * (1 - soft)  # no tufts away from the border
    return np.clip((soft - 0.5 + 0.2 * border * noise) * 5 + 0.5, 0, 1)


Surface = tuple[textures.Painter, Field, Field]


def _palette(rng: Rng, count: int) -> list[Surface]:
    """A painter and two colours for each surface; some surfaces nearly the same as the first."""
    drawn: list[Surface] = []
    vivid = rng.random() < 0.5
    for index in range(count):
        first = textures.colour(rng)
        if index and rng.random() < (0.25 if vivid else 0.5):
            first = textures.near(rng, drawn[0][1], rng.uniform(20, 70))
        second = textures.near(rng, first, rng.uniform(15, 120))
        painters = textures.BUSY if rng.random() < 0.3 else textures.CALM
        drawn.append((painters[int(rng.integers(len(painters)))], first, second))
    return drawn


def render(
    rng: Rng,
    parts: list[things.Part],
    numbers: list[int],
    kind: things.Kind,
    where: tuple[float, float, float, float],
    side: int,
    palette: list[Surface] | None = None,
) -> Layer | None:
    """Paint the parts, back to front. `where` is x, y, half size (pixels) and turn.

    The palette is drawn by chance where none is given. None if nothing of the thing is inside the picture.
    """
    x, y, size, turn = where
    facing = 1.0 if rng.random() < 0.5 else -1.0
    stretch = (facing * size * rng.uniform(0.85, 1.1), size * rng.uniform(0.85, 1.1))
    outlines = [shapes.moved(part.outline, x, y, stretch, turn) for part in parts]
    points = np.concatenate([ring for outline in outlines for ring in outline])
    margin = 4 + 0.03 * size
    left, top = np.clip(points.min(axis=0) - margin, 0, side).astype(int)
    right, bottom = np.clip(points.max(axis=0) + margin + 1, 0, side).astype(int)
    height, width = int(bottom - top), int(right - left)
    if height < 4 or width < 4:
        return None
    layer = Layer(
        (int(top), int(bottom), int(left), int(right)),
        np.zeros((height, width, 3), np.float32),
        np.zeros((height, width), np.float32),
        np.zeros((height, width), np.uint8),
    )
    chance = palette is None
    palette = palette or _palette(rng, 1 + max(part.surface for part in parts))
    furry = kind in things.SHAGGY and rng.random() < 0.8
    if furry and rng.random() < 0.7 and chance:
        palette[0] = (textures.strands if rng.random() < 0.6 else textures.patches, *palette[0][1:])
    tuft = max(0.8, size * rng.uniform(0.015, 0.06))
    outlined = rng.random() < 0.15
    cache: dict[int, Field] = {}
    for part, number, outline in zip(parts, numbers, outlines, strict=True):
        stencil = _stencil(outline, int(left), int(top), height, width)
        if furry and part.surface in (0, 1, 4):
            stencil = _ragged(rng, stencil, tuft)
        if part.surface not in cache or part.own:
            painter, first, second = palette[part.surface]
            cache[part.surface] = painter(rng, height, width, first, second)
        paint = cache[part.surface]
        if size > 12 and rng.random() < 0.7:  # rounded: darker towards the border
            reach = max(1.0, size * rng.uniform(0.04, 0.15))
            dome = blur(stencil, reach) - 0.5
            paint = paint * (1 + rng.uniform(0.1, 0.9) * np.clip(dome - 0.15, -0.4, 0.4))[..., None]
        alpha = stencil[..., None]
        layer.colour += alpha * (paint - layer.colour)
        if outlined:
            rim = np.clip(1 - np.abs(stencil - 0.5) * 2, 0, 1)[..., None]
            layer.colour *= 1 - 0.7 * rim
        np.maximum(layer.alpha, stencil, out=layer.alpha)
        layer.numbers[stencil > 0.5] = number
    _shade(rng, layer)
    return layer


def _shade(rng: Rng, layer: Layer) -> None:
    """Light the whole thing from one side, with a highlight on some."""
    height, width = layer.alpha.shape
    ys, xs = np.mgrid[-1 : 1 : complex(height), -1 : 1 : complex(width)].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.float32(np.cos(angle)) * xs + np.float32(np.sin(angle)) * ys
    layer.colour *= (1 + rng.uniform(0, 0.3) * ramp)[..., None]
    if rng.random() < 0.25:
        spot_x, spot_y, wide = rng.uniform(-0.6, 0.6), rng.uniform(-0.6, 0.6), rng.uniform(0.1, 0.4)
        shine = np.exp(-((xs - spot_x) ** 2 + (ys - spot_y) ** 2) / np.float32(wide**2))
        layer.colour += (rng.uniform(20, 110) * shine)[..., None]


def place(rng: Rng, picture: Field, owners: NDArray[np.uint8], layer: Layer, sun: tuple[float, float]) -> None:
    """Cast the layer's shadow, then lay it over the picture and its nodes. Changes both in place."""
    top, bottom, left, right = layer.window
    if rng.random() < 0.6:
        shade_below(rng, picture, layer, sun)
    alpha = layer.alpha[..., None]
    if rng.random() < 0.15:  # a little out of focus, or of a softer border
        sigma = rng.uniform(0.5, 1.5)
        alpha = blur(layer.alpha, sigma)[..., None]
        layer.colour = blur(layer.colour, sigma)
    if rng.random() < 0.05:  # like the background behind it
        middle = picture[(top + bottom) // 2, (left + right) // 2]
        strength = np.float32(rng.uniform(0.3, 0.65))
        layer.colour += strength * (middle - layer.colour)
    lay(picture, owners, layer, alpha)


def lay(picture: Field, owners: NDArray[np.uint8], layer: Layer, alpha: Field | None = None) -> None:
    """Lay the layer over the picture and its nodes, in place; `alpha` [h, w, 1] instead of its own."""
    top, bottom, left, right = layer.window
    window = picture[top:bottom, left:right]
    window += (layer.alpha[..., None] if alpha is None else alpha) * (layer.colour - window)
    solid = layer.numbers > 0
    owners[top:bottom, left:right][solid] = layer.numbers[solid]


def shade_below(rng: Rng, picture: Field, layer: Layer, sun: tuple[float, float]) -> None:
    """Darken the picture beside and below the thing."""
    side = picture.shape[0]
    top, bottom, left, right = layer.window
    reach = max(2, int((bottom - top) * rng.uniform(0.02, 0.2)))
    soft = max(0.8, reach * rng.uniform(0.2, 0.7))
    grown = reach * 3
    window = (max(0, top - grown), min(side, bottom + grown), max(0, left - grown), min(side, right + grown))
    cast = np.zeros((window[1] - window[0], window[3] - window[2]), np.float32)
    dy, dx = top - window[0] + int(sun[1] * reach), left - window[2] + int(sun[0] * reach)
    y0, x0 = max(0, dy), max(0, dx)
    part = layer.alpha[y0 - dy :, x0 - dx :][: cast.shape[0] - y0, : cast.shape[1] - x0]
    cast[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]] = part
    cast = blur(cast, soft)
    picture[window[0] : window[1], window[2] : window[3]] *= (1 - rng.uniform(0.15, 0.65) * cast)[..., None]
