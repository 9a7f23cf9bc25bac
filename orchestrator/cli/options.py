"""What several commands are asked alike."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.engine import Engine, Here, There

Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")]
Server = Annotated[
    str | None, typer.Option(envvar="QUARRY_SERVER", help="Address of a running service; this process without it.")
]
Model = Annotated[str | None, typer.Option(help="tiny, vit_b, vit_l or vit_h; DEFAULT_MODEL without it.")]


def engine(server: str | None, model: str | None) -> Engine:
    """Who does the work."""
    return There(server, model) if server else Here(model)
