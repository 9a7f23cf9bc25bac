"""Measures tiny on scenes that it has not seen: `python -m export.tiny.evaluate`.

Through the official `SamPredictor` and with the masks of the official automatic generator at its
defaults; prints the figures of the model card and writes them as JSON with `--json`.
"""

import argparse
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamPredictor
from segment_anything.modeling import Sam

from export.tiny import weights
from export.tiny.automatic import automatic_masks
from export.tiny.scenes import Scene, scene

FIRST_SEED = 10_000_000
"""The evaluation's scenes; the training's have seeds from 0 on, the validation's from 20 million, those that
`scores.py` looks at from 30 million."""

SIDE = 512
"""Of the scenes, larger than what the model sees: masks count at the picture's own resolution."""

JITTER = 0.05
"""Each side of a box moves by up to this part of the box."""

LARGE = 0.005
"""Part of the picture from which on an object should be found without a prompt; the smallest
objects that are asked for by prompts have a tenth of it."""

PROMPTS_AT_ONCE = 48

Masks = NDArray[np.bool_]


@dataclass(frozen=True)
class Asked:
    """One object that was asked for: its part of the picture and the IoUs of both answers."""

    share: float
    is_part: bool
    point: float
    box: float


@dataclass
class Figures:
    """Everything measured, one entry for each object asked for or answer given."""

    asked: list[Asked] = field(default_factory=list)
    predicted: list[float] = field(default_factory=list)
    true: list[float] = field(default_factory=list)
    found: list[bool] = field(default_factory=list)
    found_parts: list[bool] = field(default_factory=list)

    def summary(self) -> dict[str, float | int]:
        """Means by name, and how many objects they rest on."""
        wholes = [one for one in self.asked if not one.is_part]
        parts = [one for one in self.asked if one.is_part]
        large = [one for one in wholes if one.share >= LARGE]
        shown: dict[str, float | int] = {}
        for name, some in (("", wholes), ("_large", large), ("_parts", parts)):
            shown[f"objects{name}"] = len(some)
            shown[f"point_best_of_three{name}"] = _mean(one.point for one in some)
            shown[f"jittered_box{name}"] = _mean(one.box for one in some)
        shown["predicted_iou_pearson_r"] = float(np.corrcoef(self.predicted, self.true)[0, 1])
        shown["predicted_iou_mean_error"] = _mean(np.abs(np.subtract(self.predicted, self.true)))
        if self.found:
            shown["automatic_objects"] = len(self.found)
            shown["automatic_recall"] = _mean(self.found)
            shown["automatic_recall_parts"] = _mean(self.found_parts)
        return {name: round(value, 4) for name, value in shown.items()}


def _mean(values: Iterable[float]) -> float:
    held = list(values)
    return float(np.mean(held)) if held else float("nan")


def interior_point(rng: np.random.Generator, mask: Masks) -> tuple[int, int]:
    """x, y of a random pixel of the mask that does not touch its border, where there is one."""
    padded = np.pad(mask.astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    inside = np.flatnonzero(depth > min(2.0, float(depth.max()) - 0.5))
    y, x = divmod(int(rng.choice(inside)), mask.shape[1])
    return x, y


def jittered_box(rng: np.random.Generator, mask: Masks) -> NDArray[np.float32]:
    """x0, y0, x1, y1 of the mask, each moved by up to `JITTER` of the box."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
    extent = np.tile(box[2:] - box[:2], 2)
    moved = box + rng.uniform(-JITTER, JITTER, 4) * extent
    return np.asarray(np.clip(moved, 0, np.tile(mask.shape[::-1], 2)), np.float32)


def ious(found: Masks, wanted: Masks) -> NDArray[np.float64]:
    """[n, m] IoU of found [n, H, W] and wanted [m, H, W]."""
    first = found.reshape(len(found), -1).astype(np.float32)
    second = wanted.reshape(len(wanted), -1).astype(np.float32)
    both = first @ second.T
    either = first.sum(axis=1)[:, None] + second.sum(axis=1)[None] - both
    return np.asarray(both / np.maximum(either, 1), np.float64)


def prompt(predictor: SamPredictor, drawn: Scene, seed: int, figures: Figures) -> None:
    """One point and one box for each object and part of the scene."""
    rng = np.random.default_rng([7, seed])
    nodes = drawn.objects()
    if not nodes:
        return
    masks = {node: drawn.mask(node) for node in nodes}
    places = np.array([interior_point(rng, masks[node]) for node in nodes], np.float32)
    boxes = np.stack([jittered_box(rng, masks[node]) for node in nodes])
    predictor.set_image(drawn.image)
    device = predictor.device
    for start in range(0, len(nodes), PROMPTS_AT_ONCE):
        some = slice(start, start + PROMPTS_AT_ONCE)
        points = predictor.transform.apply_coords(places[some][:, None], drawn.image.shape[:2])
        found, scores, _ = predictor.predict_torch(
            torch.as_tensor(points, dtype=torch.float32, device=device),
            torch.ones(len(points), 1, dtype=torch.int, device=device),
            multimask_output=True,
        )
        frames = predictor.transform.apply_boxes(boxes[some], drawn.image.shape[:2])
        framed, sure, _ = predictor.predict_torch(
            None, None, torch.as_tensor(frames, dtype=torch.float32, device=device), multimask_output=False
        )
        found, scores, framed, sure = (part.cpu() for part in (found, scores, framed, sure))
        for row, node in enumerate(nodes[some]):
            x, y = places[start + row].astype(int)
            here = [masks[n] for n in drawn.chain(int(drawn.owners[y, x])) if n in masks]
            each = ious(found[row].numpy(), np.stack([masks[node], *here]))
            alone = float(ious(framed[row].numpy(), masks[node][None])[0, 0])
            share, is_part = float(masks[node].mean()), bool(drawn.parents[node])
            figures.asked.append(Asked(share, is_part, float(each[:, 0].max()), alone))
            figures.predicted += [*scores[row].tolist(), float(sure[row, 0])]
            figures.true += [*each.max(axis=1).tolist(), alone]


def automatic(predictor: SamPredictor, drawn: Scene, figures: Figures) -> None:
    """Which large objects a mask without prompts covers with an IoU of at least 0.5."""
    found = automatic_masks(predictor, drawn.image)
    for node in drawn.objects():
        mask = drawn.mask(node)
        if mask.mean() < LARGE:
            continue
        best = float(ious(found, mask[None]).max()) if len(found) else 0.0
        (figures.found_parts if drawn.parents[node] else figures.found).append(best >= 0.5)


def evaluate(sam: Sam, seeds: range, automatic_scenes: int = 0, side: int = SIDE, loud: bool = False) -> Figures:
    """All figures over the scenes of these seeds, the automatic ones over the first of them."""
    predictor = SamPredictor(sam)
    figures = Figures()
    said = time.monotonic()
    for count, seed in enumerate(seeds):
        drawn = scene(seed, side)
        prompt(predictor, drawn, seed, figures)
        if count < automatic_scenes:
            automatic(predictor, drawn, figures)
        if loud and time.monotonic() - said > 60:
            print(f"{count + 1}/{len(seeds)} {figures.summary()}", flush=True)
            said = time.monotonic()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=weights.PATH)
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--from-seed", type=int, default=FIRST_SEED, help="of the first scene (%(default)s)")
    parser.add_argument("--automatic", type=int, default=40, help="scenes for the automatic masks")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    if chosen.scenes < 1:
        parser.error("--scenes must be at least 1.")
    if not chosen.weights.exists():
        parser.error(f"There is no file {chosen.weights}.")
    seeds = range(chosen.from_seed, chosen.from_seed + chosen.scenes)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    figures = evaluate(weights.load(chosen.weights).to(device), seeds, chosen.automatic, loud=True)
    print(json.dumps(figures.summary(), indent=2))
    if chosen.json:
        chosen.json.write_text(json.dumps(figures.summary(), indent=2) + "\n")


if __name__ == "__main__":
    main()
