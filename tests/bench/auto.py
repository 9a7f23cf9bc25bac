"""`make bench-auto`: automatic masks side by side with the official generator, same machine, checkpoint and picture.

    python -m tests.bench.auto [--photos DIR] [--engines onnxruntime,openvino-bf16] [--long] [--output DIR]

All run in turn in one process, on all cores: ours on each engine, then the official code. A table goes to the
terminal, the figures to `auto.json`. Without `--photos` the pictures are drawn. `--long` adds large grids on all
pictures and the large model's full run: an hour on two cores.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow
from rich.console import Console
from rich.table import Table
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam

from export import checkpoint
from orchestrator import bootstrap
from orchestrator.bootstrap import Engines
from orchestrator.domain.grid import Options
from orchestrator.domain.image import Image
from orchestrator.domain.masks import Mask
from orchestrator.local import demo
from orchestrator.settings import Settings
from orchestrator.usecases.stopwatch import Stopwatch
from tests.bench import large
from tests.bench.agreement import Agreement, compare
from tests.bench.thresholds import quantile_thresholds
from tests.pictures import Pixels, draw

SAMPLE = "sample"
"""The bundled picture: what tiny is sure of, as it is of little in a photo."""

REPEATS = 3
TABLE = 160
"""Columns of the terminal that the table takes; a log has as many."""

OFFICIAL = {"pred_iou_thresh": 0.88, "stability_score_thresh": 0.95, "min_mask_region_area": 0}
OURS = {"pred_iou_thresh": 0.90, "stability_score_thresh": 0.92, "min_mask_region_area": 1000}
LENIENT = {"pred_iou_thresh": 0.83, "stability_score_thresh": 0.6, "min_mask_region_area": 0}


@dataclass(frozen=True)
class Case:
    """`size`: the picture is scaled to it; None keeps it."""

    model: str
    picture: str
    size: tuple[int, int] | None
    thresholds: str
    options: dict[str, Any]


@dataclass(frozen=True)
class Ours:
    """One engine's runs: seconds of each, by the clock and of all cores' time; `stages_ms` of the median run."""

    engine: str
    seconds: list[float]
    cpu_s: list[float]
    agreement: Agreement
    stages_ms: dict[str, float]


@dataclass(frozen=True)
class Result:
    case: Case
    pixels: str
    official_s: list[float]
    official_cpu_s: list[float]
    ours: list[Ours]

    def ratio(self, ours: Ours) -> float:
        """How many times as fast as the official code, by the medians."""
        return statistics.median(self.official_s) / statistics.median(ours.seconds)

    def cpu_ratio(self, ours: Ours) -> float:
        """The same by the cores' time, which other work on the machine changes less."""
        return statistics.median(self.official_cpu_s) / statistics.median(ours.cpu_s)


def cases(names: Sequence[str], long: bool) -> Iterator[Case]:
    """Agreement over photos, grids, crops and thresholds; then the two speeds that are promised."""
    first, *others = names
    for name in names:
        yield Case("tiny", name, (1000, 700), "lenient", LENIENT | {"points_per_side": 16})
    yield Case("tiny", first, (1000, 700), "official", OFFICIAL | {"points_per_side": 32})
    yield Case("tiny", first, (1000, 700), "lenient", LENIENT | {"points_per_side": 16, "crop_n_layers": 1})
    yield Case("tiny", first, (2000, 1500), "ours", OURS | {"points_per_side": 16})
    yield Case("tiny", SAMPLE, (2100, 1400), "official", OFFICIAL | {"points_per_side": 32})
    yield Case("tiny", SAMPLE, None, "official", OFFICIAL | {"points_per_side": 16, "crop_n_layers": 1})
    yield Case("tiny", first, (1800, 1200), "official", OFFICIAL | {"points_per_side": 64})
    yield Case("tiny", first, (1800, 1200), "ours", OURS | {"points_per_side": 64})
    yield Case("vit_b", first, (1800, 1200), "quantile", {"points_per_side": 16, "min_mask_region_area": 0})
    if not long:
        return
    for name in others:
        yield Case("tiny", name, (2000, 1500), "official", OFFICIAL | {"points_per_side": 64})
        yield Case("tiny", name, (1800, 1200), "lenient", LENIENT | {"points_per_side": 32, "crop_n_layers": 1})
    yield Case("vit_b", first, (1800, 1200), "quantile", {"points_per_side": 64, "min_mask_region_area": 0})


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-auto", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--photos", type=Path, help="folder of JPEGs; drawn pictures without it")
    parser.add_argument("--output", type=Path, default=Path("bench-output"), help="for auto.json (%(default)s)")
    parser.add_argument("--engines", default="onnxruntime,openvino-bf16", help="of ours, by CPU_ENGINE (%(default)s)")
    parser.add_argument("--long", action="store_true", help="also the large grids, and the large model in full")
    parser.add_argument("--only", default="", help="only cases whose description has this in it")
    chosen = parser.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    pictures = photos(chosen.photos) if chosen.photos else {"drawn": draw(1200, 1800, seed=5)}
    names = list(pictures)
    pictures[SAMPLE] = np.asarray(Pillow.open(demo.SAMPLE).convert("RGB"))
    bench = Bench(chosen.output, chosen.engines.split(","), Console(highlight=False, width=TABLE))
    results = []
    for case in cases(names, chosen.long):
        if chosen.only in str(case):
            results.append(bench.run(case, pictures[case.picture]))
            report(results, chosen.output)
    bench.show(results)


class Bench:
    def __init__(self, output: Path, engines: Sequence[str], console: Console) -> None:
        self._output = output
        self._names = engines
        self._console = console
        self._engines: dict[tuple[str, str], Engines] = {}
        self._official: dict[str, Sam] = {}

    def run(self, case: Case, pixels: Pixels) -> Result:
        picture = _scaled(pixels, case.size)
        options = case.options
        if case.thresholds == "quantile":
            options = options | quantile_thresholds(self._engine(case.model, self._names[0]), picture, case.model)
        shown = f"{picture.shape[1]}×{picture.shape[0]}"
        self._console.print(f"{case.model} {case.picture} {shown} {options} …")
        runs = [self._ours(name, case.model, picture, options) for name in self._names]
        official_s: list[float] = []
        official_cpu_s: list[float] = []
        generator = SamAutomaticMaskGenerator(self._sam(case.model), output_mode="coco_rle", **options)
        # A slow case is run once: its noise is small beside its ratio.
        while len(official_s) < REPEATS and sum(official_s) < 60:
            started, before = time.perf_counter(), time.process_time()
            records = generator.generate(picture)
            official_s.append(time.perf_counter() - started)
            official_cpu_s.append(time.process_time() - before)
        ours = [replace(run, agreement=compare(records, masks)) for run, masks in runs]
        result = Result(replace(case, options=options), shown, official_s, official_cpu_s, ours)
        self._console.print(f"  official {_spread(official_s)} s")
        for each in ours:
            ratios = f"{result.ratio(each):.1f}×, by CPU time {result.cpu_ratio(each):.1f}×"
            self._console.print(f"  {each.engine} {_spread(each.seconds)} s: {ratios}; {each.agreement}")
        return result

    def _ours(self, engine: str, model: str, picture: Pixels, options: dict[str, Any]) -> tuple[Ours, Sequence[Mask]]:
        automatic = self._engine(model, engine).automatic
        chosen, seconds, cpu_s, watches = Options(**options), [], [], []
        # Graphs are opened and compiled when they are first used, once in a service's life.
        automatic.generate(Image(picture), Options(**options | {"points_per_side": 8}), model, Stopwatch())
        for _ in range(REPEATS):
            watch = Stopwatch()
            started, before = time.perf_counter(), time.process_time()
            answer = automatic.generate(Image(picture), chosen, model, watch)
            seconds.append(time.perf_counter() - started)
            cpu_s.append(time.process_time() - before)
            watches.append({name: spent for name, spent in watch.milliseconds().items() if not isinstance(spent, str)})
        median = sorted(range(REPEATS), key=seconds.__getitem__)[REPEATS // 2]
        return Ours(engine, seconds, cpu_s, compare([], []), watches[median]), answer.masks

    def _sam(self, name: str) -> Sam:
        if name not in self._official:
            self._official[name] = checkpoint.load("tiny") if name == "tiny" else large.model()
        return self._official[name]

    def _engine(self, model: str, engine: str) -> Engines:
        if (model, engine) not in self._engines:
            folder = {} if model == "tiny" else {"model_repository": large.repository(self._output)}
            chosen = folder | {"cpu_engine": engine, "embedding_cache_mb": 0}
            self._engines[model, engine] = bootstrap.engines(Settings.model_validate(chosen))
        return self._engines[model, engine]

    def show(self, results: Sequence[Result]) -> None:
        names = "model picture grid crops thresholds official/s engine ours/s ratio CPU masks found right"
        table = Table(*names.split())
        for result in results:
            case = result.case
            for ours in result.ours:
                table.add_row(
                    case.model,
                    f"{case.picture} {result.pixels}",
                    str(case.options["points_per_side"]),
                    str(case.options.get("crop_n_layers", 0)),
                    case.thresholds,
                    _spread(result.official_s),
                    ours.engine,
                    _spread(ours.seconds),
                    f"{result.ratio(ours):.1f}×",
                    f"{result.cpu_ratio(ours):.1f}×",
                    f"{ours.agreement.official} / {ours.agreement.ours}",
                    f"{ours.agreement.found:.1%}",
                    f"{ours.agreement.right:.1%}",
                )
        self._console.print(table)


def photos(folder: Path) -> dict[str, Pixels]:
    found = {path.stem: np.asarray(Pillow.open(path).convert("RGB")) for path in sorted(folder.glob("*.jpg"))}
    if not found:
        raise SystemExit(f"There are no JPEGs in {folder}.")
    return found


def report(results: Sequence[Result], output: Path) -> None:
    """`auto.json`: written anew after each case, so that an interrupted run has its figures too."""
    machine = {
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "repeats": REPEATS,
    }
    rows = [
        asdict(result) | {"ratios": {ours.engine: (result.ratio(ours), result.cpu_ratio(ours)) for ours in result.ours}}
        for result in results
    ]
    part = output / ".auto.json.part"
    part.write_text(json.dumps({"machine": machine, "results": rows}, indent=2))
    part.replace(output / "auto.json")


def _scaled(pixels: Pixels, size: tuple[int, int] | None) -> Pixels:
    return pixels if size is None else np.asarray(Pillow.fromarray(pixels).resize(size))


def _spread(seconds: Sequence[float]) -> str:
    median = statistics.median(seconds)
    return f"{median:.2f}" if len(seconds) == 1 else f"{median:.2f} ({min(seconds):.2f}–{max(seconds):.2f})"


if __name__ == "__main__":
    main()
