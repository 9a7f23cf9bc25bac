"""Scenes drawn ahead of the training, in files.

`python -m export.tiny.pool FOLDER --count 12800 --workers 2` draws scenes 0..12799 in chunks of
100; chunks that are there already are left alone, so an interrupted run goes on where it was.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from export.tiny.scenes import Scene, scene

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


def draw_chunk(folder: Path, chunk: int) -> None:
    """Draw one file of scenes, whole or not at all."""
    path = chunk_path(folder, chunk)
    if path.exists():
        return
    cv2.setNumThreads(1)
    records = np.zeros(CHUNK, RECORD)
    records["parents"] = NO_NODE
    for row in range(CHUNK):
        drawn = scene(chunk * CHUNK + row, SIDE)
        records[row]["image"] = drawn.image
        records[row]["owners"] = drawn.owners
        records[row]["parents"][: len(drawn.parents)] = drawn.parents
        records[row]["regions"][: len(drawn.regions)] = drawn.regions
    unfinished = path.with_suffix(".unfinished")
    records.tofile(unfinished)
    unfinished.replace(path)


class Pool:
    """The chunks of a folder, numbered without gaps. It may grow while it is read.

    Scenes are read whole rather than mapped: a page fault for each 4 kB costs more than the read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._chunks = 0

    def __len__(self) -> int:
        while chunk_path(self._folder, self._chunks).exists():
            self._chunks += 1
        return self._chunks * CHUNK

    def __getitem__(self, index: int) -> Scene:
        with chunk_path(self._folder, index // CHUNK).open("rb", buffering=0) as file:
            held = os.pread(file.fileno(), RECORD.itemsize, (index % CHUNK) * RECORD.itemsize)
        record = np.frombuffer(held, RECORD)[0]
        nodes = int((record["parents"] != NO_NODE).sum())
        return Scene(record["image"], record["owners"], record["parents"][:nodes], record["regions"][:nodes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=12800)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    chunks = range(-(-chosen.count // CHUNK))
    with ProcessPoolExecutor(chosen.workers) as workers:
        for chunk, _ in enumerate(workers.map(draw_chunk, [chosen.folder] * len(chunks), chunks)):
            print(f"{(chunk + 1) * CHUNK} scenes", flush=True)


if __name__ == "__main__":
    main()
