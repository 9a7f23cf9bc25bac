"""`/segment/objects/extract`: objects, cut out."""

from dataclasses import asdict, replace
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Response
from fastapi.responses import JSONResponse

from orchestrator.api import errors, schemas
from orchestrator.api.forms import PNG, ZIP, GivenObjectsForm, ObjectsOutput
from orchestrator.api.inputs import OWNER, GivenAuto, GivenPicture, GivenPoints, ModelName, Wired, box_rows
from orchestrator.api.request_id import current_request_id
from orchestrator.api.schemas import ExtractionBody
from orchestrator.domain import packing
from orchestrator.domain.cutout import CutoutOptions
from orchestrator.domain.errors import (
    DeadlineExceeded,
    InvalidPrompt,
    ModelMissing,
    NotFound,
    PictureTooLarge,
    StorageFull,
    UnsupportedPicture,
)
from orchestrator.domain.job import Kind
from orchestrator.domain.task import ExtractFields, Task
from orchestrator.usecases import objects

_DEFAULT = CutoutOptions()

_ANSWERS = errors.responses(
    InvalidPrompt, NotFound, ModelMissing, PictureTooLarge, UnsupportedPicture, DeadlineExceeded, StorageFull
) | {
    200: {"content": {ZIP: {}, PNG: {}}, "description": "The objects, in the form that `output` or `Accept` asks for."},
    406: {"model": errors.ErrorBody, "description": "`Accept` leaves out what can be answered."},
}

router = APIRouter(prefix="/segment/objects", tags=["segment"], responses=_ANSWERS)


async def extract_fields(
    automatic: GivenAuto,
    prompt: GivenPoints,
    boxes: Annotated[str | None, Form(description="Boxes [[x0,y0,x1,y1],…], as JSON: an object for each.")] = None,
    edges: Annotated[str, Form(description="`soft`, or `hard`: 0 or 255.")] = _DEFAULT.edges,
    feather: Annotated[float | None, Form(description="Pixels around the edge that may be soft.")] = None,
    decontaminate: Annotated[bool, Form(description="Take the old background out of soft edges.")] = True,
    crop: Annotated[str, Form(description="`tight` to the object, or `full`: the picture's size.")] = _DEFAULT.crop,
    padding: Annotated[int, Form(description="Transparent pixels around a tight crop.")] = 0,
    background: Annotated[str | None, Form(description="A colour under it; transparent without one.")] = None,
    min_area: Annotated[int, Form(description="Smaller objects go, in pixels.")] = _DEFAULT.min_area,
    max_objects: Annotated[int, Form(description="The largest so many.")] = _DEFAULT.max_objects,
) -> ExtractFields:
    """Raises `RequestValidationError`, `InvalidPrompt`."""
    cutout = {
        "edges": edges,
        "feather": feather,
        "decontaminate": decontaminate,
        "crop": crop,
        "padding": padding,
        "background": background,
        "min_area": min_area,
        "max_objects": max_objects,
    }
    # `points` are prompts here.
    grid = asdict(replace(automatic, points=None))
    return ExtractFields(prompt.points, prompt.labels, prompt.box, box_rows(boxes), grid, cutout)


GivenExtract = Annotated[ExtractFields, Depends(extract_fields)]


@router.post("/extract", response_model=ExtractionBody)
def extract(
    services: Wired,
    picture: GivenPicture,
    fields: GivenExtract,
    form: GivenObjectsForm,
    model: ModelName = None,
) -> Response:
    """Objects on a transparent ground, largest first: by boxes, by one prompt of points, or all that a grid finds."""
    image, watch = picture.image, picture.watch
    task = Task(Kind.extract, asdict(fields), model or services.settings.default_model, form)
    task.check((image.height, image.width))
    found = services.operations.extract(task, image, watch, picture.deadline.check)
    kept = objects.stored(found, watch)
    if form is ObjectsOutput.zip:
        return Response(packing.zipped(objects.files(found, kept)), media_type=ZIP)
    if form is ObjectsOutput.png:
        must_be_one(len(found.objects))
        return Response(found.objects[0].png, media_type=PNG)
    request_id = current_request_id()
    job = services.jobs.record(task, objects.files(found, kept), OWNER, picture.id, request_id)
    body = schemas.extraction_body(kept, job.id, picture.id, request_id)
    return JSONResponse(body.model_dump())


def must_be_one(count: int) -> None:
    """Raises `InvalidPrompt` where a single PNG cannot hold all."""
    if count != 1:
        raise InvalidPrompt(f"There are {count} objects, and not one: ask for output=zip, or links.")
