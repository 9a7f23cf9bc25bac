"""Surfaces: what a part or a background is painted with.

Every painter takes a generator and a size and gives float32 [height, width, 3], RGB in 0..255
(slightly outside is allowed; the camera clips).
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from export.tiny.drawing import blur, streak

Field = NDArray[np.float32]
Rng = np.random.Generator


def cloud(rng: Rng, height: int, width: int, *, grain: float = 0.5, octaves: int = 4) -> Field:
    """Natural noise: octaves of smooth noise, amplitude falling by half. [h, w], mean 0, deviation 1.

    `grain` is the size of the coarsest octave's cell as a part of the longer side.
    """
    total = np.zeros((height, width), np.float32)
    cell = max(2.0, grain * max(height, width))
    for octave in range(octaves):
        rows, columns = int(height / cell) + 2, int(width / cell) + 2
        seeds = rng.standard_normal((rows, columns), np.float32)
        total += cv2.resize(seeds, (width, height), interpolation=cv2.INTER_CUBIC) * 0.55**octave
        cell /= 2
        if cell < 1.5:
            break
    total -= total.mean()
    deviation = float(total.std())
    return total / np.float32(deviation + 1e-4)


def coordinates(rng: Rng, height: int, width: int) -> tuple[Field, Field]:
    """Two orthogonal coordinates in pixels, turned by a random angle."""
    angle = rng.uniform(0, np.pi)
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return xs * cos + ys * sin, ys * cos - xs * sin


def _blend(mask: Field, first: Field, second: Field) -> Field:
    """first where the mask is 0, second where it is 1; colours are [3]."""
    return first + mask[..., None] * (second - first)


def plain(rng: Rng, height: int, width: int, first: Field, second: Field) -> Field:  # noqa: ARG001 a painter as the others
    painted = np.empty((height, width, 3), np.float32)
    painted[:] = first
    return painted


def gradient(rng: Rng, height: int, width: int, first: Field, second: Field) -> Field:
    along, _ = coordinates(rng, height, width)
    along -= along.min()
    return _blend(along / (along.max() + 1), first, second)


def mottled(rng: Rng, height: int, width: int, first: Field, second: Field) -> Field:
    noise = cloud(rng, height, width, grain=rng.uniform(0.05, 0.6))
    return _blend(np.clip(0.3 + 0.25 * noise, 0, 1), first, second)


def speckled(rng: Rng, height: int, width: int, first: Field, second: Field) -> Field:
    grain = blur(rng.standard_normal((height, width), np.float32), 0.8)
    grown = cv2.resize(grain, (width, height))
    return plain(rng, height, width, first, second) * (1 + rng.uniform(0.1, 0.6) * grown[..., None])


def stripes(rng: Rng, height: int, width: int, first: Field, second: Field) -> Field:
    along, _ = coordinates(rng, height, width)
    period = max(4.0, rng.uniform(0.06, 0.4) * max(height, width))
    if rng.random() < 0.4:
        along = along + cloud(rng, height, width) * np.float32(period * 0.3)
    wave = np.sin(along * np.float32(2 * np.pi / period))
    return _blend(np.clip(wave * 3 + rng.uniform(-1, 1), -0.5, 0.5) + 0.5, first, second)


def checks(rng: Rng, height: int, width: int, first: Field, second: Field) -> Field:
    along, across = coordinates(rng, height, width)
    period = max(5.0, rng.uniform(0.08, 0.4) * max(height, width))
    turn = np.float32(2 * np.pi / period)
    if rng.random() < 0.5:  # a chequer board
        wave = np.sin(along * turn) * np.sin(across * turn)
    else:  # mortar between bricks or tiles
        wave = np.maximum(np.abs(np.sin(along * turn)), np.abs(np.sin(across * turn / 2))) - 0.97
        wave *= 20
    return _blend(np.clip(wave * 4, -0.5, 0.5) + 0.5, first, second)


def dots(rng: Rng, height: int, width: int, first: Field, second: Field) -> Field:
    along, across = coordinates(rng, height, width)
    period = max(5.0, rng.uniform(0.08, 0.35) * max(height, width))
    turn = np.float32(2 * np.pi / period)
    wave = np.cos(along * turn) + np.cos(across * turn) - rng.uniform(0.3, 1.3)
    return _blend(np.clip(wave * 4, 0, 1), first, second)


def patches(rng: Rng, height: int, width: int, first: Field, second: Field) -> Field:
    """Two tones with a winding border, as on a cow or a dog."""
    noise = cloud(rng, height, width, grain=rng.uniform(0.3, 0.9), octaves=3)
    if rng.random() < 0.5:  # the lower side is lighter, as on most animals
        noise = noise + np.linspace(-1.5, 1.5, height, dtype=np.float32)[:, None]
    return _blend(np.clip(noise * 5 - rng.uniform(-3, 5), 0, 1), first, second)


def strands(rng: Rng, height: int, width: int, first: Field, second: Field) -> Field:
    """Fur, grass, wood: noise smeared along one direction, over two mottled tones."""
    noise = rng.standard_normal((height, width), np.float32)
    length = int(rng.integers(5, 15))
    angle = rng.uniform(0, np.pi)
    reach = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    middle = np.array([length / 2, length / 2])
    start, end = (middle - reach).astype(int), (middle + reach).astype(int)
    kernel = streak(length, (int(start[0]), int(start[1])), (int(end[0]), int(end[1])))
    smeared = cv2.filter2D(noise, -1, kernel / max(1.0, float(np.sqrt(kernel.sum()))))
    base = (patches if rng.random() < 0.4 else mottled)(rng, height, width, first, second)
    return base * (1 + rng.uniform(0.05, 0.25) * smeared[..., None])


def metal(rng: Rng, height: int, width: int, first: Field, second: Field) -> Field:
    """Bright and dark bands, as reflections on lacquer, glass and steel."""
    knots = rng.uniform(0.5, 1.5, int(rng.integers(3, 8))).astype(np.float32)[:, None]
    band = cv2.resize(knots, (1, max(1, height)), interpolation=cv2.INTER_CUBIC)
    painted = plain(rng, height, width, first, second) * band[:, :, None]
    shine = np.clip(cloud(rng, height, width, grain=0.5, octaves=2), 0, 2)[..., None]
    return np.asarray(painted + 20 * shine, np.float32)


def panes(rng: Rng, height: int, width: int, first: Field, second: Field) -> Field:
    """A regular grid of small rectangles: windows of a building, keys, tiles."""
    rows, columns = rng.integers(2, 9, 2)
    ys = (np.arange(height, dtype=np.float32) / max(1, height) * rows) % 1
    xs = (np.arange(width, dtype=np.float32) / max(1, width) * columns) % 1
    gap_y, gap_x = rng.uniform(0.1, 0.4, 2)
    inside = (np.abs(ys - 0.5) < 0.5 - gap_y)[:, None] & (np.abs(xs - 0.5) < 0.5 - gap_x)[None]
    return _blend(inside.astype(np.float32), first, second)


def lettering(rng: Rng, height: int, width: int, first: Field, second: Field) -> Field:
    """Print on a surface, which is no object of its own."""
    painted = plain(rng, height, width, first, second)
    for _ in range(int(rng.integers(1, 5))):
        word = "".join(rng.choice(list("ABCDEFGHKLMNOPRSTUVXYZ0123456789aeinorst"), 6))
        place = (int(rng.uniform(-0.2, 0.5) * width), int(rng.uniform(0.1, 1.0) * height))
        size = float(rng.uniform(0.2, 1.0) * max(0.35, height / 60))
        font = int(rng.integers(0, 8))
        ink = np.zeros((height, width), np.uint8)
        cv2.putText(ink, word, place, font, size, (255,), 1 + int(size * 2), cv2.LINE_AA)
        painted += (ink / np.float32(255))[..., None] * (second - painted)
    return painted


Painter = Callable[[Rng, int, int, Field, Field], Field]

CALM: tuple[Painter, ...] = (plain, gradient, mottled, speckled, metal)
BUSY: tuple[Painter, ...] = (stripes, checks, dots, patches, strands, panes, lettering)


def colour(rng: Rng) -> Field:
    """[3] RGB. Natural colours more often than vivid ones."""
    hue = rng.uniform(0, 180)
    vivid = rng.random()
    saturation = 255 * (rng.uniform(0, 0.25) if vivid < 0.35 else rng.uniform(0.2, 1.0))
    value = 255 * rng.uniform(0.08, 1.0)
    pixel = np.array([[[hue, saturation, value]]], np.uint8)
    return np.asarray(cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0], np.float32)


def near(rng: Rng, given: Field, distance: float) -> Field:
    """A colour about `distance` (in 0..255 steps) away from the given one."""
    shift = rng.standard_normal(3).astype(np.float32)
    shift += np.float32(rng.standard_normal() * 1.5)  # lighter or darker more than another hue
    shift *= np.float32(distance) / (np.linalg.norm(shift) + np.float32(1e-3))
    return np.clip(given + shift, 4, 251).astype(np.float32)
