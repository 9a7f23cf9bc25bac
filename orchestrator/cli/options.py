"""What several commands are asked alike."""

from pathlib import Path
from typing import Annotated, Any, get_type_hints

import httpx2
import typer
from pydantic import TypeAdapter, ValidationError

from orchestrator.cli.engine import Engine, Here, There
from orchestrator.domain.task import AutoFields

_AUTO = get_type_hints(AutoFields)

Output = Annotated[Path, typer.Option("--output", "-o", file_okay=False, help="Folder for the results.")]
Fields = Annotated[
    list[str] | None,
    typer.Option("--field", "-f", help="name=value, as the API's form has it; may be given again."),
]


def address(text: str | None) -> str | None:
    """As an URL without a slash at its end; http is meant where no scheme is given. Raises `typer.BadParameter`."""
    if not text:
        return None
    url = httpx2.URL(text if "://" in text else f"http://{text}")
    if url.scheme not in ("http", "https") or not url.host:
        raise typer.BadParameter(f"{text} is no web address; http://localhost:8000 would be one")
    return str(url).rstrip("/")


Server = Annotated[
    str | None,
    typer.Option(
        envvar="QUARRY_SERVER", callback=address, help="Address of a running service; this process without it."
    ),
]
Model = Annotated[str | None, typer.Option(help="tiny, vit_b, vit_l or vit_h; DEFAULT_MODEL without it.")]


def field(text: str) -> tuple[str, str]:
    """name=value apart. Raises `typer.BadParameter`."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"--field {text}: name=value is expected")
    return name, value


def auto_fields(texts: list[str] | None) -> dict[str, Any]:
    """Fields of `AutoFields`, their values in JSON. Raises `typer.BadParameter`."""
    given = {}
    for name, value in map(field, texts or []):
        if name not in _AUTO:
            raise typer.BadParameter(f"--field {name}: there are {', '.join(_AUTO)}")
        try:
            given[name] = TypeAdapter(_AUTO[name]).validate_json(value)
        except ValidationError as exc:
            raise typer.BadParameter(f"--field {name}={value}: {exc.errors()[0]['msg']}") from exc
    return given


def engine(server: str | None, model: str | None) -> Engine:
    """Who does the work."""
    return There(server, model) if server else Here(model)
