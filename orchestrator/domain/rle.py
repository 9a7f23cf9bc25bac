"""COCO's run-length encoding, exactly as pycocotools writes it.

Runs alternate background, foreground, … over the mask in column-major order. `counts` as a string packs each run (from
the fourth on, its difference to the run two before) in groups of 5 bits, least significant first, each as chr(48 + bits
+ 32 if more follow). Source: cocoapi common/maskApi.c, rleToString and rleFrString.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.geometry import Size

Runs = NDArray[np.int64]

_MOST_GROUPS = 7  # 40 bits hold the runs of any picture


@dataclass(frozen=True)
class Rle:
    """`size` (height, width) of the picture; `counts`: the packed string."""

    size: Size
    counts: str


def encode(mask: NDArray[np.bool_]) -> Rle:
    """A mask bool [H, W] of the whole picture."""
    height, width = mask.shape
    return encode_window(mask, (0, 0), (height, width))


def encode_window(window: NDArray[np.bool_], corner: tuple[int, int], size: Size) -> Rle:
    """A mask that is empty outside of `window` bool [h, w], whose upper left pixel lies at `corner` (x, y).

    Time and memory follow the window, not the picture of `size`.
    """
    return Rle(size, pack(runs_of_window(window, corner, size)))


def runs_of_window(window: NDArray[np.bool_], corner: tuple[int, int], size: Size) -> Runs:
    """Run lengths over a picture of `size`, the first of background, summing to its area."""
    height, width = size
    rows, columns = window.shape
    # A row of background below each column keeps runs from passing into the next one.
    padded = np.zeros((columns, rows + 1), np.int8)
    padded[:, :rows] = window.T
    edges = np.flatnonzero(np.diff(padded.ravel(), prepend=np.int8(0)))
    column, row = np.divmod(edges, rows + 1)
    positions = (column + corner[0]) * height + row + corner[1]
    starts, ends = positions[0::2], positions[1::2]
    # Runs that touch over the picture's lower and upper edge are one.
    joined = np.flatnonzero(ends[:-1] == starts[1:])
    starts, ends = np.delete(starts, joined + 1), np.delete(ends, joined)
    bounds = np.empty(2 * len(starts) + 2, np.int64)
    bounds[0], bounds[1:-1:2], bounds[2:-1:2], bounds[-1] = 0, starts, ends, height * width
    runs = np.diff(bounds)
    # A mask that reaches the last pixel ends in a foreground run, without an empty one behind it.
    return runs[:-1] if len(runs) > 1 and runs[-1] == 0 else runs


def decode(rle: Rle) -> NDArray[np.bool_]:
    """The mask, bool [H, W]. Raises ValueError if the runs do not fill the picture."""
    height, width = rle.size
    runs = unpack(rle.counts)
    # Each run by itself first: a sum of huge ones could wrap around to the right number.
    if (runs < 0).any() or (runs > height * width).any() or int(runs.sum()) != height * width:
        raise ValueError(f"the runs do not fill a picture of {width}×{height} pixels")
    values = np.arange(len(runs)) % 2 == 1
    return np.ascontiguousarray(np.repeat(values, runs).reshape(width, height).T)


def window_of_runs(runs: Runs, box: tuple[int, int, int, int], height: int) -> NDArray[np.bool_]:
    """The part x0, y0, x1, y1 (ends excluded) of a mask of a picture of `height`, bool [w, h], column by column."""
    x0, y0, x1, y1 = box
    ends = np.cumsum(runs)
    first, last = x0 * height, x1 * height
    # Only runs that reach into the columns of the box.
    low, high = np.searchsorted(ends, first, "right"), min(int(np.searchsorted(ends, last, "left")) + 1, len(runs))
    bounds = np.clip(np.concatenate([[ends[low - 1] if low else 0], ends[low:high]]), first, last)
    columns = np.repeat(np.arange(low, high) % 2 == 1, np.diff(bounds)).reshape(x1 - x0, height)
    return columns[:, y0:y1]


def area(rle: Rle) -> int:
    """Foreground pixels."""
    return int(unpack(rle.counts)[1::2].sum())


def pack(runs: Runs) -> str:
    """Run lengths → the string."""
    values = runs.copy()
    values[3:] -= runs[1:-2]
    digits = np.empty((len(values), 13), np.uint8)  # 13 groups of 5 bits hold an int64
    used = np.zeros(digits.shape, np.bool_)
    active = np.ones(len(values), np.bool_)
    for group in range(digits.shape[1]):
        bits = values & 0x1F
        values = values >> 5
        # The value ends where what is left only repeats the sign bit of this group.
        more = np.where(bits & 0x10, values != -1, values != 0)
        digits[:, group] = 48 + bits + 32 * more
        used[:, group] = active
        active = active & more
        if not active.any():
            break
    return digits[used].tobytes().decode("ascii")


def unpack(counts: str) -> Runs:
    """The string → run lengths. Raises ValueError if it is not such a string."""
    digits = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - 48
    if (digits < 0).any() or (digits > 63).any():
        raise ValueError("counts hold a character that COCO's encoding does not use")
    last = np.flatnonzero(~(digits & 0x20).astype(np.bool_))
    if len(digits) and (not len(last) or last[-1] != len(digits) - 1):
        raise ValueError("counts end in the middle of a number")
    first = np.concatenate([[0], last[:-1] + 1])[: len(last)]
    place = np.arange(len(digits)) - np.repeat(first, last - first + 1)
    if (place > _MOST_GROUPS).any():
        raise ValueError("counts hold a number that is too long")
    parts = (digits & 0x1F) << (5 * place)
    values = np.add.reduceat(parts, first) if len(first) else np.zeros(0, np.int64)
    negative = (digits[last] & 0x10).astype(np.bool_)
    values = np.where(negative, values - (np.int64(1) << (5 * (last - first + 1))), values)
    # Undo the differences: odd and even runs are two sums of their own, from the second and third run on.
    runs = values.copy()
    runs[1::2] = np.cumsum(values[1::2])
    runs[2::2] = np.cumsum(values[2::2])
    return runs
