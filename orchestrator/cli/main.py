"""`quarry`: the command line.

Without a server, pictures are segmented in this process; with `--server URL`, by that service's API. `quarry up` runs
the whole stack.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import httpx2
import typer
from rich.table import Table

from orchestrator import bootstrap
from orchestrator.cli import batch, extract, queue, report, state
from orchestrator.cli.engine import Prompt, Refused
from orchestrator.cli.options import Fields, Model, Output, Server, auto_fields, engine, field
from orchestrator.domain.errors import QuarryError
from orchestrator.settings import WrongSetting

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Image Quarry: cut objects out of pictures.")
models_app = typer.Typer(no_args_is_help=True, help="What can be asked for, and what is at hand.")
app.add_typer(models_app, name="models")

Picture = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="The picture.")]

app.command()(extract.extract)


def main() -> None:
    """The console script: errors of ours become one sentence and exit code 1."""
    try:
        app()
    except (QuarryError, Refused, WrongSetting) as exc:
        report.fail(str(exc))
    except OSError as exc:
        report.fail(f"{exc.filename or 'A file'}: {exc.strerror or exc}.")
    except httpx2.InvalidURL as exc:
        report.fail(f"--server is no web address: {exc}.")
    except httpx2.HTTPError as exc:
        report.fail(f"The server does not answer ({exc}). Is it running (quarry up) at the address of --server?")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def up(context: typer.Context) -> NoReturn:
    """Run the whole stack here: Triton, Redis, the API and a worker, until Ctrl-C."""
    os.execv(sys.executable, [sys.executable, "-m", "orchestrator.local", *context.args])  # noqa: S606 - no shell


@app.command()
def segment(
    image: Picture,
    point: Annotated[list[str] | None, typer.Option(help="x,y of a foreground point; may be given again.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="x,y of a background point; may be given again.")] = None,
    box: Annotated[
        list[str] | None, typer.Option(help="x0,y0,x1,y1; may be given again without points: a mask for each.")
    ] = None,
    output: Output = Path("out"),
    model: Model = None,
    server: Server = None,
) -> None:
    """Cut out what points and boxes show: masks as PNG, an overlay to look at, and the answer as JSON."""
    points = [*_numbers(point, 2, "--point"), *_numbers(exclude, 2, "--exclude")]
    labels = [1] * len(point or []) + [0] * len(exclude or [])
    boxes = _numbers(box, 4, "--box")
    if points and len(boxes) > 1:
        raise typer.BadParameter("points go with one box at most")
    with report.spinner(f"segmenting {image.name}"):
        answer = engine(server, model).segment(image, Prompt(points, labels, boxes))
    report.write_masks(answer, image, output)
    report.show(answer, output)


@app.command()
def auto(
    image: Picture,
    points_per_side: Annotated[int, typer.Option(help="Points along one side of the grid.")] = 64,
    pred_iou_thresh: Annotated[float, typer.Option(help="Least predicted IoU.")] = 0.90,
    stability_score_thresh: Annotated[float, typer.Option(help="Least stability.")] = 0.92,
    crop_n_layers: Annotated[int, typer.Option(help="Layers of crops beside the whole picture.")] = 0,
    min_mask_region_area: Annotated[int, typer.Option(help="Smaller holes and islands go, in pixels.")] = 1000,
    max_masks: Annotated[int | None, typer.Option(help="The best so many, by predicted IoU.")] = None,
    fields: Fields = None,
    output: Output = Path("out"),
    model: Model = None,
    server: Server = None,
) -> None:
    """Find all masks of a picture: an overlay to look at, and a COCO document.

    --field gives the other parameters of POST /segment/auto: -f roi=[0,0,300,200] -f max_area=5000
    """
    asked: dict[str, Any] = {
        "points_per_side": points_per_side,
        "pred_iou_thresh": pred_iou_thresh,
        "stability_score_thresh": stability_score_thresh,
        "crop_n_layers": crop_n_layers,
        "min_mask_region_area": min_mask_region_area,
    }
    if max_masks is not None:
        asked["max_masks"] = max_masks
    asked |= auto_fields(fields)
    if "point_grids" in asked:
        del asked["points_per_side"]
    with report.bar(f"all masks of {image.name}") as progress:
        answer = engine(server, model).auto(image, asked, progress)
    report.write_coco(answer, image, output)
    report.show(answer, output)


@app.command()
def cleanup(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove ended jobs and uploads older than CLEANUP_OLDER_THAN_DAYS, as the workers do by themselves."""
    with report.spinner("looking for what is old"):
        cleaned = bootstrap.cleanup(state.settings()).run(dry_run=dry_run)
    verb = "would go" if dry_run else "are gone"
    megabytes = f"{cleaned.bytes / 2**20:,.1f} MB"
    before = f"{cleaned.before:%Y-%m-%d %H:%M} UTC"
    report.out.print(f"{cleaned.jobs} jobs and {cleaned.images} uploads ({megabytes}) from before {before} {verb}.")


@app.command(name="batch")
def run_batch(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, readable=True, help="Pictures, also deeper.")],
    output: Output = Path("out"),
    operation: Annotated[str, typer.Option(help="auto, box or extract.")] = "auto",
    fields: Fields = None,
    model: Model = None,
    server: Server = None,
) -> None:
    """All pictures below a folder, by a running service; stopped and started again, it goes on where it was."""
    if server is None:
        raise Refused("Batches are done by a running service: give --server URL (quarry up starts one).")
    asked = dict(map(field, fields or [])) | {"operation": operation}
    asked |= {"model": model} if model else {}
    pictures = batch.find(folder, asked)
    client, failed = batch.Client(server, output, asked), dict[str, str]()
    with report.bars() as progress:
        for number, part in enumerate(batch.chunks(pictures), 1):
            failed |= client.run(number, part, progress)
    report.show_batch(len(pictures), failed, output)


@app.command()
def jobs(
    limit: Annotated[int, typer.Option(min=1, max=200, help="The newest so many.")] = 20,
    children: Annotated[bool, typer.Option(help="The children of batches too.")] = False,
    server: Server = None,
) -> None:
    """What waits, what runs and what became of it: of a service, or by DATABASE_URL and REDIS_URL."""
    found = queue.there(server, limit, children=children) if server else queue.here(limit, children=children)
    report.show_queue(found)


@models_app.command("list")
def list_models(server: Server = None) -> None:
    """All variants and their state."""
    table = Table("model", "state", "version", "side", "licence")
    for model in engine(server, None).models():
        table.add_row(model.name, model.state, model.version, model.side, model.licence)
    report.out.print(table)


@models_app.command()
def load(name: str, server: Server = None) -> None:
    """Have Triton load a model (of --server's service, or at TRITON_URL)."""
    with report.spinner(f"loading {name}"):
        state = engine(server, None).load(name)
    report.out.print(f"{name}: {state}")


@models_app.command()
def unload(name: str, server: Server = None) -> None:
    """Have Triton unload a model (of --server's service, or at TRITON_URL)."""
    report.out.print(f"{name}: {engine(server, None).unload(name)}")


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


if __name__ == "__main__":
    main()
