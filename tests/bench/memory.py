"""`make bench-memory`: what automatic masks take of the orchestrator's memory, at ViT-B's shapes.

The encoder runs on Triton and does not count: a fixed random embedding stands for its answer. First one picture of
4096×4096 with a 64×64 grid, then 50 pictures of mixed sizes with a small grid, which must not grow the process.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console
from rich.progress import track

from orchestrator import bootstrap
from orchestrator.adapters.repository import FileModelRepository
from orchestrator.bootstrap import Engines
from orchestrator.domain.geometry import ModelInput
from orchestrator.domain.grid import Options
from orchestrator.domain.image import Image
from orchestrator.domain.model import Manifest
from orchestrator.settings import Settings
from orchestrator.usecases.ports.engines import Float32
from orchestrator.usecases.stopwatch import Stopwatch
from tests.bench.thresholds import quantile_thresholds
from tests.fakes import FakeEncoder, FakeRepository
from tests.pictures import draw

MODEL = "vit_b"
LARGE = (4096, 4096)
SIZES = [(600, 800), (1365, 2048), (3000, 4000), (480, 320), (4096, 2304)]
PICTURES = 50


class RandomEmbedding(FakeEncoder):
    """Answers one embedding of the right shape to every picture."""

    def encode(self, model: Manifest, picture: ModelInput) -> Float32:
        assert picture.canvas.dtype == np.uint8
        return np.random.default_rng(0).normal(0, 0.3, model.embedding_shape).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-memory", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--output", type=Path, default=Path("bench-output"), help="for memory.json (%(default)s)")
    parser.add_argument("--grid", type=int, default=64, help="points per side on the large picture (%(default)s)")
    chosen = parser.parse_args()
    console = Console(highlight=False)
    # In a process of its own: the service has no torch, and its memory would count here.
    subprocess.run([sys.executable, "-m", "tests.bench.large", str(chosen.output)], check=True)
    engines = _engines(chosen.output / "repository")
    started = _resident()
    picture = draw(*LARGE)
    options = {"points_per_side": chosen.grid} | quantile_thresholds(engines, picture, MODEL)
    with console.status(f"{LARGE[1]}×{LARGE[0]}, {chosen.grid}×{chosen.grid} points …"):
        answer = engines.automatic.generate(Image(picture), Options(**options), MODEL, Stopwatch())
    peak = _peak()
    console.print(f"{LARGE[1]}×{LARGE[0]}: {len(answer.masks)} masks, peak {peak:.0f} MB (at start {started:.0f})")
    resident = []
    for index in track(range(PICTURES), "pictures of mixed sizes", console=console):
        image = Image(draw(*SIZES[index % len(SIZES)], seed=index))
        engines.automatic.generate(image, Options(**options | {"points_per_side": 4}), MODEL, Stopwatch())
        resident.append(_resident())
    half = PICTURES // 2
    first, second = max(resident[:half]), max(resident[half:])
    console.print(f"{PICTURES} pictures: {first:.0f} MB in the first half, {second:.0f} MB in the second")
    figures = {"peak_mb": peak, "start_mb": started, "resident_mb": resident, "options": options}
    (chosen.output / "memory.json").write_text(json.dumps(figures, indent=2))


def _engines(folder: Path) -> Engines:
    files = FileModelRepository(folder)
    manifest = files.manifest(MODEL)
    encoder = RandomEmbedding(FakeRepository({MODEL: manifest}))
    # A small cache of embeddings, full after a few pictures: what grows beyond it is a leak.
    return bootstrap.engines(Settings(model_repository=folder, embedding_cache_mb=16), encoder=encoder)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _resident() -> float:
    return float(psutil.Process().memory_info().rss) / 2**20


if __name__ == "__main__":
    main()
