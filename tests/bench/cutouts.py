"""`make bench-cutouts`: how far soft edges and cleaned colours are from known ones, beside hard edges.

    python -m tests.bench.cutouts [--photos DIR] [--output DIR]

Objects with a known α and known colours are drawn, and the logits that a perfect model of side S would have of them; so
the model's own error does not hide the edges'. With `--photos`, objects of these photographs are cut out by the default
model and shown on a dark and on a light ground, `cutout-<name>.jpg`, as docs/images has them.
"""

import argparse
import io
import json
import statistics
import time
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from rich.console import Console
from rich.table import Table

from export.tiny.architecture import IMAGE_SIDE
from orchestrator import bootstrap
from orchestrator.domain import alpha, cutout, foreground, prompts
from orchestrator.domain import image as images
from orchestrator.domain.cutout import Cutout, CutoutOptions
from orchestrator.domain.upscale import upscaler
from orchestrator.settings import Settings
from orchestrator.usecases.stopwatch import Stopwatch
from tests.domain.mattes import Matte, matte

SEEDS = range(6)
EDGES = (2, 5, 12, 24)
SIDES = {1024: "vit_h, vit_l, vit_b", IMAGE_SIDE: "tiny"}
DARK, LIGHT = (24, 26, 34), (250, 250, 250)
PROMPTS = {
    "corgi": {"points": [], "labels": [], "box": [800, 515, 1790, 995]},
    "neon": {"points": [[380, 360], [250, 350], [540, 350]], "labels": [1, 1, 1], "box": [118, 262, 642, 520]},
}
"""Where the photographs' objects are."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-cutouts", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--photos", type=Path, help="a folder with the photographs")
    parser.add_argument("--output", type=Path, default=Path("bench-output"), help="for the results (%(default)s)")
    chosen = parser.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    console, rows = Console(highlight=False), []
    table = Table("side", "edge, px", "α hard", "α soft", "ratio (spread)", "colour as it is", "cleaned", "ratio")
    for side in SIDES:
        for edge in EDGES:
            row = measured([matte(seed, edge, side=side) for seed in SEEDS])
            rows.append({"side": side, "edge": edge} | row)
            spread = f"{row['ratio']:.2f} ({row['least']:.2f}–{row['most']:.2f})"
            alphas = (f"{row['hard']:.5f}", f"{row['soft']:.5f}", spread)
            colours = (f"{row['plain']:.1f}", f"{row['cleaned']:.1f}", f"{row['cleaned'] / row['plain']:.2f}")
            table.add_row(str(side), str(edge), *alphas, *colours)
    console.print(table)
    (chosen.output / "cutouts.json").write_text(json.dumps(rows, indent=2))
    if chosen.photos:
        show(chosen.photos, chosen.output, console)


def measured(known: list[Matte]) -> dict[str, float]:
    """Mean absolute errors: of α over the whole picture, of colours (of 255) where 0.05 < α < 0.95."""
    hard = [_alpha_error(one, CutoutOptions(crop="full", edges="hard")) for one in known]
    soft = [_alpha_error(one, CutoutOptions(crop="full")) for one in known]
    ratios = [ours / theirs for ours, theirs in zip(soft, hard, strict=True)]
    plain, cleaned = zip(*(_colour_errors(one) for one in known), strict=True)
    return {
        "hard": statistics.fmean(hard),
        "soft": statistics.fmean(soft),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "plain": statistics.fmean(plain),
        "cleaned": statistics.fmean(cleaned),
    }


def _alpha_error(known: Matte, how: CutoutOptions) -> float:
    return float(np.abs(_cut(known, how).pixels[:, :, 3] / 255 - known.alpha).mean())


def _colour_errors(known: Matte) -> tuple[float, float]:
    pixels, edges = known.image.pixels, (known.alpha > 0.05) & (known.alpha < 0.95)
    cleaned = foreground.estimate(pixels, known.alpha)
    plain, ours = (np.abs(found - known.foreground)[edges].mean() for found in (pixels, cleaned))
    return float(plain), float(ours)


def _cut(known: Matte, how: CutoutOptions) -> Cutout:
    height, width = known.alpha.shape
    window = upscaler((height, width), known.side).window(known.low, -alpha.FAINTEST)
    feather = cutout.usual_feather((height, width), known.low.shape[0])
    return cutout.cut(known.image, known.mask, window, 0.0, feather, how)


def show(photos: Path, output: Path, console: Console) -> None:
    """One object of each photograph on a dark and on a light ground."""
    settings = Settings()
    engines = bootstrap.engines(settings)
    for name, prompt in PROMPTS.items():
        image = images.decode((photos / f"{name}.jpg").read_bytes(), bootstrap.limits(settings))
        asked = prompts.from_points(**prompt, size=(image.height, image.width))  # type: ignore[arg-type]
        started = time.perf_counter()
        found = engines.extract.extract(image, asked, CutoutOptions(), settings.default_model, Stopwatch())
        seconds = time.perf_counter() - started
        made = Pillow.open(io.BytesIO(found.objects[0].png))
        both = Pillow.new("RGB", (2 * made.width, made.height), DARK)
        both.paste(LIGHT, (made.width, 0, 2 * made.width, made.height))
        for left in (0, made.width):
            both.paste(made, (left, 0), made)
        both.thumbnail((1200, 600))
        both.save(output / f"cutout-{name}.jpg", quality=82)
        console.print(f"{name}: {made.width}×{made.height} in {seconds:.2f} s, {output / f'cutout-{name}.jpg'}")


if __name__ == "__main__":
    main()
