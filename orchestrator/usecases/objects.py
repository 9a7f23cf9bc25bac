"""An extraction as the files of a job, and back."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.domain.geometry import Size
from orchestrator.domain.masks import Box, Mask
from orchestrator.domain.model import Manifest
from orchestrator.usecases.extract import Extraction
from orchestrator.usecases.results import RESULT, mask_of
from orchestrator.usecases.stopwatch import Stopwatch


@dataclass(frozen=True)
class StoredObject:
    """`file`: name of its PNG; `box` [x, y, w, h] of that in the picture's frame."""

    file: str
    box: Box
    mask: Mask


@dataclass(frozen=True)
class StoredExtraction:
    """What an extraction answers, its pictures being files."""

    size: Size
    model: Manifest
    objects: tuple[StoredObject, ...]
    timings_ms: Mapping[str, Any]


def stored(extraction: Extraction, watch: Stopwatch) -> StoredExtraction:
    found = tuple(
        StoredObject(f"object_{index}.png", each.box, each.mask) for index, each in enumerate(extraction.objects)
    )
    return StoredExtraction(extraction.size, extraction.model, found, watch.milliseconds())


def pictures(extraction: Extraction) -> Iterator[tuple[str, bytes]]:
    """`object_<i>.png`, largest first."""
    yield from ((f"object_{index}.png", each.png) for index, each in enumerate(extraction.objects))


def files(extraction: Extraction, kept: StoredExtraction) -> Iterator[tuple[str, bytes]]:
    """The pictures, and `result.json` with the rest."""
    yield from pictures(extraction)
    yield RESULT, json.dumps(asdict(kept)).encode()


def read(data: bytes) -> StoredExtraction:
    """Of `result.json`."""
    content = json.loads(data)
    height, width = content["size"]
    found = tuple(StoredObject(each["file"], tuple(each["box"]), mask_of(each["mask"])) for each in content["objects"])
    return StoredExtraction((height, width), Manifest(**content["model"]), found, content["timings_ms"])
