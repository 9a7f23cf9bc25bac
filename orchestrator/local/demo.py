"""`python -m orchestrator.local.demo`: a whole stack, a picture through its REST API, and away."""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import httpx2
from rich.console import Console
from rich.table import Table

from orchestrator.local.lock import DataDirError
from orchestrator.local.process import PartFailed
from orchestrator.local.stack import Options, StackError, running
from orchestrator.local.supervisor import Halted

SAMPLE = Path(__file__).with_name("sample.jpg")
BOXES = [[165, 515, 698, 770], [757, 535, 1155, 788]]  # the car and the dog
POINT = [660, 142]  # on the balloon
REQUEST_SECONDS = 120.0

REQUESTS: dict[str, tuple[str, dict[str, str]]] = {
    "boxes": ("/segment/box", {"boxes": json.dumps(BOXES)}),
    "point": ("/segment/single", {"points": json.dumps([POINT]), "multimask": "false"}),
}
"""Each becomes a picture of its name: (route, fields)."""


class DemoFailed(Exception):
    """The message says what happened and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator.local.demo",
        description="Starts everything, segments the bundled sample, and stops everything.",
    )
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="for pictures (%(default)s)")
    output: Path = parser.parse_args(arguments).output
    console = Console(highlight=False)
    try:
        output.mkdir(parents=True, exist_ok=True)
        demonstrate(output, console)
    except (Halted, KeyboardInterrupt):
        console.print("Stopped.")
        return 130
    except (StackError, DataDirError, PartFailed, DemoFailed, OSError) as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(str(error), style="bold red", markup=False)
        return 1
    return 0


def demonstrate(output: Path, console: Console) -> None:
    table = Table("picture", "bbox", "area", "predicted IoU", "ms", title=SAMPLE.name)
    with (
        tempfile.TemporaryDirectory(prefix="image-quarry-", ignore_cleanup_errors=True) as folder,
        console.status("Starting …") as status,
        running(Options(Path(folder), "127.0.0.1", 0), say=status.update) as (found, supervisor),
    ):
        console.print("[green]✓[/] Triton, Redis, the API and a worker are ready")
        for name, (route, fields) in REQUESTS.items():
            supervisor.check()
            status.update(f"POST {route} …")
            ask(found.api + route, fields, output / f"{name}.png", table)
            console.print(f"[green]✓[/] POST {route} was answered")
        status.update("Stopping …")
    console.print(table)
    console.print(f"The pictures are in {output.resolve()}; everything is stopped.", soft_wrap=True)


def ask(url: str, fields: dict[str, str], picture: Path, table: Table) -> None:
    """Two requests: the masks into `table`, the overlay into the file `picture`."""
    answer = post(url, fields | {"output": "rle"}).json()
    for mask in answer["masks"]:
        numbers = (mask["bbox"], mask["area"], f"{mask['predicted_iou']:.3f}")
        table.add_row(picture.stem, *map(str, numbers), f"{answer['timings_ms']['total']:.0f}")
    picture.write_bytes(post(url, fields | {"output": "overlay"}).content)


def post(url: str, fields: dict[str, str]) -> httpx2.Response:
    try:
        with SAMPLE.open("rb") as sample:
            response = httpx2.post(url, data=fields, files={"image": sample}, timeout=REQUEST_SECONDS, trust_env=False)
        response.raise_for_status()
    except httpx2.HTTPStatusError as error:
        raise DemoFailed(f"{url} answered {error.response.status_code}: {response.text}") from error
    except httpx2.HTTPError as error:
        raise DemoFailed(
            f"{url} did not answer within {REQUEST_SECONDS:.0f} s ({error}). If this machine is "
            "busy, try again; 'quarry up' shows what each part says."
        ) from error
    return response


if __name__ == "__main__":
    sys.exit(main())
