"""What a command shows and writes."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from orchestrator import bootstrap
from orchestrator.cli.engine import Answer
from orchestrator.cli.queue import Queue
from orchestrator.domain import coco, overlay, rle
from orchestrator.domain import image as images
from orchestrator.settings import Settings

MOST_LINES = 20
out, err = Console(), Console(stderr=True)


def fail(sentence: str) -> NoReturn:
    err.print("[red]error:[/red]", escape(sentence), highlight=False, soft_wrap=True)
    raise SystemExit(1)


@contextmanager
def spinner(text: str) -> Iterator[None]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        progress.add_task(text)
        yield


@contextmanager
def bar(text: str) -> Iterator[Callable[[float], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(text, total=1.0)
        yield lambda share: progress.update(task, completed=share)


@contextmanager
def bars() -> Iterator[Callable[[str, int, int], None]]:
    """One for each name: (name, done, of how many)."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err) as progress:
        tasks: dict[str, TaskID] = {}

        def show(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total)
            progress.update(tasks[name], completed=done)

        yield show


def write_masks(answer: Answer, picture: Path, folder: Path) -> None:
    """`mask_<i>.png`, `overlay.png`, `result.json`."""
    shapes = [rle.decode(mask.segmentation) for mask in answer.masks]
    files = {
        f"mask_{index}.png": overlay.to_png(np.where(shape, np.uint8(255), np.uint8(0)))
        for index, shape in enumerate(shapes)
    }
    files["overlay.png"] = _overlay(answer, picture)
    files["result.json"] = json.dumps(answer.body, indent=2).encode()
    write(files, folder)


def write_coco(answer: Answer, picture: Path, folder: Path) -> None:
    """`overlay.png`, `coco.json`."""
    size = (answer.body["image"]["height"], answer.body["image"]["width"])
    document = coco.document([(picture.name, size, answer.masks)])
    write({"overlay.png": _overlay(answer, picture), "coco.json": json.dumps(document).encode()}, folder)


def show(answer: Answer, folder: Path) -> None:
    masks = answer.masks
    table = Table("mask", "bbox", "area", "predicted IoU", "stability")
    for index, mask in enumerate(masks[:MOST_LINES]):
        scores = (f"{mask.predicted_iou:.3f}", f"{mask.stability_score:.3f}")
        table.add_row(str(index), " ".join(map(str, mask.bbox)), f"{mask.area:,}", *scores)
    if len(masks) > MOST_LINES:
        table.add_row("…", f"{len(masks) - MOST_LINES} more", "", "", "")
    if masks:
        out.print(table)
    else:
        out.print("No mask passed the thresholds: lower --pred-iou-thresh or --stability-score-thresh.")
    name, milliseconds = answer.body["model"]["name"], answer.body["timings_ms"]["total"]
    counted = "1 mask" if len(masks) == 1 else f"{len(masks)} masks"
    out.print(f"{counted} by {name} in {milliseconds:,.0f} ms. Look at {folder / 'overlay.png'}")


def show_batch(count: int, failed: Mapping[str, str], folder: Path) -> None:
    """Exit code 1 if any failed."""
    out.print(f"{count - len(failed)} of {count} pictures are in {folder}", highlight=False, soft_wrap=True)
    for name, reason in list(failed.items())[:MOST_LINES]:
        err.print(escape(f"{name}: {reason}"), highlight=False, soft_wrap=True)
    if failed:
        fail(f"{len(failed)} failed.")


def show_queue(found: Queue) -> None:
    out.print(", ".join(f"{count} {status}" for status, count in found.counts.items()) or "No jobs.", highlight=False)
    if found.workers is not None:
        out.print(f"{found.workers} workers listen; {found.rings} rings wait for one.", highlight=False)
    table = Table("job", "kind", "status", "priority", "done", "attempts", "created (UTC)", "why")
    for job in found.jobs:
        numbers = (f"{job.progress:.0f} %", str(job.attempts))
        table.add_row(job.id, job.kind, job.status, job.priority, *numbers, job.created_at, escape(job.error))
    if found.jobs:
        out.print(table)


def _overlay(answer: Answer, picture: Path) -> bytes:
    image = images.decode(picture.read_bytes(), bootstrap.limits(Settings()))
    return overlay.to_png(overlay.draw(image, answer.masks))


def write(files: Mapping[str, bytes], folder: Path) -> None:
    """Each written beside and renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        part = folder / f".{name}.part"
        part.write_bytes(data)
        part.replace(folder / name)
