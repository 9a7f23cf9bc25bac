"""`quarry extract`."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator import bootstrap
from orchestrator.cli import coordinates, cutting, report
from orchestrator.cli.options import Model, Output, Server, engine
from orchestrator.domain.cutout import MOST_OBJECTS
from orchestrator.settings import read


def extract(
    source: Annotated[Path, typer.Argument(exists=True, readable=True, help="A picture, or a folder of pictures.")],
    point: Annotated[list[str] | None, typer.Option(help="x,y of a foreground point, in pixels or percent.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="x,y of a background point.")] = None,
    box: Annotated[list[str] | None, typer.Option(help="x0,y0,x1,y1: an object for each without points.")] = None,
    edges: Annotated[str, typer.Option(help="soft or hard.")] = "soft",
    feather: Annotated[float | None, typer.Option(help="Pixels around the edge that may be soft.")] = None,
    crop: Annotated[str, typer.Option(help="tight to the object, or full.")] = "tight",
    padding: Annotated[int, typer.Option(help="Transparent pixels around a tight crop.")] = 0,
    background: Annotated[str | None, typer.Option(help="A colour under it; transparent without one.")] = None,
    min_area: Annotated[int, typer.Option(help="Smaller objects go, in pixels.")] = 100,
    max_objects: Annotated[int, typer.Option(help="The largest so many of a picture.")] = MOST_OBJECTS,
    points_per_side: Annotated[int, typer.Option(help="Without prompts: points along a side of the grid.")] = 64,
    pred_iou_thresh: Annotated[float, typer.Option(help="Without prompts: least predicted IoU.")] = 0.90,
    stability_score_thresh: Annotated[float, typer.Option(help="Without prompts: least stability.")] = 0.92,
    output: Output = Path("out"),
    model: Model = None,
    server: Server = None,
) -> None:
    """Cut objects out onto a transparent ground: PNGs, largest first, a folder for each picture of a folder."""
    order = cutting.Order(
        coordinates.parse(point, 2, "--point"),
        coordinates.parse(exclude, 2, "--exclude"),
        coordinates.parse(box, 4, "--box"),
        {
            "points_per_side": points_per_side,
            "pred_iou_thresh": pred_iou_thresh,
            "stability_score_thresh": stability_score_thresh,
        },
        {
            "edges": edges,
            "feather": feather,
            "crop": crop,
            "padding": padding,
            "background": background,
            "min_area": min_area,
            "max_objects": max_objects,
        },
    )
    if (point or exclude) and len(box or []) > 1:
        raise typer.BadParameter("points go with one box at most")
    limits = bootstrap.limits(read())
    homes = cutting.folders(cutting.pictures(source, limits), output, one=source.is_file())
    with report.bar(f"cutting out of {source.name}") as progress:
        count, wrong = cutting.cut(engine(server, model), homes, order, limits, progress)
    report.out.print(f"{count} objects of {len(homes) - len(wrong)} pictures are in {output}")
    if wrong:
        report.fail("; ".join(f"{path.name}: {reason}" for path, reason in wrong.items()))
