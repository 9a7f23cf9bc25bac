"""Samples drawn in processes of their own and put side by side for the training."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from export.tiny.objective import Batch
from export.tiny.pool import Pool
from export.tiny.samples import Sample, sample
from export.tiny.stages import Stage

MASKS = ("chains", "boxed", "edges", "solid")


class Samples(IterableDataset[dict[str, torch.Tensor]]):
    """An endless row of batches for a stage, the same for the same seed and number of workers.

    `first` is the number of batches drawn already: batch n depends on the seed, on n and on the pool.
    """

    def __init__(self, folder: Path, stage: Stage, seed: int, first: int) -> None:
        self._folder, self._stage, self._seed, self._first = folder, stage, seed, first

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        worker = get_worker_info()
        if worker:
            torch.set_num_threads(1)
            cv2.setNumThreads(1)
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        pool = Pool(self._folder)
        for batch in range(self._first + number, 10**9, workers):
            yield _batch(np.random.default_rng([self._seed, batch]), pool, self._stage)


def _batch(rng: np.random.Generator, pool: Pool, stage: Stage) -> dict[str, torch.Tensor]:
    """One batch as `Batch`'s fields, masks still uint8."""
    drawn: list[Sample] = []
    while len(drawn) < stage.batch:
        scene = pool[int(rng.integers(len(pool)))]
        if np.count_nonzero((scene.parents == 0) & ~scene.regions) - 1 > stage.most_wholes:
            continue
        made = sample(rng, scene, stage)
        if made is not None:
            drawn.append(made)
    names = [field.name for field in dataclasses.fields(Sample)]
    return {n: torch.from_numpy(np.stack([getattr(one, n) for one in drawn])) for n in names}


def batches(folder: Path, stage: Stage, seed: int, first: int, workers: int) -> Iterator[Batch]:
    """Batches on the CPU from batch number `first` on."""
    loader = DataLoader(
        Samples(folder, stage, seed, first),
        batch_size=None,
        num_workers=workers,
        generator=torch.Generator(),  # else each new loader draws from the training's own numbers
        prefetch_factor=2 if workers else None,
    )
    for fields in loader:
        yield Batch(**fields)


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch where the model is, its masks as float32 in 0..1."""
    moved = {name: tensor.to(device) for name, tensor in vars(batch).items()}
    for name in MASKS:
        moved[name] = moved[name].float() / 255
    return Batch(**moved)
