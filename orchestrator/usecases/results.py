"""A segmentation as the files of a job, and back."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from orchestrator.domain import overlay, rle
from orchestrator.domain.image import Image
from orchestrator.domain.masks import Mask
from orchestrator.domain.model import Manifest
from orchestrator.domain.rle import Rle
from orchestrator.usecases.segment import Segmentation
from orchestrator.usecases.stopwatch import Stopwatch

RESULT, VISUALIZATION = "result.json", "visualization.png"


@dataclass(frozen=True)
class StoredResult:
    answer: Segmentation
    timings_ms: Mapping[str, Any]


def files(answer: Segmentation, image: Image, watch: Stopwatch) -> Iterator[tuple[str, bytes]]:
    """`mask_<i>.png` 0 or 255, `visualization.png` to look at, and `result.json`, from which all else can be made."""
    timings = watch.milliseconds()
    for index, mask in enumerate(answer.masks):
        inside = rle.decode(mask.segmentation)
        yield f"mask_{index}.png", overlay.to_png(np.where(inside, np.uint8(255), np.uint8(0)))
    yield VISUALIZATION, overlay.to_png(overlay.draw(image, answer.masks))
    content = {
        "size": answer.size,
        "model": asdict(answer.model),
        "masks": [asdict(mask) for mask in answer.masks],
        "timings_ms": timings,
    }
    yield RESULT, json.dumps(content).encode()


def read(data: bytes) -> StoredResult:
    """Of `result.json`."""
    content = json.loads(data)
    height, width = content["size"]
    found = tuple(mask_of(mask) for mask in content["masks"])
    answer = Segmentation((height, width), Manifest(**content["model"]), found)
    return StoredResult(answer, content["timings_ms"])


def mask_of(given: dict[str, Any]) -> Mask:
    """A mask's record as JSON has it."""
    height, width = given["segmentation"]["size"]
    tuples = {
        "segmentation": Rle((height, width), given["segmentation"]["counts"]),
        "bbox": tuple(given["bbox"]),
        "point_coords": tuple((x, y) for x, y in given["point_coords"]),
        "crop_box": tuple(given["crop_box"]),
    }
    return Mask(**(given | tuples))
