"""`quarry`: the command line.

Without a server, pictures are segmented in this process; with `--server URL`, by that service's API. `quarry up` runs
the whole stack.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import httpx2
import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from orchestrator import bootstrap
from orchestrator.domain import image as images
from orchestrator.domain import overlay, prompts, rle
from orchestrator.domain.errors import QuarryError
from orchestrator.domain.image import Image
from orchestrator.domain.rle import Rle
from orchestrator.settings import Settings
from orchestrator.usecases.models import Models
from orchestrator.usecases.stopwatch import Stopwatch

SERVER_SECONDS = 300.0

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Image Quarry: cut objects out of pictures.")
models_app = typer.Typer(no_args_is_help=True, help="What can be asked for, and what is at hand.")
app.add_typer(models_app, name="models")
out, err = Console(), Console(stderr=True)

Server = Annotated[
    str | None,
    typer.Option(envvar="QUARRY_SERVER", help="Address of a running service; this process without it."),
]
Model = Annotated[str | None, typer.Option(help="tiny, vit_b, vit_l or vit_h; DEFAULT_MODEL without it.")]


def main() -> None:
    """The console script: errors of ours become one sentence and exit code 1."""
    try:
        app()
    except QuarryError as exc:
        _fail(exc.detail)
    except httpx2.HTTPError as exc:
        _fail(f"The server does not answer: {exc}. Is it running (quarry up) at the address given with --server?")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def up(context: typer.Context) -> NoReturn:
    """Run the whole stack here: Triton, Redis and the API, until Ctrl-C."""
    os.execv(sys.executable, [sys.executable, "-m", "orchestrator.local", *context.args])  # noqa: S606 - no shell


@app.command()
def segment(
    image: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="The picture.")],
    point: Annotated[list[str] | None, typer.Option(help="x,y of a foreground point; may be given again.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="x,y of a background point; may be given again.")] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(help="x0,y0,x1,y1; may be given again without points: a mask for each."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("out"),
    model: Model = None,
    server: Server = None,
) -> None:
    """Cut out what points and boxes show: masks as PNG, an overlay to look at, and the answer as JSON."""
    points = [*_numbers(point, 2, "--point"), *_numbers(exclude, 2, "--exclude")]
    labels = [1] * len(point or []) + [0] * len(exclude or [])
    boxes = _numbers(box, 4, "--box")
    if points and len(boxes) > 1:
        raise typer.BadParameter("points go with one box at most")
    data = image.read_bytes()
    picture = images.decode(data, bootstrap.limits(Settings()))
    with _progress(f"segmenting {image.name}"):
        if server:
            answer = _by_server(server, image, points, labels, boxes, model)
        else:
            answer = _here(picture, points, labels, boxes, model)
    _write(answer, picture, output)
    _show(answer, output)


@models_app.command("list")
def list_models(server: Server = None) -> None:
    """All variants and their state."""
    table = Table("model", "state", "version", "side", "licence")
    for entry in _models(server):
        manifest = entry["manifest"] or {}
        cells = (manifest.get("version", ""), str(manifest.get("image_side", "")), manifest.get("licence", ""))
        table.add_row(entry["name"], entry["state"], *cells)
    out.print(table)


@models_app.command()
def load(name: str, server: Server = None) -> None:
    """Have Triton load a model (of --server's service, or at TRITON_URL)."""
    with _progress(f"loading {name}"):
        state = _request(server, "POST", f"/models/{name}/load")["state"] if server else _triton().load(name).state
    out.print(f"{name}: {state}")


@models_app.command()
def unload(name: str, server: Server = None) -> None:
    """Have Triton unload a model (of --server's service, or at TRITON_URL)."""
    state = _request(server, "DELETE", f"/models/{name}/unload")["state"] if server else _triton().unload(name).state
    out.print(f"{name}: {state}")


def _models(server: str | None) -> list[dict[str, Any]]:
    if server:
        found: list[dict[str, Any]] = _request(server, "GET", "/models/")["models"]
        return found
    statuses = bootstrap.engines(Settings()).models.list()
    return [
        {"name": entry.name, "state": entry.state, "manifest": entry.manifest and vars(entry.manifest)}
        for entry in statuses
    ]


def _triton() -> Models:
    settings = Settings()
    if not settings.triton_url:
        _fail("There is no server to load a model: give --server URL, or set TRITON_URL.")
    return bootstrap.engines(settings).models


def _here(
    picture: Image, points: list[list[float]], labels: list[int], boxes: list[list[float]], model: str | None
) -> dict[str, Any]:
    settings = Settings()
    engines, watch = bootstrap.engines(settings), Stopwatch()
    name, size = model or settings.default_model, (picture.height, picture.width)
    if points:
        prompt = prompts.from_points(points, labels, boxes[0] if boxes else None, size)
        answer = engines.segment.single(picture, prompt, name, watch)
    else:
        prompt = prompts.from_boxes(boxes, size) if boxes else prompts.whole_picture(size)
        answer = engines.segment.boxes(picture, prompt, name, watch)
    masks = [vars(mask) | {"segmentation": vars(mask.segmentation)} for mask in answer.masks]
    return {
        "image": {"width": picture.width, "height": picture.height},
        "model": {"name": answer.model.variant, "version": answer.model.version},
        "masks": masks,
        "timings_ms": watch.milliseconds(),
    }


def _by_server(
    server: str,
    image: Path,
    points: list[list[float]],
    labels: list[int],
    boxes: list[list[float]],
    model: str | None,
) -> dict[str, Any]:
    fields = {"model": model} if model else {}
    if points:
        fields |= {"points": json.dumps(points), "labels": json.dumps(labels)}
        fields |= {"box": json.dumps(boxes[0])} if boxes else {}
    elif boxes:
        fields |= {"boxes": json.dumps(boxes)}
    path = "/segment/single" if points else "/segment/box"
    with image.open("rb") as file:
        return _request(server, "POST", path, data=fields, files={"image": (image.name, file)})


def _request(server: str, method: str, path: str, **content: Any) -> dict[str, Any]:
    response = httpx2.request(method, server.rstrip("/") + path, timeout=SERVER_SECONDS, **content)
    body: dict[str, Any] = response.json() if "json" in response.headers.get("content-type", "") else {}
    if response.is_error:
        _fail(body.get("detail", f"the server answered {response.status_code}"))
    return body


def _write(answer: dict[str, Any], picture: Image, folder: Path) -> None:
    """`mask_<i>.png`, `overlay.png`, `result.json`; each written beside and renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = [
        rle.decode(Rle(tuple(mask["segmentation"]["size"]), mask["segmentation"]["counts"])) for mask in answer["masks"]
    ]
    files = {
        f"mask_{index}.png": overlay.to_png(np.where(shape, np.uint8(255), np.uint8(0)))
        for index, shape in enumerate(shapes)
    }
    files["overlay.png"] = overlay.to_png(overlay.draw(picture, shapes))
    files["result.json"] = json.dumps(answer, indent=2).encode()
    for name, data in files.items():
        part = folder / f".{name}.part"
        part.write_bytes(data)
        part.replace(folder / name)


def _show(answer: dict[str, Any], folder: Path) -> None:
    table = Table("mask", "bbox", "area", "predicted IoU", "stability")
    for index, mask in enumerate(answer["masks"]):
        bbox = " ".join(map(str, mask["bbox"]))
        scores = (f"{mask['predicted_iou']:.3f}", f"{mask['stability_score']:.3f}")
        table.add_row(f"mask_{index}.png", bbox, f"{mask['area']:,}", *scores)
    out.print(table)
    milliseconds = answer["timings_ms"]["total"]
    out.print(f"{answer['model']['name']}, {milliseconds:.0f} ms. Look at {folder / 'overlay.png'}")


def _numbers(texts: list[str] | None, count: int, option: str) -> list[list[float]]:
    rows = []
    for text in texts or []:
        try:
            row = [float(part) for part in text.split(",")]
        except ValueError as exc:
            raise typer.BadParameter(f"{option} {text}: numbers separated by commas are expected") from exc
        if len(row) != count:
            raise typer.BadParameter(f"{option} {text}: {count} numbers are expected")
        rows.append(row)
    return rows


@contextmanager
def _progress(text: str) -> Iterator[None]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        progress.add_task(text)
        yield


def _fail(sentence: str) -> NoReturn:
    err.print("[red]error:[/red]", escape(sentence), highlight=False, soft_wrap=True)
    raise SystemExit(1)


if __name__ == "__main__":
    main()
