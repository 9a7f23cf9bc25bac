"""The form of an answer."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import Response
from fastapi.responses import JSONResponse

from orchestrator.api import schemas
from orchestrator.api.forms import MEDIA, Chosen, Output
from orchestrator.api.inputs import Picture
from orchestrator.api.request_id import current_request_id
from orchestrator.bootstrap import Services
from orchestrator.domain import coco, label_map, overlay, packing, polygons, rle
from orchestrator.domain.cutout import CutoutOptions
from orchestrator.domain.masks import Mask, shape_of
from orchestrator.usecases import objects
from orchestrator.usecases.segment import Segmentation

MASKS_FILE = "masks.json"
"""Beside the pictures of a ZIP: the answer as `rle` gives it."""


@dataclass(frozen=True)
class Answer:
    """A segmentation on its way out. `handles`: of the masks' low-res logits, if they were asked for."""

    found: Segmentation
    picture: Picture
    services: Services
    tolerance: float | None
    handles: list[str] | None

    def body(self) -> dict[str, Any]:
        """The JSON answer, masks as RLEs."""
        timings = self.picture.watch.milliseconds()
        body = schemas.segmentation_body(self.found, self.picture.id, timings, current_request_id()).model_dump()
        if self.handles is not None:
            body["mask_inputs"] = self.handles
        return body


def respond(
    services: Services, found: Segmentation, picture: Picture, form: Chosen, handles: list[str] | None = None
) -> Response:
    """In the form that was chosen. Raises what `image.decode` raises where a form needs pixels."""
    answer = Answer(found, picture, services, form.tolerance, handles)
    made = _MAKERS[form.output](answer)
    if isinstance(made, bytes):
        return Response(made, media_type=MEDIA[form.output])
    return JSONResponse(made)


def lines(answer: Answer) -> Iterator[dict[str, Any]]:
    """What NDJSON has a line of each: the masks, then the rest."""
    body = answer.body()
    for mask in body.pop("masks"):
        yield {"mask": mask}
    yield body


def polygon_of(mask: Mask, tolerance: float | None) -> dict[str, Any]:
    """GeoJSON's MultiPolygon in pixels of the picture: an outline for each part, then its holes, each ring closed."""
    parts = polygons.polygons(shape_of(mask), tolerance) if mask.area else []
    rings = [[[*ring.tolist(), ring[0].tolist()] for ring in part] for part in parts]
    return {"type": "MultiPolygon", "coordinates": rings}


def _polygon(answer: Answer) -> dict[str, Any]:
    body = answer.body()
    for record, mask in zip(body["masks"], answer.found.masks, strict=True):
        record["segmentation"] = polygon_of(mask, answer.tolerance)
    return body


def _coco(answer: Answer) -> dict[str, Any]:
    return coco.document([(answer.picture.name, answer.found.size, answer.found.masks)])


def _label_map(answer: Answer) -> bytes:
    return label_map.to_png(label_map.draw(answer.found.masks, answer.found.size))


def _overlay(answer: Answer) -> bytes:
    return overlay.to_png(overlay.draw(answer.picture.image, answer.found.masks))


def _png(answer: Answer) -> bytes:
    def files() -> Iterator[tuple[str, bytes]]:
        for index, mask in enumerate(answer.found.masks):
            inside = rle.decode(mask.segmentation)
            yield f"mask_{index}.png", overlay.to_png(np.where(inside, np.uint8(255), np.uint8(0)))
        yield MASKS_FILE, line(answer.body())

    return packing.zipped(files())


def _rgba(answer: Answer) -> bytes:
    """Cut-outs in the answer's order, so that `object_0.png` is of its first mask."""
    picture = answer.picture
    extraction = answer.services.extract.cut(
        picture.image, answer.found, CutoutOptions(), picture.watch, picture.deadline.check
    )

    def files() -> Iterator[tuple[str, bytes]]:
        yield from objects.pictures(extraction)
        yield MASKS_FILE, line(answer.body())

    return packing.zipped(files())


def _npz(answer: Answer) -> bytes:
    return packing.npz(answer.found.masks, answer.found.size)


def _ndjson(answer: Answer) -> bytes:
    return b"".join(line(content) for content in lines(answer))


def line(content: dict[str, Any]) -> bytes:
    return bytes(JSONResponse(content).body) + b"\n"


_MAKERS: Mapping[Output, Callable[[Answer], dict[str, Any] | bytes]] = {
    Output.rle: Answer.body,
    Output.polygon: _polygon,
    Output.coco: _coco,
    Output.label_map: _label_map,
    Output.overlay: _overlay,
    Output.png: _png,
    Output.rgba: _rgba,
    Output.npz: _npz,
    Output.ndjson: _ndjson,
}
