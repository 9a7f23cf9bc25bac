"""Low-res logits → logits of the picture, made only where they can matter.

The official `Sam.postprocess_masks` interpolates bilinearly to S×S, cuts the padding off, and interpolates bilinearly
to the picture. Both steps are linear and separable, so together they are `R_y · low · R_xᵀ` with matrices whose rows
have at most four neighbours that are not zero. Each value is a weighted mean of those neighbours: where none of them is
above a threshold, the value is not either. So everything above a threshold lies in a window that is known beforehand,
and the products are taken over that window alone, in bands: exact, at a cost that follows the object, not the picture.
Who needs only what lies above a threshold gets bands one by one and keeps no logits: a band stays in the cache.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.geometry import Size, resized_size

Float32 = NDArray[np.float32]

_BAND = 128
"""Rows of the picture that one product makes: few low-res rows reach into it, and its values stay in the cache."""


@dataclass(frozen=True)
class Window:
    """Part of a picture: `values` float32 [w, h], column by column as COCO counts; its upper left pixel is (x, y)."""

    values: Float32
    x: int
    y: int


@dataclass(frozen=True)
class Cut:
    """A mask: `inside` bool [w, h], column by column; its upper left pixel is (x, y).

    `sure` and `likely`: how many pixels are above the threshold raised and lowered by the offset.
    """

    inside: NDArray[np.bool_]
    x: int
    y: int
    sure: int
    likely: int


@dataclass(frozen=True)
class _Axis:
    """One direction: `matrix` [n, L]; output i depends on low-res places `first[i]` to `last[i]`, both rising."""

    matrix: Float32
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    def reach(self, start: int, stop: int) -> slice:
        """Outputs that depend on any of the low-res places `start` to `stop`."""
        return slice(int(np.searchsorted(self.last, start, "left")), int(np.searchsorted(self.first, stop, "left")))

    def needs(self, outputs: slice) -> slice:
        """Low-res places that these outputs depend on."""
        return slice(int(self.first[outputs.start]), int(self.last[outputs.stop - 1]) + 1)


class Upscaler:
    """For pictures of one `size` and a model of side S, whose low-res masks are [S/4, S/4]."""

    def __init__(self, size: Size, side: int) -> None:
        self.size = size
        height, width = resized_size(size, side)
        self._rows = _axis(side // 4, side, height, size[0])
        self._columns = _axis(side // 4, side, width, size[1])

    def window(self, low: Float32, above: float) -> Window | None:
        """The part of the picture that holds every value above `above`; None if there is none."""
        place = self._place(low, above)
        if place is None:
            return None
        xs, ys = place
        return Window(self._values(low, xs, ys), xs.start, ys.start)

    def cut(self, low: Float32, threshold: float, offset: float) -> Cut | None:
        """What is above `threshold`; None if nothing is above `threshold` − `offset`, which is 0 or more."""
        place = self._place(low, threshold - offset)
        if place is None:
            return None
        xs, ys = place
        inside = np.empty((xs.stop - xs.start, ys.stop - ys.start), np.bool_)
        room = np.empty((len(inside), _BAND), np.float32)
        sure = likely = 0
        for rows, left, right in self._bands(low, xs, ys):
            values = np.matmul(left, right, out=room[:, : rows.stop - rows.start])
            sure += int(np.count_nonzero(values > threshold + offset))
            likely += int(np.count_nonzero(values > threshold - offset))
            np.greater(values, threshold, out=inside[:, rows])
        return Cut(inside, xs.start, ys.start, sure, likely)

    def full(self, low: Float32) -> Float32:
        """Logits of the whole picture, float32 [H, W]."""
        return self._values(low, slice(0, self.size[1]), slice(0, self.size[0])).T

    def _place(self, low: Float32, above: float) -> tuple[slice, slice] | None:
        """Columns and rows outside of which no value is above `above`."""
        rows = np.flatnonzero(low.max(axis=1) > above)
        if not len(rows):
            return None
        columns = np.flatnonzero(low[rows[0] : rows[-1] + 1].max(axis=0) > above)
        ys = self._rows.reach(int(rows[0]), int(rows[-1]) + 1)
        xs = self._columns.reach(int(columns[0]), int(columns[-1]) + 1)
        return None if ys.start >= ys.stop or xs.start >= xs.stop else (xs, ys)  # None: only in the padding

    def _values(self, low: Float32, xs: slice, ys: slice) -> Float32:
        values = np.empty((xs.stop - xs.start, ys.stop - ys.start), np.float32)
        for rows, left, right in self._bands(low, xs, ys):
            np.matmul(left, right, out=values[:, rows])
        return values

    def _bands(self, low: Float32, xs: slice, ys: slice) -> Iterator[tuple[slice, Float32, Float32]]:
        """Rows, counted from the first of `ys`, and the two matrices whose product is their values [w, rows]."""
        across, down = self._columns.needs(xs), self._rows.needs(ys)
        # [w, rows of the low-res mask]: the narrow product first.
        half = self._columns.matrix[xs, across] @ low[down, across].T
        for start in range(ys.start, ys.stop, _BAND):
            band = slice(start, min(start + _BAND, ys.stop))
            need = self._rows.needs(band)
            part = half[:, need.start - down.start : need.stop - down.start]
            yield slice(start - ys.start, band.stop - ys.start), part, self._rows.matrix[band, need].T


@lru_cache(maxsize=16)
def upscaler(size: Size, side: int) -> Upscaler:
    """Shared between the masks of a picture, and between pictures of one size."""
    return Upscaler(size, side)


def _axis(low: int, side: int, kept: int, length: int) -> _Axis:
    """`low` places to `side`, of which the first `kept` are interpolated to `length`."""
    inner = _bilinear(low, side)
    below, above, share = _neighbours(kept, length)
    matrix = inner[below] * (1 - share)[:, None] + inner[above] * share[:, None]
    used = matrix > 0
    first = used.argmax(axis=1)
    last = low - 1 - used[:, ::-1].argmax(axis=1)
    return _Axis(matrix.astype(np.float32), np.minimum.accumulate(first[::-1])[::-1], np.maximum.accumulate(last))


def _bilinear(source: int, target: int) -> NDArray[np.float64]:
    """The weights as a matrix [target, source]."""
    below, above, share = _neighbours(source, target)
    matrix, rows = np.zeros((target, source)), np.arange(target)
    matrix[rows, below] += 1 - share
    matrix[rows, above] += share
    return matrix


def _neighbours(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """For each of `target` places: the two of `source` around it, and the second one's share.

    Half-pixel centres, clamped at the ends, as PyTorch's `align_corners=False`.
    """
    places = np.maximum((np.arange(target) + 0.5) * (source / target) - 0.5, 0)
    below = np.minimum(places.astype(np.int64), source - 1)
    return below, np.minimum(below + 1, source - 1), places - below
