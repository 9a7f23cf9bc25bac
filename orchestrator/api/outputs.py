"""The form of an answer."""

from enum import StrEnum

from fastapi import Response
from fastapi.responses import JSONResponse

from orchestrator.api import schemas
from orchestrator.api.inputs import Picture
from orchestrator.api.request_id import current_request_id
from orchestrator.domain import overlay
from orchestrator.usecases.segment import Segmentation


class Output(StrEnum):
    rle = "rle"
    overlay = "overlay"


def respond(answer: Segmentation, picture: Picture, output: Output) -> Response:
    """JSON with the masks as RLE, or a PNG to look at."""
    if output is Output.overlay:
        return Response(overlay.to_png(overlay.draw(picture.image, answer.masks)), media_type="image/png")
    timings = picture.watch.milliseconds()
    body = schemas.segmentation_body(answer, picture.id, timings, current_request_id())
    return JSONResponse(body.model_dump())
