"""Outlines: closed polygons about the origin, x right and y down, within about -1..1.

An outline is a list of rings that are filled by the even-odd rule, so a second ring is a hole.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.float64]
Outline = list[Ring]
Rng = np.random.Generator


def _around(radius: NDArray[np.float64] | float, steps: int = 72) -> Ring:
    angle = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    return np.stack([np.cos(angle) * radius, np.sin(angle) * radius], axis=1)


def ellipse(rng: Rng) -> Outline:
    return [_around(1.0) * [1.0, rng.uniform(0.35, 1.0)]]


def box(rng: Rng) -> Outline:
    high = rng.uniform(0.2, 1.0)
    return [np.array([[-1, -high], [1, -high], [1, high], [-1, high]])]


def rounded(rng: Rng) -> Outline:
    """A superellipse: between a diamond, an ellipse and a box with round corners."""
    power = 2 / rng.choice([1.4, 2.5, 3.5, 5.0, 8.0])
    circle = _around(1.0)
    return [np.sign(circle) * np.abs(circle) ** power * [1.0, rng.uniform(0.3, 1.0)]]


def polygon(rng: Rng) -> Outline:
    count = int(rng.integers(3, 8))
    angle = np.sort(rng.uniform(0, 2 * np.pi, count) * 0.3 + np.arange(count) * 2 * np.pi / count)
    radius = rng.uniform(0.6, 1.0, count)
    return [np.stack([np.cos(angle) * radius, np.sin(angle) * radius], axis=1)]


def star(rng: Rng) -> Outline:
    tips = int(rng.integers(4, 12))
    radius = np.where(np.arange(2 * tips) % 2, rng.uniform(0.3, 0.8), 1.0)
    return [_around(radius, 2 * tips)]


def gear(rng: Rng) -> Outline:
    teeth = int(rng.integers(6, 14))
    angle = np.linspace(0, 2 * np.pi, 144, endpoint=False)
    rim = _around(0.85 + 0.15 * np.sign(np.sin(angle * teeth)), 144)
    return [rim, _around(rng.uniform(0.2, 0.5))] if rng.random() < 0.7 else [rim]


def blob(rng: Rng) -> Outline:
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    radius = np.ones(90)
    for wave in range(2, 7):
        radius += rng.normal(0, 0.45 / wave) * np.sin(wave * angle + rng.uniform(0, 6.3))
    radius = np.clip(radius, 0.25, 2.0)
    return [_around(radius / radius.max(), 90) * [1.0, rng.uniform(0.5, 1.0)]]


def shaggy(rng: Rng) -> Outline:
    """A blob with a spiky border: a bush, a splash, a tuft."""
    smooth = blob(rng)[0]
    points = np.repeat(smooth, 2, axis=0)
    return [points * rng.uniform(0.75, 1.08, (len(points), 1))]


def crescent(rng: Rng) -> Outline:
    angle = np.linspace(0.5, 2 * np.pi - 0.5, 50)
    outer = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    inner = outer[::-1] * rng.uniform(0.6, 0.9) + [rng.uniform(0.1, 0.35), 0]
    return [np.concatenate([outer, inner])]


def ring(rng: Rng) -> Outline:
    squash = [1.0, rng.uniform(0.4, 1.0)]
    return [_around(1.0) * squash, _around(rng.uniform(0.4, 0.85)) * squash]


def frame(rng: Rng) -> Outline:
    outer = box(rng)[0]
    return [outer, outer * rng.uniform(0.5, 0.85)]


def lattice(rng: Rng) -> Outline:
    """A plate with rows of holes: a fence, a grille, a sieve."""
    rows, columns = int(rng.integers(1, 4)), int(rng.integers(2, 6))
    high, bar = rng.uniform(0.3, 1.0), rng.uniform(0.12, 0.35)
    rings = [np.array([[-1.0, -high], [1, -high], [1, high], [-1, high]])]
    for row in range(rows):
        for column in range(columns):
            left, right = (np.array([bar / 2, 1 - bar / 2]) + column) / columns * 2 - 1
            top, bottom = ((np.array([bar / 2, 1 - bar / 2]) + row) / rows * 2 - 1) * high
            rings.append(np.array([[left, top], [right, top], [right, bottom], [left, bottom]]))
    return rings


def cross(rng: Rng) -> Outline:
    arm = rng.uniform(0.15, 0.5)
    corner = [[arm, -1], [arm, -arm], [1, -arm]]
    turns = [np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in np.arange(4) * np.pi / 2]
    return [np.concatenate([np.array(corner) @ turn.T for turn in turns])]


def arrow(rng: Rng) -> Outline:
    neck, start = rng.uniform(0.1, 0.35), rng.uniform(-0.2, 0.5)
    upper = [[-1, -neck], [start, -neck], [start, -rng.uniform(0.5, 0.9)], [1, 0]]
    half = np.array(upper, float)
    return [np.concatenate([half, half[-2::-1] * [1, -1]])]


def profile(rng: Rng) -> Outline:
    """A turned body, as a bottle, a vase, a glass or a lamp: one side mirrored."""
    knots = int(rng.integers(3, 7))
    ys = np.linspace(-1, 1, 40)
    widths = np.interp(ys, np.linspace(-1, 1, knots), rng.uniform(0.12, 0.75, knots))
    if rng.random() < 0.7:
        widths = np.convolve(np.pad(widths, 4, "edge"), np.ones(9) / 9, "valid")
    right = np.stack([widths, ys], axis=1)
    return [np.concatenate([right, right[::-1] * [-1, 1]])]


def leaf(rng: Rng) -> Outline:
    along = np.linspace(0, np.pi, 30)
    belly = np.sin(along) ** rng.uniform(0.6, 1.6) * rng.uniform(0.15, 0.5)
    upper = np.stack([-np.cos(along), -belly], axis=1)
    bend = rng.uniform(-0.4, 0.4) * (1 - upper[:, :1] ** 2) * [[0, 1]]
    return [np.concatenate([upper + bend, (upper * [1, -1] + bend)[::-1]])]


def limb(rng: Rng) -> Outline:
    """A bent, thin thing: a stick, a cable, a snake, a branch; the width is a part of the length."""
    steps = np.linspace(-1, 1, 40)
    middle = np.zeros(40)
    for wave in range(1, 4):
        middle += rng.normal(0, 0.35 / wave) * np.sin(wave * steps * 2 + rng.uniform(0, 6.3))
    slope = np.gradient(middle, steps)
    normal = np.stack([-slope, np.ones(40)], axis=1) / np.sqrt(1 + slope[:, None] ** 2)
    width = rng.uniform(0.03, 0.16) * np.interp(steps, [-1, 1], [1, rng.uniform(0.3, 1.2)])
    line = np.stack([steps, middle], axis=1)
    return [np.concatenate([line + normal * width[:, None], (line - normal * width[:, None])[::-1]])]


Family = Callable[[Rng], Outline]

SOLID: tuple[Family, ...] = (ellipse, box, rounded, polygon, blob, shaggy, profile, leaf)
ODD: tuple[Family, ...] = (star, gear, crescent, ring, frame, lattice, cross, arrow, limb)


def any_outline(rng: Rng) -> Outline:
    """One outline: mostly solid families, a third with holes, spikes or thin parts."""
    families = SOLID if rng.random() < 0.67 else ODD
    return families[int(rng.integers(len(families)))](rng)


def moved(outline: Outline, x: float, y: float, scale: tuple[float, float], turn: float = 0) -> Outline:
    """The outline scaled, then turned by `turn` radians, then moved."""
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return [(ring_ * scale) @ rotation.T + [x, y] for ring_ in outline]
