"""Coordinates as people type them: pixels, or percent of a picture's width and height."""

from collections.abc import Sequence
from dataclasses import dataclass

import typer

from orchestrator.domain.geometry import Size


@dataclass(frozen=True)
class Coordinates:
    """x, y, … in turn; those of `relative` are shares of the picture."""

    values: tuple[float, ...]
    relative: tuple[bool, ...]

    def on(self, size: Size) -> list[float]:
        """Pixels of a picture of `size` (height, width)."""
        height, width = size
        sides = [width, height] * (len(self.values) // 2)
        numbers = zip(self.values, self.relative, sides, strict=True)
        return [value * side if is_share else value for value, is_share, side in numbers]


def parse(texts: Sequence[str] | None, count: int, option: str) -> list[Coordinates]:
    """Each of `count` numbers separated by commas. Raises `typer.BadParameter`."""
    return [_parse(text, count, option) for text in texts or []]


def _parse(text: str, count: int, option: str) -> Coordinates:
    parts = [part.strip() for part in text.split(",")]
    try:
        values = [float(part.removesuffix("%")) / (100 if part.endswith("%") else 1) for part in parts]
    except ValueError as exc:
        raise typer.BadParameter(f"{option} {text}: numbers separated by commas are expected") from exc
    if len(values) != count:
        raise typer.BadParameter(f"{option} {text}: {count} numbers are expected")
    return Coordinates(tuple(values), tuple(part.endswith("%") for part in parts))
