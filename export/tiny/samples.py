"""Training samples, a batch at a time and where the model is: crops, prompts, what they should give."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from export.tiny.pool import Pool, Scenes
from export.tiny.stages import Stage

CELL = 4
"""Pixels of the input along a pixel of the low-res mask."""

FEWEST_CELLS = 5
"""An object that covers less of the low-res mask is not asked for."""

DEEPEST = 3
"""Nodes on the way from a pixel's own to the whole: a whole, its part, a part of that."""

WHOLES = 2.0
"""A whole is asked for so many times as likely as a part of its size: there are two parts to a whole."""

ANYWHERE = 0.2
"""Part of the points and of the crops that are put anywhere rather than on an object drawn first."""


@dataclass(frozen=True)
class Batch:
    """B pictures of side S, K points and M boxes on each; L = S / 4. Masks are cover, float32 in 0..1.

    image: float32 [B, S, S, 3] RGB in 0..255; shown: int64 [B, 2], height and width that hold picture.
    points: float32 [B, K, 2] x, y in pixels of the input; chains: [B, K, 3, L, L], masks of the
    smallest object there, of one between, of the whole (equal where there are fewer, empty where there is none).
    boxes: float32 [B, M, 4] x0, y0, x1, y1; boxed: [B, M, L, L].
    edges: [B, 2, L, L], borders of any object and of wholes; sides: float32 [B, 4, L, L], from a
    pixel to the left, upper, right and lower side of its whole's box in parts of S; solid: [B, L, L], 1
    where there is an object.
    """

    image: Tensor
    shown: Tensor
    points: Tensor
    chains: Tensor
    boxes: Tensor
    boxed: Tensor
    edges: Tensor
    sides: Tensor
    solid: Tensor


class Forest:
    """What is part of what in B scenes of up to N nodes; node 0 is nothing.

    lineage: int64 [B, N, DEEPEST], each node, what it is a part of, and so on, then zeros.
    roots: int64 [B, N], the whole that each node is or belongs to.
    """

    def __init__(self, parents: Tensor) -> None:
        node = torch.arange(parents.shape[1], device=parents.device).expand(parents.shape)
        self.roots, found = node, [node]
        for _ in range(DEEPEST - 1):
            node = parents.gather(1, node)
            self.roots = torch.where(node > 0, node, self.roots)
            found.append(node)
        self.lineage = torch.stack(found, dim=2)

    def areas(self, places: Tensor) -> Tensor:
        """float32 [B, N], how many of the places [B, P], nodes, belong to each node or to its parts."""
        own = _present(places[:, None], self.roots.shape[1]).sum(dim=2, dtype=torch.float32)[:, 0]
        total = own.clone()
        for level in range(1, DEEPEST):
            total.scatter_add_(1, self.lineage[:, :, level], own)
        total[:, 0] = 0
        return total

    def belongs(self, nodes: Tensor) -> Tensor:
        """bool [B, M, N], whether each node is one of `nodes` [B, M] or a part of it; none is of node 0."""
        return (self.lineage[:, None] == nodes[:, :, None, None]).any(dim=3) & (nodes > 0)[:, :, None]

    def levels(self, nodes: Tensor, visible: Tensor) -> Tensor:
        """[B, K, 3] for nodes [B, K]: the smallest visible one that each belongs to, one between, the whole."""
        chain = self.lineage.gather(1, nodes[:, :, None].expand(-1, -1, DEEPEST))
        shown = visible.gather(1, chain.flatten(1)).view(chain.shape) & (chain > 0)
        count = shown.sum(dim=2)
        first = shown.byte().argmax(dim=2)
        picks = torch.stack([first, first + count // 2, first + count - 1], dim=2).clamp(0, DEEPEST - 1)
        return chain.gather(2, picks) * (count > 0)[:, :, None]


def _present(nodes: Tensor, count: int) -> Tensor:
    """bool [..., P, count], one true for each of nodes [..., P]."""
    return nodes[..., None] == torch.arange(count, device=nodes.device)


def sample(scenes: Scenes, stage: Stage, random: torch.Generator) -> Batch:
    """One sample of each scene, on their device; `random` is a generator of the same device."""
    image, owners, shown = crop(scenes, stage, random)
    forest = Forest(scenes.parents)
    rows = stage.side // CELL
    cells = owners.long().view(-1, rows, CELL, rows, CELL).permute(0, 2, 4, 1, 3).flatten(1, 2).flatten(2)
    seen = torch.randint(CELL**2, (len(cells), 1, rows**2), generator=random, device=cells.device)
    places = cells.gather(1, seen)[:, 0]
    areas = forest.areas(places)
    visible = areas >= FEWEST_CELLS
    likely = areas**stage.size_power * (visible & ~scenes.regions) * torch.where(scenes.parents > 0, 1.0, WHOLES)
    likely[:, 0] += likely.sum(dim=1) == 0  # a crop that shows too little is asked for nothing
    points = _points(forest, likely, places, seen[:, 0], shown, stage, random)
    chosen = torch.multinomial(likely, max(1, stage.boxes), replacement=True, generator=random)
    at = owners.flatten(1).gather(1, (points[..., 1] * stage.side + points[..., 0])).long()
    levels = forest.levels(at, visible)
    cover = covers(forest, cells, torch.cat([levels.flatten(1), chosen], dim=1))
    asked = levels[0].numel()
    edges, sides, solid = _maps(forest, owners, scenes.regions)
    made = Batch(
        image=image,
        shown=shown,
        points=points.float(),
        chains=cover[:, :asked].view(len(cover), *levels.shape[1:], rows, rows),
        boxes=_boxes(forest, owners, chosen, random),
        boxed=cover[:, asked:],
        edges=edges,
        sides=sides,
        solid=solid,
    )
    return Batch(**{name: tensor.contiguous() for name, tensor in vars(made).items()})


def batches(pool: Pool, stage: Stage, seed: int, first: int) -> Iterator[Batch]:
    """An endless row of batches from number `first` on: batch n depends on the seed, on n and on the pool."""
    for number in itertools.count(first):
        rng = np.random.default_rng([seed, number])
        random = torch.Generator(pool.device).manual_seed(int(rng.integers(2**63)))
        yield sample(pool.draw(rng, stage.batch, stage.most_wholes), stage, random)


def _uniform(random: torch.Generator, count: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=random, device=random.device)


def crop(scenes: Scenes, stage: Stage, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A random window of each scene, mirrored or turned, in other light, scaled to the longest side.

    Returns float32 [B, S, S, 3] with zeros right and below, the owners likewise, and the size
    (height, width) of each picture.
    """
    count, whole, side = len(scenes.owners), scenes.owners.shape[1], stage.side
    narrowest, widest = stage.crops
    chance = torch.rand(6, count, generator=random, device=random.device)
    turned, mirrored = chance[4] < 0.1, chance[5] < 0.5
    longest = whole * torch.where(chance[0] < 0.7, _uniform(random, count, narrowest, widest), widest)
    shortest = longest * torch.where(chance[1] < 0.4, 1.0, _uniform(random, count, 0.56, 1.0))
    upright = chance[2] < 0.35
    size = torch.stack([torch.where(upright, longest, shortest), torch.where(upright, shortest, longest)], dim=1)
    centre = _centres(scenes, chance[3] < ANYWHERE, random)
    slack = torch.rand(count, 2, generator=random, device=random.device) * 0.4 + 0.3
    start = torch.minimum((centre - size * slack).clamp(min=0), whole - size)
    shown = (size * (side / longest)[:, None]).round().long().clamp(16, side)
    step = size / shown
    start[:, 1] += torch.where(mirrored, size[:, 1], 0)
    step[:, 1] *= torch.where(mirrored, -1, 1)
    image = _tint(_render(scenes.image, start, step, side, -(-int(whole * widest) // side)), random)
    place = torch.arange(side, device=random.device) + 0.5
    index = (start[:, :, None] + place * step[:, :, None]).long().clamp(0, whole - 1)
    which = torch.arange(count, device=random.device)[:, None, None]
    owners = scenes.owners[which, index[:, 0, :, None], index[:, 1, None]]
    inside = (place < shown[:, :1])[:, :, None] & (place < shown[:, 1:])[:, None]
    image, owners = image * inside[..., None], owners * inside
    image = torch.where(turned[:, None, None, None], image.transpose(1, 2), image)
    owners = torch.where(turned[:, None, None], owners.transpose(1, 2), owners)
    shown = torch.where(turned[:, None], shown.flip(1), shown)
    return image, owners, shown


def _centres(scenes: Scenes, anywhere: Tensor, random: torch.Generator) -> Tensor:
    """[B, 2] y, x that the windows lie around: a pixel of an object, or any."""
    coarse = scenes.owners[:, ::8, ::8]
    rows = coarse.shape[1]
    coarse = coarse.flatten(1).long()
    solid = ~scenes.regions.gather(1, coarse) & (coarse > 0)
    weight = torch.where(anywhere[:, None], 1.0, solid + 1e-9)
    pick = torch.multinomial(weight, 1, generator=random)
    return torch.cat([pick // rows, pick % rows], dim=1).float() * 8


def _render(images: Tensor, start: Tensor, step: Tensor, side: int, over: int) -> Tensor:
    """[B, side, side, 3] from windows that begin at `start` and go by `step` (y, x) a pixel.

    Each pixel is the mean of `over` x `over` places in it, enough that none of the window is left out.
    """
    edge = side * over
    place = (torch.arange(edge, device=start.device) + 0.5) / over
    where = (start[:, :, None] + place * step[:, :, None]) / images.shape[1] * 2 - 1
    grid = torch.stack([where[:, 1, None].expand(-1, edge, -1), where[:, 0, :, None].expand(-1, -1, edge)], dim=-1)
    drawn = functional.grid_sample(images.permute(0, 3, 1, 2).float(), grid, padding_mode="border", align_corners=False)
    return functional.avg_pool2d(drawn, over).permute(0, 2, 3, 1) if over > 1 else drawn.permute(0, 2, 3, 1)


def _tint(image: Tensor, random: torch.Generator) -> Tensor:
    """Other light and other colours for seven pictures of ten, another order of channels for three."""
    count, device = len(image), random.device
    chance = torch.rand(2, count, generator=random, device=device)
    gain = torch.exp(torch.randn(count, 1, generator=random, device=device) * 0.15)
    gain = gain * (1 + torch.randn(count, 3, generator=random, device=device) * 0.07)
    offset = torch.randn(count, 1, generator=random, device=device) * 10
    order = torch.rand(count, 3, generator=random, device=device).argsort(dim=1)
    plain = torch.arange(3, device=device).expand(count, 3)
    order = torch.where((chance[1] < 0.3)[:, None], order, plain)
    gain = torch.where((chance[0] < 0.7)[:, None], gain, 1.0)
    offset = torch.where((chance[0] < 0.7)[:, None], offset, 0.0)
    shown = image.gather(3, order[:, None, None].expand(image.shape))
    return (shown * gain[:, None, None] + offset[:, None, None]).clamp(0, 255)


def _points(
    forest: Forest, likely: Tensor, places: Tensor, seen: Tensor, shown: Tensor, stage: Stage, random: torch.Generator
) -> Tensor:
    """int64 [B, K, 2] x, y: mostly inside an object that is drawn first, else anywhere in the picture.

    `places` [B, L * L] are the nodes at one pixel of each cell, `seen` which of the cell's pixels that is.
    """
    count, rows, points = len(places), stage.side // CELL, stage.dense_points
    nodes = torch.multinomial(likely, points, replacement=True, generator=random)
    inside = _look_up(forest.belongs(nodes), places).float()
    cell = torch.arange(rows, device=places.device) * CELL
    within = ((cell < shown[:, :1])[:, :, None] & (cell < shown[:, 1:])[:, None]).flatten(1)
    anywhere = torch.rand(count, points, generator=random, device=places.device) < ANYWHERE
    weight = torch.where(anywhere[:, :, None], within[:, None], inside + 1e-9 * within[:, None])
    pick = torch.multinomial(weight.flatten(0, 1), 1, generator=random).view(count, points)
    offset = seen.gather(1, pick)
    x = pick % rows * CELL + offset % CELL
    y = torch.div(pick, rows, rounding_mode="floor") * CELL + torch.div(offset, CELL, rounding_mode="floor")
    return torch.minimum(torch.stack([x, y], dim=2), shown.flip(1)[:, None] - 1)


def _look_up(belongs: Tensor, nodes: Tensor) -> Tensor:
    """bool [B, M, P] of tables [B, M, N] at nodes [B, P]."""
    return belongs.gather(2, nodes[:, None].expand(-1, belongs.shape[1], -1))


def covers(forest: Forest, cells: Tensor, nodes: Tensor) -> Tensor:
    """float32 [B, M, L, L] in 0..1: how much of each cell is of the nodes [B, M] and their parts.

    `cells` is int64 [B, CELL * CELL, L * L], the nodes at the pixels of each cell.
    """
    belongs = forest.belongs(nodes)
    count = torch.zeros(*nodes.shape, cells.shape[2], dtype=torch.uint8, device=cells.device)
    for pixel in cells.unbind(1):
        count += _look_up(belongs, pixel)
    rows = round(cells.shape[2] ** 0.5)
    return count.view(*nodes.shape, rows, rows).float() / CELL**2


def _extent(shown: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the last true of bool [..., S]."""
    marks = shown.byte()
    return marks.argmax(dim=-1), shown.shape[-1] - 1 - marks.flip(-1).argmax(dim=-1)


def _boxes(forest: Forest, owners: Tensor, nodes: Tensor, random: torch.Generator) -> Tensor:
    """float32 [B, M, 4] x0, y0, x1, y1 of the nodes [B, M], each side moved by up to a tenth of the box."""
    side = owners.shape[1]
    masks = _look_up(forest.belongs(nodes), owners.flatten(1).long()).view(*nodes.shape, side, side)
    (left, right), (top, bottom) = _extent(masks.any(dim=2)), _extent(masks.any(dim=3))
    box = torch.stack([left, top, right + 1, bottom + 1], dim=2).float()
    extent = (box[..., 2:] - box[..., :2]).repeat(1, 1, 2)
    spread = torch.rand(*nodes.shape, 1, generator=random, device=owners.device) * 0.1
    moves = torch.rand(2, *box.shape, generator=random, device=owners.device) * 2 - 1
    return (box + moves[0] * spread * extent + moves[1] * 0.5).clamp(0, side)


def _maps(forest: Forest, owners: Tensor, regions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The dense targets of `Batch`: edges, sides, solid."""
    side = owners.shape[1]
    rows = side // CELL
    wholes = forest.roots.gather(1, owners.flatten(1).long()).view(owners.shape)
    edges = []
    for numbers in (owners.long(), wholes):
        change = torch.zeros(owners.shape, device=owners.device)
        change[:, 1:] += numbers[:, 1:] != numbers[:, :-1]
        change[:, :, 1:] += numbers[:, :, 1:] != numbers[:, :, :-1]
        edges.append(functional.max_pool2d(change, CELL).clamp(max=1))
    small = wholes[:, CELL // 2 :: CELL, CELL // 2 :: CELL]
    solid = ~regions.gather(1, small.flatten(1)).view(small.shape) & (small > 0)
    there = _present(small, regions.shape[1])
    limits = torch.stack([*_extent(there.any(dim=1).transpose(1, 2)), *_extent(there.any(dim=2).transpose(1, 2))])
    left, right, top, bottom = limits[:, torch.arange(len(small), device=small.device)[:, None, None], small]
    place = torch.arange(rows, device=owners.device)
    sides = torch.stack([place - left, place[:, None] - top, right - place, bottom - place[:, None]], dim=1)
    return torch.stack(edges, dim=1), sides.float() / rows, solid.float()
