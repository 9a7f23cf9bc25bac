"""Trains tiny: `python -m export.tiny.train WORK --pool POOL --seconds 10800`.

The time is divided among the stages, whose learning rates fall with it: a slower machine makes
fewer steps. Stops at any time and goes on from the last checkpoint in WORK, which it writes every
few minutes. `--stop-after SECONDS` ends it early; `--export` writes the averaged weights into the
package.
"""

import argparse
import ctypes
import itertools
import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from export.errors import ExportError
from export.tiny import architecture, evaluate, finish, stages, weights
from export.tiny.courtesy import Courtesy
from export.tiny.encoding import encode
from export.tiny.objective import dense_losses, losses
from export.tiny.pool import Pool
from export.tiny.samples import Batch, batches
from export.tiny.stages import Stage
from export.tiny.state import State, copy_of, new_state, next_stage, resume, save

AVERAGE_OVER = 300
"""Steps that the averaged weights reach back, fewer at a stage's start."""

VALIDATION_SEED = 20_000_000
VALIDATION_SCENES = 30

WARM_UP = 60

HEAD_ALONE = 150
"""Steps in which a fresh head learns to read a trained encoder before it is let pull at it."""


def teach_head(state: State, batches: Iterator[Batch]) -> None:
    """Train the dense head alone: published weights come without one, and a fresh one would do harm."""
    optimiser = torch.optim.AdamW(state.head.parameters(), lr=1e-3)
    for step, batch in enumerate(itertools.islice(batches, HEAD_ALONE)):
        if step % 10 == 0:
            print(f"a fresh dense head learns alone: step {step} of {HEAD_ALONE}", flush=True)
        with torch.autocast(batch.image.device.type, torch.bfloat16):
            with torch.no_grad():
                embedding = encode(state.sam, batch.image, batch.shown)
            terms = dense_losses(state.sam, state.head, embedding, batch)
        optimiser.zero_grad()
        torch.autograd.backward(torch.stack(list(terms.values())).sum(), inputs=list(state.head.parameters()))
        optimiser.step()


def begin(chosen: argparse.Namespace, pool: Pool) -> State:
    """At the first stage with fresh weights, or at a later one with those that were published."""
    state = new_state(chosen.seed, chosen.from_stage, pool.device)
    if chosen.from_stage:
        stage = stages.STAGES[chosen.from_stage].scaled(chosen.batch_scale)
        state.sam.load_state_dict(finish.unfinished(weights.load().state_dict(), stage.side))
        state.average = copy_of(state.sam)
        teach_head(state, batches(pool, stage, chosen.seed * 1000 + len(stages.STAGES), 0))
    return state


def rate(stage: Stage, step: int, along: float) -> float:
    """The learning rate: a short rise, then half a cosine over the stage's time, `along` from 0 to 1."""
    first, last = stage.rates
    return min(1.0, (step + 1) / WARM_UP) * (last + (first - last) * (1 + math.cos(math.pi * along)) / 2)


Losses = Callable[..., dict[str, Tensor]]


def train_step(state: State, stage: Stage, batch: Batch, along: float, compiled: Losses = losses) -> dict[str, Tensor]:
    """One step of the optimisers. Returns the terms of the loss, which are not waited for.

    `compiled` is `losses` or a faster form of it. A second round costs more than the first, so those
    steps have a quarter of the pictures, and are not worth compiling.
    """
    correct = bool(stage.correct_every) and state.step % stage.correct_every == 0
    with torch.autocast(batch.image.device.type, torch.bfloat16):
        if correct:
            few = Batch(**{name: tensor[: max(2, len(tensor) // 4)] for name, tensor in vars(batch).items()})
            terms = losses(state.sam, state.head, few, points=stage.points, boxes=stage.boxes, correct=True)
        else:
            terms = compiled(state.sam, state.head, batch, points=stage.points, boxes=stage.boxes, correct=False)
    for optimiser in state.optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["share"] * rate(stage, state.step, along)
        optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    norm = nn.utils.clip_grad_norm_([*state.sam.parameters(), *state.head.parameters()], 1.0)
    for optimiser in state.optimisers:
        optimiser.step()
    share = 1 / min(AVERAGE_OVER, 1 + state.step / 2)
    with torch.no_grad():
        current = state.sam.state_dict()
        names = [name for name in current if current[name].is_floating_point()]
        torch._foreach_lerp_([state.average[n] for n in names], [current[n] for n in names], share)
    state.step += 1
    return {name: term.detach() for name, term in terms.items()} | {"norm": norm}


def train(work: Path, pool: Path, chosen: argparse.Namespace) -> State:
    """Go through the stages from wherever the checkpoint is."""
    device = torch.device(chosen.device)
    path = work / "checkpoint.pt"
    torch.set_float32_matmul_precision("high")
    scenes = Pool(pool, device)
    state = resume(path, device) if path.exists() else begin(chosen, scenes)
    compiled = torch.compile(losses, dynamic=False) if device.type == "cuda" else losses
    begun = saved = checked = clock = time.monotonic()
    asked_to_end: list[int] = []
    courtesy = Courtesy() if os.nice(0) > 0 and device.type == "cpu" else None
    signal.signal(signal.SIGTERM, lambda number, _: asked_to_end.append(number))
    while True:
        stage = stages.STAGES[state.stage].scaled(chosen.batch_scale)
        seed = chosen.seed * 1000 + state.stage
        kept: dict[str, Tensor] = {}
        clock = time.monotonic()
        for batch in batches(scenes, stage, seed, state.step):
            along = state.stage_seconds / (stage.share * chosen.seconds)
            if along >= 1:
                break
            if courtesy and state.step % 4 == 0:
                courtesy.adapt()
            terms = train_step(state, stage, batch, along, compiled)
            now = time.monotonic()
            state.seconds += now - clock
            state.stage_seconds += now - clock
            kept = {n: kept.get(n, v) * 0.95 + v * 0.05 for n, v in terms.items()}
            if state.step % chosen.report_every == 0:
                _report(work, state, {name: term.item() for name, term in kept.items()}, now - clock)
            clock = now
            if now - checked > chosen.check_every:
                _check(work, state)
                checked = clock = now = time.monotonic()
            out_of_time = now - begun > chosen.stop_after or state.step >= chosen.stop_at_step or bool(asked_to_end)
            if now - saved > chosen.save_every or out_of_time:
                save(state, path)
                saved = now
            if out_of_time:
                return state
        weights.save(state.average, work / f"stage-{state.stage}.safetensors")
        if state.stage + 1 == len(stages.STAGES):
            save(state, path)
            return state
        state = next_stage(state, device)
        save(state, path)


def _report(work: Path, state: State, terms: dict[str, float], seconds: float) -> None:
    shown = " ".join(f"{name} {value:.3f}" for name, value in terms.items())
    line = f"stage {state.stage} step {state.step} {state.seconds:.0f}s {seconds:.2f}s/step {shown}"
    print(line, flush=True)
    with (work / "log.jsonl").open("a") as log:
        log.write(json.dumps({"stage": state.stage, "step": state.step, "seconds": state.seconds} | terms) + "\n")


def _check(work: Path, state: State) -> None:
    """Measure the averaged weights on a few scenes of the validation, no larger than the stage's side."""
    side = stages.STAGES[state.stage].side
    sam = architecture.build(side).to(next(state.sam.parameters()).device)
    sam.load_state_dict(state.average)
    seeds = range(VALIDATION_SEED, VALIDATION_SEED + VALIDATION_SCENES)
    summary = evaluate.evaluate(sam.eval(), seeds, side=min(side, evaluate.SIDE)).summary()
    print(f"check after {state.seconds:.0f}s at {side}: {summary}", flush=True)
    with (work / "log.jsonl").open("a") as log:
        log.write(json.dumps({"check": side, "step": state.step, "seconds": state.seconds} | summary) + "\n")


def keep_memory() -> None:
    """Let the C library keep what is freed: handing pages back costs more than a step's sums."""
    library = ctypes.CDLL(None)
    trim, top_pad, most_mapped, most_arenas = -1, -2, -4, -8
    for option, value in ((trim, 2**31 - 1), (top_pad, 2**28), (most_mapped, 0), (most_arenas, 1)):
        library.mallopt(option, value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="folder of the checkpoint and the log")
    parser.add_argument("--pool", type=Path, required=True, help="folder of scenes drawn ahead")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--from-stage", type=int, default=0, help="begin there, with the published weights")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=3 * 3600, help="of training, over all stages")
    parser.add_argument("--batch-scale", type=float, help="pictures a step, of the stages' (CPU: 0.125, GPU: 1)")
    parser.add_argument("--stop-after", type=float, default=math.inf, metavar="SECONDS")
    parser.add_argument("--stop-at-step", type=float, default=math.inf, metavar="STEP")
    parser.add_argument("--save-every", type=float, default=180, metavar="SECONDS")
    parser.add_argument("--check-every", type=float, default=480, metavar="SECONDS")
    parser.add_argument("--report-every", type=int, default=20, metavar="STEPS")
    parser.add_argument("--export", action="store_true", help="write the package's weights and end")
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    if chosen.export:
        held = torch.load(chosen.work / "checkpoint.pt", map_location="cpu", weights_only=True)
        weights.save(finish.finished(held["average"]))
        return
    if chosen.batch_scale is None:
        chosen.batch_scale = 0.125 if chosen.device == "cpu" else 1.0
    if chosen.device == "cpu":
        keep_memory()
    try:
        train(chosen.work, chosen.pool, chosen)
    except ExportError as exc:
        parser.exit(1, f"{exc}\n")


if __name__ == "__main__":
    main()
