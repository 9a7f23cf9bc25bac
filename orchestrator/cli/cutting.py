"""`quarry extract`: a picture, or all of a folder, to cut-outs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.cli import report
from orchestrator.cli.coordinates import Coordinates
from orchestrator.cli.engine import Engine, Refused
from orchestrator.domain import image as images
from orchestrator.domain.errors import QuarryError
from orchestrator.domain.geometry import Size
from orchestrator.domain.image import Limits
from orchestrator.domain.task import ExtractFields


@dataclass(frozen=True)
class Order:
    """What to cut out of each picture. Nothing prompted: all that a grid of `automatic` finds."""

    points: Sequence[Coordinates]
    excluded: Sequence[Coordinates]
    boxes: Sequence[Coordinates]
    automatic: Mapping[str, int | float]
    cutout: Mapping[str, object]

    def on(self, size: Size) -> ExtractFields:
        """For a picture of `size`."""
        points = [each.on(size) for each in [*self.points, *self.excluded]]
        labels = [1] * len(self.points) + [0] * len(self.excluded)
        boxes = [each.on(size) for each in self.boxes]
        if points:
            return ExtractFields(points, labels, boxes[0] if boxes else None, (), {}, self.cutout)
        return ExtractFields(boxes=boxes, automatic=self.automatic, cutout=self.cutout)


def pictures(source: Path, limits: Limits) -> list[Path]:
    """The picture itself, or those of a folder by name. Raises `Refused` if there is none."""
    if source.is_file():
        return [source]
    endings = {f".{name.lower()}" for name in (*limits.formats, "tif")}
    found = sorted(path for path in source.iterdir() if path.is_file() and path.suffix.lower() in endings)
    if not found:
        raise Refused(f"There is no picture in {source}.")
    return found


def folders(found: Sequence[Path], output: Path, *, one: bool) -> dict[Path, Path]:
    """Where the objects of each go: one picture's into `output`, others' into folders below it of their own."""
    if one:
        return {found[0]: output}
    stems = [path.stem for path in found]
    return {path: output / (path.stem if stems.count(path.stem) == 1 else path.name) for path in found}


def cut(
    engine: Engine, homes: Mapping[Path, Path], order: Order, limits: Limits, progress: Callable[[float], None]
) -> tuple[int, dict[Path, str]]:
    """How many objects there are now, and what was wrong with pictures that could not be cut: the others go on."""
    count, wrong = 0, {}
    for index, (path, home) in enumerate(homes.items()):

        def part(share: float, index: int = index) -> None:
            progress((index + share) / len(homes))

        try:
            seen = images.glance(path.read_bytes(), limits)
            files = engine.extract(path, order.on((seen.height, seen.width)), part)
        except (QuarryError, Refused) as exc:
            if len(homes) == 1:
                raise
            wrong[path] = str(exc)
            continue
        report.write(files, home)
        count += sum(name.endswith(".png") for name in files)
        part(1.0)
    return count, wrong
