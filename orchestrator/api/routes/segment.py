"""`/segment/*`: prompts on one picture."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Form, Response

from orchestrator.api import errors, outputs
from orchestrator.api.inputs import GivenAuto, GivenBoxes, GivenPicture, GivenPoints, ModelName, Wired
from orchestrator.api.outputs import Output
from orchestrator.api.schemas import SegmentationBody
from orchestrator.domain import prompts
from orchestrator.domain.errors import (
    DeadlineExceeded,
    InvalidPrompt,
    ModelMissing,
    NotFound,
    PictureTooLarge,
    UnsupportedPicture,
)
from orchestrator.domain.job import Kind
from orchestrator.domain.task import Task

_ANSWERS = errors.responses(
    InvalidPrompt, NotFound, ModelMissing, PictureTooLarge, UnsupportedPicture, DeadlineExceeded
) | {200: {"content": {"image/png": {}}, "description": "The masks; a PNG with `output=overlay`."}}

router = APIRouter(prefix="/segment", tags=["segment"], responses=_ANSWERS)

OutputForm = Annotated[Output, Form(description="`rle`: JSON. `overlay`: a PNG to look at.")]


@router.post("/single", response_model=SegmentationBody)
def single(
    services: Wired,
    picture: GivenPicture,
    given: GivenPoints,
    multimask: Annotated[bool, Form(description="Three candidates, best first, or one mask.")] = True,
    model: ModelName = None,
    output: OutputForm = Output.rle,
) -> Response:
    """One object, by points, a box, or both."""
    size = (picture.image.height, picture.image.width)
    prompt = prompts.from_points(given.points, given.labels, given.box, size)
    name = model or services.settings.default_model
    answer = services.segment.single(
        picture.image, prompt, name, picture.watch, multimask=multimask, progress=picture.deadline.check
    )
    return outputs.respond(answer, picture, output)


@router.post("/box", response_model=SegmentationBody)
def box(
    services: Wired,
    picture: GivenPicture,
    boxes: GivenBoxes,
    model: ModelName = None,
    output: OutputForm = Output.rle,
) -> Response:
    """One mask per box, in their order."""
    task = Task(Kind.box, asdict(boxes), model or services.settings.default_model, output)
    answer = services.operations.segment(task, picture.image, picture.watch, picture.deadline.check)
    return outputs.respond(answer, picture, output)


@router.post("/auto", response_model=SegmentationBody)
def auto(
    services: Wired,
    picture: GivenPicture,
    options: GivenAuto,
    model: ModelName = None,
    output: OutputForm = Output.rle,
) -> Response:
    """All masks of the picture, by a grid of points."""
    task = Task(Kind.auto, asdict(options), model or services.settings.default_model, output)
    answer = services.operations.segment(task, picture.image, picture.watch, picture.deadline.check)
    return outputs.respond(answer, picture, output)
