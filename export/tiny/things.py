"""Things: objects made of parts, as outlines about the origin within about -1..1.

A part with `own` is an object in its own right (a wheel), one without belongs to its owner (a
leg in the body's colour). `owner` is the index of the part that it is a part of, or -1 for the
thing itself; owners come first. Parts are painted in their order, later ones in front.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from export.tiny import shapes
from export.tiny.shapes import Outline, Rng, moved


@dataclass(frozen=True)
class Part:
    """One painted piece: its outline, the number of its surface (parts may share one)."""

    outline: Outline
    surface: int
    own: bool = True
    owner: int = -1


def _oval(x: float, y: float, wide: float, high: float, turn: float = 0) -> Outline:
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return moved([circle], x, y, (wide, high), turn)


def _block(x: float, y: float, wide: float, high: float, turn: float = 0) -> Outline:
    square = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    return moved([square], x, y, (wide, high), turn)


def _bone(start: tuple[float, float], end: tuple[float, float], thick: float, thin: float) -> Outline:
    """A tapering limb from one joint to another."""
    first, last = np.array(start), np.array(end)
    along = (last - first) / (np.linalg.norm(last - first) + 1e-9)
    across = np.array([-along[1], along[0]])
    arc = np.linspace(-np.pi / 2, np.pi / 2, 9)[:, None]
    tip = last + thin * (np.cos(arc) * along + np.sin(arc) * across)
    heel = first - thick * (np.cos(arc) * along + np.sin(arc) * across)
    return [np.concatenate([heel, tip])]


def single(rng: Rng) -> list[Part]:
    return [Part(shapes.any_outline(rng), 0, own=False)]


def marked(rng: Rng) -> list[Part]:
    """A shape with smaller shapes on it: a label, a button, a patch, an eye."""
    parts = [Part(shapes.SOLID[int(rng.integers(len(shapes.SOLID)))](rng), 0, own=False)]
    for count in range(int(rng.integers(1, 4))):
        place = rng.uniform(-0.4, 0.4, 2)
        size = rng.uniform(0.12, 0.45)
        mark = moved(shapes.any_outline(rng), place[0], place[1], (size, size), rng.uniform(0, 6.3))
        parts.append(Part(mark, 1 + count))
    return parts


def chain(rng: Rng) -> list[Part]:
    """Pieces that hang together, each with its own surface: a toy, a tool, a machine."""
    parts: list[Part] = []
    place, heading = np.zeros(2), rng.uniform(0, 6.3)
    for count in range(int(rng.integers(2, 6))):
        size = rng.uniform(0.25, 0.6)
        piece = shapes.any_outline(rng) if count else shapes.blob(rng)
        parts.append(Part(moved(piece, place[0], place[1], (size, size), rng.uniform(0, 6.3)), count))
        heading += rng.normal(0, 0.8)
        place = place + size * rng.uniform(0.5, 0.9) * np.array([np.cos(heading), np.sin(heading)])
    return parts


def beast(rng: Rng) -> list[Part]:
    """Four legs, a head, ears, a tail: fur all over, so that most of it is one object."""
    body_high = rng.uniform(0.22, 0.38)
    leg = rng.uniform(0.25, 0.7)
    leg_wide = rng.uniform(0.05, 0.1)
    parts: list[Part] = []

    def legs(shade: int) -> None:
        for hip in (-0.5, 0.5):
            top = (hip + rng.uniform(-0.06, 0.06), 0.1)
            knee = (top[0] + rng.uniform(-0.25, 0.25), 0.1 + body_high * 0.6 + leg * 0.5)
            foot = (knee[0] + rng.uniform(-0.25, 0.25), knee[1] + leg * rng.uniform(0.1, 0.5))
            parts.append(Part(_bone(top, knee, leg_wide * 2, leg_wide * 1.3), shade, own=False))
            parts.append(Part(_bone(knee, foot, leg_wide * 1.3, leg_wide), shade, own=False))

    legs(0)
    tail_end = (-0.9 - rng.uniform(0, 0.3), rng.uniform(-0.7, 0.4))
    parts.append(Part(_bone((-0.6, -0.1), tail_end, 0.1, rng.uniform(0.03, 0.14)), 0, own=False))
    parts.append(Part(_oval(0, 0, 0.75, body_high, rng.normal(0, 0.08)), 0, own=False))
    if rng.random() < 0.5:
        parts.append(Part(_oval(0, body_high * 0.6, 0.55, body_high * 0.4), 4, own=False))
    legs(0 if rng.random() < 0.7 else 4)
    head = np.array([rng.uniform(0.65, 0.95), rng.uniform(-0.55, 0.0)])
    size = rng.uniform(0.17, 0.3)
    parts.append(Part(_bone((0.45, -0.05), (head[0], head[1]), body_high * 0.7, size * 0.7), 0, own=False))
    skull = len(parts)
    parts.append(Part(_oval(head[0], head[1], size, size * 0.85), 0, own=rng.random() < 0.6))
    owner = skull if parts[skull].own else -1
    snout = head + np.array([size * rng.uniform(0.6, 1.1), size * 0.25])
    shade = 4 if rng.random() < 0.5 else 0
    parts.append(Part(_oval(snout[0], snout[1], size * 0.55, size * 0.35, 0.3), shade, False, owner))
    for side in (-0.4, 0.35):
        root = head + np.array([side * size, -size * 0.6])
        tip = root + np.array([rng.uniform(-0.6, 0.2) * size, -size * rng.uniform(0.3, 1.3)])
        ear = _bone((root[0], root[1]), (tip[0], tip[1]), size * 0.32, size * 0.05)
        parts.append(Part(ear, 0, rng.random() < 0.3, owner))
    parts.append(Part(_oval(head[0] + size * 0.3, head[1] - size * 0.1, size * 0.1, size * 0.1), 2, True, owner))
    parts.append(Part(_oval(snout[0] + size * 0.45, snout[1] - 0.02, size * 0.13, size * 0.1), 2, True, owner))
    if rng.random() < 0.4:
        neck = ((0.45 + head[0]) / 2, head[1] / 2)
        parts.append(Part(_bone((neck[0] - 0.03, neck[1] - 0.25), (neck[0] + 0.1, neck[1] + 0.3), 0.05, 0.05), 3))
    return parts


def bird(rng: Rng) -> list[Part]:
    head = (rng.uniform(0.4, 0.7), rng.uniform(-0.6, -0.3))
    size = rng.uniform(0.16, 0.28)
    beak = _bone(head, (head[0] + size * rng.uniform(1.3, 2.4), head[1] + 0.05), size * 0.5, 0.01)
    tail = _bone((-0.4, 0), (-1, rng.uniform(-0.4, 0.4)), 0.18, 0.1)
    parts = [Part(tail, 0, own=False), Part(beak, 2)]
    parts.append(Part(_oval(0, 0, 0.62, rng.uniform(0.28, 0.45), -0.25), 0, own=False))
    parts.append(Part(_oval(head[0], head[1], size, size), 0 if rng.random() < 0.5 else 1, rng.random() < 0.5))
    parts.append(Part(moved(shapes.leaf(rng), -0.15, 0, (0.5, 0.6), rng.uniform(-0.5, 0.9)), 1))
    parts.append(Part(_oval(head[0] + 0.06, head[1] - 0.04, 0.04, 0.04), 3))
    for foot in (-0.1, 0.12):
        parts.append(Part(_bone((foot, 0.25), (foot + 0.05, rng.uniform(0.5, 0.8)), 0.03, 0.02), 2, own=False))
    return parts


def person(rng: Rng) -> list[Part]:
    shoulder, hip = rng.uniform(0.2, 0.3), rng.uniform(0.14, 0.24)
    parts: list[Part] = []
    for side in (-1, 1):
        knee = (side * (hip + rng.uniform(-0.05, 0.15)) * 0.7, 0.55)
        foot = (knee[0] + rng.uniform(-0.1, 0.15), 0.95)
        trousers = len(parts)
        parts.append(Part(_bone((side * hip * 0.5, 0.15), knee, 0.12, 0.09), 1, own=False))
        parts.append(Part(_bone(knee, foot, 0.09, 0.06), 1, own=False))
        parts.append(Part(_oval(foot[0] + 0.05, 0.98, 0.12, 0.05), 3, owner=-1))
    del trousers
    trunk = np.array([[-shoulder, -0.45], [shoulder, -0.45], [hip, 0.22], [-hip, 0.22]])
    parts.append(Part([trunk], 2))
    for side in (-1, 1):
        elbow = (side * (shoulder + rng.uniform(0.0, 0.3)), rng.uniform(-0.35, 0.0))
        hand = (elbow[0] + rng.uniform(-0.25, 0.25), elbow[1] + rng.uniform(-0.3, 0.3))
        parts.append(Part(_bone((side * shoulder * 0.85, -0.38), elbow, 0.08, 0.06), 2, False, 6))
        parts.append(Part(_bone(elbow, hand, 0.06, 0.05), 2 if rng.random() < 0.5 else 0, False))
        parts.append(Part(_oval(hand[0], hand[1], 0.055, 0.055), 0))
    head = len(parts)
    parts.append(Part(_oval(0, -0.7, 0.15, 0.19), 0))
    hair = _oval(rng.uniform(-0.03, 0.03), -0.8, 0.17, rng.uniform(0.1, 0.16))
    parts.append(Part(hair, 4, True, head))
    if rng.random() < 0.3:
        parts.append(Part(_block(rng.choice([-0.3, 0.3]), 0.1, 0.14, 0.18), 5))
    return parts


def car(rng: Rng) -> list[Part]:
    long_nose, roof = rng.uniform(0.1, 0.5), rng.uniform(0.3, 0.6)
    cabin = np.array([[-0.75, -0.08], [-0.5 - rng.uniform(0, 0.2), -roof], [0.2, -roof], [1 - long_nose, -0.08]])
    body = np.array([[-1, -0.1], [0.85, -0.1], [1, 0.08], [1, 0.3], [-1, 0.3]]) * [1, rng.uniform(0.8, 1.2)]
    parts = [Part([body], 0, own=False), Part([cabin], 0, own=False)]
    pane = (cabin - [0, -roof * 0.55]) * [0.82, 0.72] + [0.0, -roof * 0.53]
    mid = rng.uniform(-0.35, 0.1)
    back = np.clip(pane, [-9, -9], [mid - 0.02, 9])
    front = np.clip(pane, [mid + 0.02, -9], [9, 9])
    parts += [Part([back], 1), Part([front], 1)]
    if rng.random() < 0.6:
        parts.append(Part(_block(mid, 0.05, 0.012, 0.2), 4, own=False))
        parts.append(Part(_block(-0.1, rng.uniform(0, 0.12), 0.9, 0.015), 4, own=False))
    size = rng.uniform(0.17, 0.25)
    for x in (-0.58, 0.58):
        wheel = len(parts)
        parts.append(Part(_oval(x, 0.3, size, size), 2))
        parts.append(Part(_oval(x, 0.3, size * 0.62, size * 0.62), 3, True, wheel))
        if rng.random() < 0.5:
            spokes = moved(shapes.star(rng), x, 0.3, (size * 0.55, size * 0.55), rng.uniform(0, 6))
            parts.append(Part(spokes, 4, False, wheel + 1))
    parts.append(Part(_oval(0.93, 0.02, 0.08, 0.06), 5))
    parts.append(Part(_block(-0.96, 0.02, 0.04, 0.08), 6))
    return parts


def lorry(rng: Rng) -> list[Part]:
    split = rng.uniform(0.1, 0.6)
    high = rng.uniform(0.3, 0.6)
    parts = [
        Part([np.array([[-1, -high], [split, -high], [split, 0.3], [-1, 0.3]])], 0),
        Part([np.array([[split, -high * 0.7], [0.9, -high * 0.7], [1, 0], [1, 0.3], [split, 0.3]])], 1),
    ]
    parts.append(Part(_block(0.5 * (split + 0.95), -high * 0.35, (0.9 - split) * 0.36, high * 0.22), 2, True, 1))
    if rng.random() < 0.5:
        count = int(rng.integers(3, 7))
        for x in np.linspace(-0.85, split - 0.15, count):
            parts.append(Part(_block(x, -high * 0.5, 0.7 / count * (split + 1) / 2, high * 0.25), 2, True, 0))
    for x in (-0.7, -0.35 if rng.random() < 0.4 else -0.7, 0.7):
        wheel = len(parts)
        parts.append(Part(_oval(x, 0.3, 0.17, 0.17), 3))
        parts.append(Part(_oval(x, 0.3, 0.09, 0.09), 4, True, wheel))
    return parts


def bicycle(rng: Rng) -> list[Part]:
    thick = rng.uniform(0.02, 0.04)
    parts = []
    for x in (-0.58, 0.58):
        rim = _oval(x, 0.3, 0.4, 0.4) + _oval(x, 0.3, 0.4 - thick * 1.6, 0.4 - thick * 1.6)
        parts.append(Part(rim, 0))
    joints = {
        "back": (-0.58, 0.3),
        "crank": (-0.1, 0.35),
        "seat": (-0.2, -0.25),
        "bar": (0.42, -0.25),
        "front": (0.58, 0.3),
    }
    for a, b in (
        ("back", "crank"),
        ("back", "seat"),
        ("crank", "seat"),
        ("seat", "bar"),
        ("crank", "bar"),
        ("bar", "front"),
    ):
        parts.append(Part(_bone(joints[a], joints[b], thick, thick), 1, own=False))
    parts.append(Part(_oval(-0.22, -0.3, 0.14, 0.05), 2))
    parts.append(Part(_bone((0.42, -0.25), (0.5, -0.42), thick, thick), 1, own=False))
    if rng.random() < 0.4:
        parts.append(Part(_block(0.6, -0.3, 0.16, 0.12), 3))
    return parts


def house(rng: Rng) -> list[Part]:
    wide, high = rng.uniform(0.5, 0.9), rng.uniform(0.3, 0.9)
    parts = [Part(_block(0, 0.1, wide, high), 0, own=False)]
    top = 0.1 - high
    if rng.random() < 0.6:
        roof = np.array([[-wide - 0.1, top], [rng.uniform(-0.4, 0.4), top - rng.uniform(0.2, 0.6)], [wide + 0.1, top]])
        parts.append(Part([roof], 1))
    rows, columns = int(rng.integers(1, 5)), int(rng.integers(2, 6))
    glass = (wide / columns * rng.uniform(0.4, 0.75), high / rows * rng.uniform(0.4, 0.75))
    for row in range(rows):
        for column in range(columns):
            x = -wide + (2 * column + 1) * wide / columns
            y = top + (2 * row + 1) * high / rows
            parts.append(Part(_block(x, y, glass[0], glass[1]), 2))
    parts.append(Part(_block(rng.uniform(-0.4, 0.4) * wide, 0.1 + high * 0.75, wide * 0.15, high * 0.25), 3))
    return parts


def tree(rng: Rng) -> list[Part]:
    parts = [Part(_bone((0, 1), (rng.uniform(-0.1, 0.1), -0.1), rng.uniform(0.05, 0.14), 0.06), 0)]
    for _ in range(int(rng.integers(1, 6))):
        x, y = rng.uniform(-0.35, 0.35), rng.uniform(-0.7, 0.1)
        size = rng.uniform(0.3, 0.55)
        parts.append(Part(moved(shapes.shaggy(rng), x, y, (size, size)), 1, own=False))
    return parts


def plant(rng: Rng) -> list[Part]:
    pot = np.array([[-0.35, 0.35], [0.35, 0.35], [0.25, 1], [-0.25, 1]])
    parts: list[Part] = []
    for _ in range(int(rng.integers(3, 10))):
        lean = rng.normal(0, 0.7)
        size = rng.uniform(0.35, 0.7)
        x, y = np.sin(lean) * size, 0.35 - np.cos(lean) * size
        parts.append(Part(moved(shapes.leaf(rng), x, y, (size, size), lean - np.pi / 2), 1, own=rng.random() < 0.5))
    return [*parts, Part([pot], 0)]


def flower(rng: Rng) -> list[Part]:
    parts = [Part(_bone((0, 0), (rng.uniform(-0.3, 0.3), 1), 0.03, 0.03), 2, own=rng.random() < 0.5)]
    count, reach = int(rng.integers(4, 12)), rng.uniform(0.3, 0.42)
    for angle in np.arange(count) * 2 * np.pi / count:
        petal = _oval(np.cos(angle) * reach, np.sin(angle) * reach - 0.2, 0.3, 0.75 / count + 0.06, angle)
        parts.append(Part(petal, 0, own=False))
    return [*parts, Part(_oval(0, -0.2, 0.16, 0.16), 1)]


def table(rng: Rng) -> list[Part]:
    top = rng.uniform(-0.3, 0.1)
    slab = np.array([[-0.8, top - 0.12], [0.8, top - 0.12], [1, top], [1, top + 0.08], [-1, top + 0.08], [-1, top]])
    parts = []
    for x in (-0.9, -0.65, 0.65, 0.9):
        parts.append(Part(_bone((x, top), (x * 0.97, 0.75), 0.05, 0.03), 0, own=rng.random() < 0.4))
    parts.append(Part([slab], 0 if rng.random() < 0.5 else 1, own=True))
    for x in rng.uniform(-0.6, 0.6, int(rng.integers(0, 3))):
        parts.append(Part(moved(shapes.profile(rng), x, top - 0.25, (0.22, 0.22)), int(rng.integers(2, 6)), owner=-1))
    return parts


def chair(rng: Rng) -> list[Part]:
    high = rng.uniform(0.5, 0.9)
    parts = [Part(_block(-0.4, -high / 2, 0.1, high / 2 + 0.1), 0)]
    for x in (-0.45, 0.4):
        parts.append(Part(_bone((x, 0.1), (x * 1.1, 0.9), 0.06, 0.04), 1, own=rng.random() < 0.5))
    return [*parts, Part(_block(0, 0.1, 0.5, rng.uniform(0.06, 0.16)), 0 if rng.random() < 0.5 else 2)]


def lamp(rng: Rng) -> list[Part]:  # noqa: ARG001 all kinds are called alike
    shade = np.array([[-0.25, -0.9], [0.25, -0.9], [0.5, -0.35], [-0.5, -0.35]])
    parts = [Part(_block(0, 0.2, 0.04, 0.6), 1, own=False), Part(_oval(0, 0.85, 0.4, 0.1), 1, own=False)]
    return [*parts, Part([shade], 0)]


def mug(rng: Rng) -> list[Part]:
    wide = rng.uniform(0.4, 0.6)
    handle = _oval(wide, 0, 0.35, 0.38) + _oval(wide, 0, 0.22, 0.25)
    cup = [np.concatenate([_oval(0, -0.6, wide, 0.12)[0][24:], _oval(0, 0.6, wide * 0.9, 0.12)[0][:25]])]
    parts = [Part(handle, 0, own=rng.random() < 0.5), Part(cup, 0, own=False)]
    parts.append(Part(_oval(0, -0.6, wide * 0.9, 0.1), 1))
    if rng.random() < 0.5:
        parts.append(Part(moved(shapes.any_outline(rng), 0, 0.05, (0.28, 0.28)), 2))
    return parts


def bottle(rng: Rng) -> list[Part]:
    body, neck = rng.uniform(0.22, 0.4), rng.uniform(0.07, 0.14)
    shoulder = rng.uniform(-0.4, 0.1)
    half = np.array([[neck, -0.9], [neck, shoulder - 0.25], [body, shoulder], [body, 1]])
    parts = [Part([np.concatenate([half, half[::-1] * [-1, 1]])], 0, own=False)]
    parts.append(Part(_block(0, -0.92, neck * 1.2, 0.08), 1))
    if rng.random() < 0.8:
        parts.append(Part(_block(0, (shoulder + 1) / 2, body, rng.uniform(0.15, 0.35)), 2))
    return parts


def board(rng: Rng) -> list[Part]:
    """A sign on a post, with a border and letters or a symbol on it."""
    parts = [Part(_block(0, 0.4, 0.04, 0.6), 0)] if rng.random() < 0.7 else []
    plate = shapes.SOLID[int(rng.integers(0, 4))](rng)
    plate = moved(plate, 0, -0.3, (0.75, 0.6))
    owner = len(parts)
    parts.append(Part(plate, 1))
    centre = np.array([0, -0.3])
    parts.append(Part([(ring - centre) * 0.85 + centre for ring in plate], 2, False, owner))
    if rng.random() < 0.6:
        parts.append(Part(moved(shapes.any_outline(rng), 0, -0.3, (0.3, 0.25)), 3, True, owner))
    return parts


def shelf(rng: Rng) -> list[Part]:
    """A case with a row of upright boxes of different colours: books, jars, cans."""
    parts = [Part(_block(0, 0, 1, 0.55), 0, own=False), Part(_block(0, 0, 0.93, 0.47), 1, own=False)]
    x = -0.9
    while x < 0.8:
        wide, high = rng.uniform(0.04, 0.15), rng.uniform(0.22, 0.44)
        parts.append(
            Part(_block(x + wide, 0.46 - high, wide * 0.95, high, rng.normal(0, 0.02)), int(rng.integers(2, 8)))
        )
        x += 2 * wide + rng.choice([0.0, 0.0, 0.1])
    return parts


def heap(rng: Rng) -> list[Part]:
    """Things of one kind that touch: fruit, coins, cells, stones. Each is an object of its own."""
    family = shapes.SOLID[int(rng.integers(len(shapes.SOLID)))]
    size = rng.uniform(0.15, 0.4)
    one = family(rng)
    parts = []
    for _ in range(int(rng.integers(3, 12))):
        x, y = rng.uniform(-0.75, 0.75, 2)
        grown = size * rng.uniform(0.8, 1.2)
        parts.append(Part(moved(one, x, y, (grown, grown), rng.uniform(0, 6.3)), int(rng.integers(0, 2))))
    return parts


Kind = Callable[[Rng], list[Part]]

KINDS: tuple[tuple[Kind, float], ...] = (
    (single, 9), (marked, 4), (chain, 3), (beast, 5), (bird, 1.5), (person, 2), (car, 3), (lorry, 1),
    (bicycle, 0.7), (house, 1.5), (tree, 1.5), (plant, 1), (flower, 1), (table, 1), (chair, 0.7),
    (lamp, 0.7), (mug, 1), (bottle, 1.5), (board, 1.5), (shelf, 0.7), (heap, 1),
)  # fmt: skip
"""Kinds with their weights: nearly a quarter single shapes, the rest made of parts."""

LOOSE: frozenset[Kind] = frozenset({heap})
"""Kinds that are no whole: each part is an object, all of them together are not."""

UPRIGHT: frozenset[Kind] = frozenset(
    {beast, bird, person, car, lorry, bicycle, house, tree, plant, table, chair, lamp, mug, shelf}
)
"""Kinds that usually stand on the ground rather than lie at any angle."""

SHAGGY: frozenset[Kind] = frozenset({beast, bird, tree, plant})
"""Kinds whose border is ragged."""


def any_kind(rng: Rng) -> Kind:
    weights = np.array([weight for _, weight in KINDS])
    return KINDS[int(rng.choice(len(KINDS), p=weights / weights.sum()))][0]
