"""Training samples: a crop of a scene with prompts and with what they should give."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from export.tiny.scenes import Scene
from export.tiny.stages import Stage
from export.tiny.textures import Rng

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

CELL = 4
"""Pixels of the input along a pixel of the low-res mask."""

FEWEST_CELLS = 5
"""An object that covers less of the low-res mask is not asked for."""


@dataclass(frozen=True)
class Sample:
    """A picture of side S, K points and M boxes on it; L = S / 4. Masks are cover, 0..255.

    image: uint8 [S, S, 3] RGB; shown: int64 [2], height and width that hold picture.
    points: float32 [K, 2] x, y in pixels of the input; chains: uint8 [K, 3, L, L], masks of the
    smallest object there, of one between, of the whole (equal where there are fewer).
    boxes: float32 [M, 4] x0, y0, x1, y1; boxed: uint8 [M, L, L].
    edges: uint8 [2, L, L], borders of any object and of wholes; sides: float32 [4, L, L], from a
    pixel to the left, upper, right and lower side of its whole's box in parts of S; solid: uint8
    [L, L], 255 where there is an object.
    """

    image: Bytes
    shown: NDArray[np.int64]
    points: Floats
    chains: Bytes
    boxes: Floats
    boxed: Bytes
    edges: Bytes
    sides: Floats
    solid: Bytes


def crop(rng: Rng, scene: Scene, side: int, crops: tuple[float, float]) -> tuple[Bytes, Bytes, tuple[int, int]]:
    """A random window of the scene, mirrored or turned, scaled to the longest side.

    Returns uint8 [side, side, 3] with zeros right and below, the owners likewise, and the size
    (height, width) of the picture.
    """
    image, owners = scene.image, scene.owners
    whole = image.shape[0]
    longest = whole * (rng.uniform(*crops) if rng.random() < 0.7 else crops[1])
    shortest = longest * (1.0 if rng.random() < 0.4 else rng.uniform(0.56, 1.0))
    high, wide = (longest, shortest) if rng.random() < 0.35 else (shortest, longest)
    solid = np.flatnonzero(~scene.regions[owners[::8, ::8].ravel()] & (owners[::8, ::8].ravel() > 0))
    if len(solid) and rng.random() < 0.8:  # around an object rather than anywhere
        chosen = int(solid[int(rng.integers(len(solid)))])
        centre_y, centre_x = (np.array(divmod(chosen, -(-whole // 8))) * 8).tolist()
    else:
        centre_y, centre_x = rng.uniform(0, whole, 2).tolist()
    top = int(np.clip(centre_y - high * rng.uniform(0.3, 0.7), 0, whole - high))
    left = int(np.clip(centre_x - wide * rng.uniform(0.3, 0.7), 0, whole - wide))
    window = slice(top, top + int(high)), slice(left, left + int(wide))
    image, owners = image[window], owners[window]
    if rng.random() < 0.5:
        image, owners = image[:, ::-1], owners[:, ::-1]
    if rng.random() < 0.1:
        image, owners = image.swapaxes(0, 1), owners.swapaxes(0, 1)
    scale = side / max(image.shape[:2])
    height, width = (max(16, min(side, round(edge * scale))) for edge in image.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    shown = np.zeros((side, side, 3), np.uint8)
    shown[:height, :width] = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=method)
    owned = np.zeros((side, side), np.uint8)
    owned[:height, :width] = cv2.resize(np.ascontiguousarray(owners), (width, height), interpolation=cv2.INTER_NEAREST)
    return shown, owned, (height, width)


def tint(rng: Rng, image: Bytes) -> Bytes:
    """Other light and other colours: gain, offset, order of channels."""
    gain = np.exp(rng.normal(0, 0.15)) * (1 + rng.normal(0, 0.07, 3))
    table = np.clip(np.arange(256)[:, None] * gain + rng.normal(0, 10), 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        image = image[..., rng.permutation(3)]
    return np.asarray(cv2.LUT(np.ascontiguousarray(image), table[None]), np.uint8)


def covers(owners: Bytes, members: NDArray[np.bool_]) -> Floats:
    """[nodes, L, L] in 0..1: how much of each low-res pixel is of each node and its parts."""
    side, nodes = owners.shape[0], len(members)
    rows = side // CELL
    cell = (np.arange(side) // CELL).astype(np.int32)
    index = (cell[:, None] * rows + cell[None]) * np.int32(nodes) + owners
    counts = np.bincount(index.ravel(), minlength=rows * rows * nodes).reshape(rows * rows, nodes)
    grouped = counts.astype(np.float32) @ members.T.astype(np.float32)
    return np.ascontiguousarray(grouped.T).reshape(nodes, rows, rows) / np.float32(CELL * CELL)


def sample(rng: Rng, scene: Scene, stage: Stage) -> Sample | None:
    """One sample; None if the crop shows too little to ask for."""
    side = stage.side
    image, owners, (height, width) = crop(rng, scene, side, stage.crops)
    image = tint(rng, image) if rng.random() < 0.7 else image
    shown = np.zeros((side, side, 1), np.uint8)
    shown[:height, :width] = 1
    image = image * shown
    members = scene.members()
    cover = covers(owners, members)
    areas = cover.sum(axis=(1, 2))
    visible = areas >= FEWEST_CELLS
    likely = np.where(visible & ~scene.regions, areas, 0) ** stage.size_power
    likely[~visible | scene.regions] = 0
    if not likely.any():
        return None
    likely /= likely.sum()
    cover_bytes = (cover * 255).astype(np.uint8)
    places = _places(rng, owners, members, likely, stage.dense_points, (height, width))
    chains = np.stack([cover_bytes[_levels(scene, owners[y, x], visible)] for x, y in places])
    chosen = rng.choice(len(members), max(1, stage.boxes), p=likely)
    edges, sides, solid = _maps(scene, owners, cover)
    return Sample(
        image=image,
        shown=np.array([height, width]),
        points=places.astype(np.float32),
        chains=chains,
        boxes=np.stack([_box(rng, *_extent(members[n], owners, cover[n]), side) for n in chosen]),
        boxed=cover_bytes[chosen],
        edges=edges,
        sides=sides,
        solid=solid,
    )


def _places(
    rng: Rng, owners: Bytes, members: NDArray[np.bool_], likely: Floats, count: int, size: tuple[int, int]
) -> NDArray[np.int64]:
    """[count, 2] x, y: mostly inside an object that is drawn first, else anywhere in the picture."""
    flat = owners.ravel()
    order = np.argsort(flat, kind="stable")
    starts = np.searchsorted(flat[order], np.arange(len(members) + 1))
    places = []
    for node in rng.choice(len(members), count, p=likely):
        if rng.random() < 0.2:
            places.append((int(rng.integers(size[1])), int(rng.integers(size[0]))))
            continue
        inside = np.flatnonzero(members[node])
        sizes = starts[inside + 1] - starts[inside]
        pick = int(rng.integers(sizes.sum()))
        row = int(np.searchsorted(np.cumsum(sizes), pick, side="right"))
        start = starts[inside[row]] + pick - (np.cumsum(sizes)[row] - sizes[row])
        y, x = divmod(int(order[start]), owners.shape[1])
        places.append((x, y))
    return np.array(places)


def _levels(scene: Scene, node: int, visible: NDArray[np.bool_]) -> list[int]:
    """Three nodes for a point: smallest, between, whole. Node 0 (no mask) where nothing is."""
    chain = [n for n in scene.chain(int(node)) if visible[n]] or [0]
    return [chain[0], chain[len(chain) // 2], chain[-1]]


def _extent(member: NDArray[np.bool_], owners: Bytes, cover: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns and rows that a node shows in: of the cells that it shows in, then of their pixels."""
    down, across = np.flatnonzero(cover.any(axis=1)), np.flatnonzero(cover.any(axis=0))
    top, left = int(down[0]) * CELL, int(across[0]) * CELL
    mask = member[owners[top : (int(down[-1]) + 1) * CELL, left : (int(across[-1]) + 1) * CELL]]
    return left + np.flatnonzero(mask.any(axis=0)), top + np.flatnonzero(mask.any(axis=1))


def _box(rng: Rng, columns: NDArray[np.int64], rows: NDArray[np.int64], side: int) -> Floats:
    """x0, y0, x1, y1 of a mask in these columns and rows, each side moved by up to a tenth of the box."""
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
    extent = np.tile(box[2:] - box[:2], 2)
    spread = rng.uniform(0, 0.1)
    moved = box + rng.uniform(-spread, spread, 4) * extent + rng.uniform(-0.5, 0.5, 4)
    return np.asarray(np.clip(moved, 0, side), np.float32)


def _maps(scene: Scene, owners: Bytes, cover: Floats) -> tuple[Bytes, Floats, Bytes]:
    """The dense targets of `Sample`: edges, sides, solid."""
    rows = cover.shape[1]
    side = owners.shape[0]
    whole_of = np.array([scene.chain(n)[-1] if n else 0 for n in range(len(scene.parents))])
    edges = np.zeros((2, rows, rows), np.uint8)
    for level, numbers in enumerate((owners, whole_of.astype(np.uint8)[owners])):
        change = np.zeros((side, side), np.uint8)
        change[1:] |= numbers[1:] != numbers[:-1]
        change[:, 1:] |= numbers[:, 1:] != numbers[:, :-1]
        edges[level] = change.reshape(rows, CELL, rows, CELL).any(axis=(1, 3)) * 255
    small = whole_of[owners[CELL // 2 :: CELL, CELL // 2 :: CELL]]
    solid = (~scene.regions[small] & (small > 0)).astype(np.uint8) * 255
    ys, xs = np.mgrid[0:rows, 0:rows].astype(np.float32) / np.float32(rows)
    limits = np.zeros((len(scene.parents), 4), np.float32)
    for node in np.unique(small):
        held = small == node
        across, down = xs[0, held.any(axis=0)], ys[held.any(axis=1), 0]
        limits[node] = across[0], down[0], across[-1], down[-1]
    box = limits[small].transpose(2, 0, 1)
    sides = np.stack([xs - box[0], ys - box[1], box[2] - xs, box[3] - ys])
    return edges, sides, solid
