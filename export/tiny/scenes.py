"""The scenes that tiny learns from and is measured on, each drawn from a seed of its own."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.tiny import backgrounds, camera, layers, things
from export.tiny.textures import Rng

MOST_NODES = 240
SMALLEST_OBJECT = 0.0005
"""Part of the picture that an object must show to count as one; a smaller part joins its owner."""

SMALLEST_REGION = 0.01
SAME_OBJECT = 0.93
"""A part that covers more than this of what it is a part of is no object beside it."""


@dataclass(frozen=True)
class Scene:
    """A picture and what is in it, as a forest: each visible pixel belongs to one node.

    image: uint8 [side, side, 3] RGB.
    owners: uint8 [side, side], the node that a pixel belongs to; 0 where there is no object.
    parents: int16 [nodes]; a part's whole, 0 for a whole. Node 0 stands for nothing.
    regions: bool [nodes]; sky, ground or wall, which one may point at but which are no objects.
    """

    image: NDArray[np.uint8]
    owners: NDArray[np.uint8]
    parents: NDArray[np.int16]
    regions: NDArray[np.bool_]

    def chain(self, node: int) -> list[int]:
        """The node, what it is a part of, and so on up to the whole."""
        found = [node] if node else []
        while found and self.parents[found[-1]]:
            found.append(int(self.parents[found[-1]]))
        return found

    def members(self) -> NDArray[np.bool_]:
        """[nodes, nodes]: row r is true where column's node is r or a part of it."""
        table = np.zeros((len(self.parents), len(self.parents)), bool)
        for node in range(1, len(self.parents)):
            table[self.chain(node), node] = True
        return table

    def mask(self, node: int) -> NDArray[np.bool_]:
        """[side, side] the visible pixels of a node and of all its parts."""
        return np.asarray(self.members()[node][self.owners])

    def objects(self) -> list[int]:
        """Every node that shows: wholes and parts, without the regions of the background."""
        shown = self.members() @ np.bincount(self.owners.ravel(), minlength=len(self.parents))
        return [n for n in range(1, len(self.parents)) if shown[n] and not self.regions[n]]

    def wholes(self) -> list[int]:
        """The objects that are part of no other."""
        return [node for node in self.objects() if self.parents[node] == 0]


def scene(seed: int, side: int) -> Scene:
    """Draw the scene of this seed. The same seed and side give the same bytes."""
    rng = np.random.default_rng([20240517, seed])
    picture, zones, level = backgrounds.draw(rng, side)
    parents, regions = [0], [False]
    owners = np.zeros((side, side), np.uint8)
    for zone in range(int(zones.max()) + 1):
        parents.append(0)
        regions.append(True)
        owners[zones == zone] = len(parents) - 1
    sun = rng.uniform(-1, 1), rng.uniform(0.3, 1)
    for kind, place, size, turn in _layout(rng, level):
        if len(parents) > MOST_NODES - 40:
            break
        parts = kind(rng)
        first = len(parents)
        if kind in things.LOOSE:
            parents += [0] * len(parts)
            numbers = list(range(first, first + len(parts)))
        else:
            parents.append(0)
            numbers = _number(parts, first, parents)
        regions += [False] * (len(parents) - len(regions))
        layer = layers.render(rng, parts, numbers, kind, (place[0] * side, place[1] * side, size * side, turn), side)
        if layer is not None:
            layers.place(rng, picture, owners, layer, sun)
    lit = camera.light(rng, picture)
    return _tidy(camera.expose(rng, lit), owners, np.array(parents, np.int16), np.array(regions))


def _number(parts: list[things.Part], whole: int, parents: list[int]) -> list[int]:
    """Give each part its node: a new one below its owner's, or its owner's own."""
    numbers: list[int] = []
    for part in parts:
        owner = whole if part.owner < 0 else numbers[part.owner]
        if part.own:
            parents.append(owner)
            numbers.append(len(parents) - 1)
        else:
            numbers.append(owner)
    return numbers


Placed = tuple[things.Kind, tuple[float, float], float, float]


def _layout(rng: Rng, level: float) -> list[Placed]:
    """What stands where, back to front: kind, centre (x, y), half size, turn; in parts of the side."""
    count = int(rng.choice([1, 2, 3, 5, 8, 12, 16], p=[0.12, 0.14, 0.17, 0.2, 0.18, 0.12, 0.07]))
    largest = min(0.5, 0.62 / np.sqrt(count) + 0.08)
    herd = things.any_kind(rng) if rng.random() < 0.2 else None
    placed: list[Placed] = []
    for _ in range(count):
        kind = herd if herd is not None and rng.random() < 0.7 else things.any_kind(rng)
        least = 0.035 if count > 3 else 0.12
        size = float(np.exp(rng.uniform(np.log(least), np.log(largest))))
        if rng.random() < 0.3:
            size = rng.uniform(0.6, 1.0) * largest
        x, y = rng.uniform(0.05, 0.95), rng.uniform(0.08, 0.92)
        turn = rng.uniform(-np.pi, np.pi)
        if kind in things.UPRIGHT:
            turn = rng.normal(0, 0.06)
            if level > 0 and rng.random() < 0.8:
                y = max(y, level) - size * 0.6
        placed.append((kind, (x, y), size, float(turn)))
    return sorted(placed, key=lambda item: item[1][1] + item[2] * rng.uniform(0.5, 1.0))


def _tidy(
    image: camera.Pixels, owners: NDArray[np.uint8], parents: NDArray[np.int16], regions: NDArray[np.bool_]
) -> Scene:
    """Join parts that hardly show to their owner, and drop what does not show at all."""
    counts = np.bincount(owners.ravel(), minlength=len(parents))
    shown = counts.copy()
    for node in range(len(parents) - 1, 0, -1):  # parts come after what they are parts of
        shown[parents[node]] += shown[node] if parents[node] else 0
    becomes = np.arange(len(parents))
    for node in range(1, len(parents)):
        parent = int(becomes[parents[node]])
        least = SMALLEST_REGION if regions[node] else SMALLEST_OBJECT
        if shown[node] < least * owners.size or (parent and shown[node] > SAME_OBJECT * shown[parent]):
            becomes[node] = parent
    kept = np.flatnonzero(becomes == np.arange(len(parents)))
    fresh = np.zeros(len(parents), np.int64)
    fresh[kept] = np.arange(len(kept))
    lookup = fresh[becomes]
    return Scene(
        image=image,
        owners=lookup[owners].astype(np.uint8),
        parents=lookup[becomes[parents[kept]]].astype(np.int16),
        regions=regions[kept],
    )
