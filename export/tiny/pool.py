"""Scenes drawn ahead of the training, in files.

`python -m export.tiny.pool FOLDER --count 12800 --workers 2` draws scenes 0..12799 in chunks of
100; chunks that are there already are left alone, so an interrupted run goes on where it was.
"""

import argparse
from collections import deque
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.errors import ExportError
from export.tiny.scenes import scene

CHUNK = 100
SIDE = 512
NO_NODE = -1
"""Fills the rows of `parents` up to 256 entries."""


def chunk_path(folder: Path, chunk: int) -> Path:
    return folder / f"chunk-{chunk:05d}.bin"


RECORD = np.dtype(
    [
        ("image", np.uint8, (SIDE, SIDE, 3)),
        ("owners", np.uint8, (SIDE, SIDE)),
        ("parents", np.int16, (256,)),
        ("regions", np.bool_, (256,)),
    ]
)

STARTS = {"image": 0, "owners": 3 * SIDE**2, "parents": 4 * SIDE**2, "regions": 4 * SIDE**2 + 512}
"""Bytes from a record's start to each field's."""


def draw_chunk(folder: Path, chunk: int, from_seed: int = 0) -> None:
    """Draw one file of scenes, whole or not at all."""
    path = chunk_path(folder, chunk)
    if path.exists():
        return
    cv2.setNumThreads(1)
    records = np.zeros(CHUNK, RECORD)
    records["parents"] = NO_NODE
    for row in range(CHUNK):
        drawn = scene(from_seed + chunk * CHUNK + row, SIDE)
        records[row]["image"] = drawn.image
        records[row]["owners"] = drawn.owners
        records[row]["parents"][: len(drawn.parents)] = drawn.parents
        records[row]["regions"][: len(drawn.regions)] = drawn.regions
    unfinished = path.with_suffix(".unfinished")
    records.tofile(unfinished)
    unfinished.replace(path)


@dataclass(frozen=True)
class Scenes:
    """B scenes side by side. See `Scene` for each; nodes are filled up to N with nodes that nothing shows.

    image: uint8 [B, S, S, 3]; owners: uint8 [B, S, S]; parents: int64 [B, N]; regions: bool [B, N].
    """

    image: Tensor
    owners: Tensor
    parents: Tensor
    regions: Tensor


class Pool:
    """The chunks of a folder, which may grow while it is read.

    On a GPU they are kept in its memory, up to half of it, the newest in the place of the oldest. On a
    CPU scenes are read when they are drawn, whole rather than mapped: a page fault for each 4 kB costs
    more than the read.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.device = device
        self._folder = folder
        most = None
        if device.type == "cuda":
            most = torch.cuda.mem_get_info(device)[1] // 2 // (CHUNK * RECORD.itemsize)
        self._chunks: deque[tuple[Tensor | Path, NDArray[np.int64]]] = deque(maxlen=most)
        self._taken = 0
        self._reader = ThreadPoolExecutor(1)
        self._coming = self._reader.submit(self._read, 0)

    def _read(self, chunk: int) -> tuple[Tensor | Path, NDArray[np.int64]] | None:
        """The scenes of a chunk where the model is, or their file, and how many wholes each has."""
        path = chunk_path(self._folder, chunk)
        if not path.exists():
            return None
        on_gpu = self.device.type == "cuda"
        records = np.fromfile(path, RECORD) if on_gpu else np.memmap(path, RECORD, "r")
        wholes = ((records["parents"] == 0) & ~records["regions"]).sum(axis=1) - 1
        if not on_gpu:
            return path, wholes
        return torch.from_numpy(records.view(np.uint8).reshape(len(records), -1)).to(self.device), wholes

    def _take_new(self) -> None:
        """Take the chunks that have been read; all that there are, the first time."""
        while self._coming.done() or not self._chunks:
            found = self._coming.result()
            self._taken += found is not None
            self._coming = self._reader.submit(self._read, self._taken)
            if found is not None:
                self._chunks.append(found)
            elif self._chunks:
                return
            else:
                raise ExportError(f"No scenes in {self._folder}: draw some with python -m export.tiny.pool.")

    def draw(self, rng: np.random.Generator, count: int, most_wholes: int) -> Scenes:
        """So many scenes, none of them with more wholes than this.

        Raises ExportError if the folder has none.
        """
        self._take_new()
        fitting = np.flatnonzero(np.concatenate([wholes for _, wholes in self._chunks]) <= most_wholes)
        rows = torch.stack([self._row(*divmod(int(index), CHUNK)) for index in rng.choice(fitting, count)])
        image, owners, parents, regions = (
            rows[:, start : start + RECORD[name].itemsize] for name, start in STARTS.items()
        )
        return Scenes(
            image=image.view(count, SIDE, SIDE, 3),
            owners=owners.view(count, SIDE, SIDE),
            parents=parents.contiguous().view(torch.int16).long().clamp(min=0),
            regions=regions.bool(),
        )

    def _row(self, chunk: int, row: int) -> Tensor:
        held = self._chunks[chunk][0]
        if isinstance(held, Tensor):
            return held[row]
        return torch.from_numpy(np.fromfile(held, np.uint8, RECORD.itemsize, offset=row * RECORD.itemsize))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=12800, help=f"of scenes, to the next {CHUNK} (%(default)s)")
    parser.add_argument("--from-seed", type=int, default=0, help="of the first scene; one folder has one")
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    if chosen.count < 1 or chosen.workers < 1:
        parser.error("--count and --workers must be at least 1.")
    chosen.folder.mkdir(parents=True, exist_ok=True)
    chunks = range(-(-chosen.count // CHUNK))
    with ProcessPoolExecutor(chosen.workers) as workers:
        for chunk, _ in enumerate(workers.map(draw_chunk, repeat(chosen.folder), chunks, repeat(chosen.from_seed))):
            print(f"{(chunk + 1) * CHUNK} scenes", flush=True)


if __name__ == "__main__":
    main()
