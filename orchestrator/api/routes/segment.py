"""`/segment/*`: prompts on one picture."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Form, Response

from orchestrator.api import errors, outputs
from orchestrator.api.forms import JSON, MEDIA, GivenForm, Output
from orchestrator.api.inputs import GivenAuto, GivenBoxes, GivenPicture, GivenPoints, ModelName, Wired
from orchestrator.api.outputs import Answer
from orchestrator.api.schemas import SegmentationBody
from orchestrator.api.stream import Stream
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
from orchestrator.usecases.ports.engines import Progress
from orchestrator.usecases.segment import Segmentation

_ANSWERS = errors.responses(
    InvalidPrompt, NotFound, ModelMissing, PictureTooLarge, UnsupportedPicture, DeadlineExceeded
) | {
    200: {
        "content": {kind: {} for kind in dict.fromkeys(MEDIA.values()) if kind != JSON},
        "description": "The masks, in the form that `output` or `Accept` asks for.",
    },
    406: {"model": errors.ErrorBody, "description": "`Accept` leaves out what can be answered."},
}

router = APIRouter(prefix="/segment", tags=["segment"], responses=_ANSWERS)


@router.post("/single", response_model=SegmentationBody)
def single(
    services: Wired,
    picture: GivenPicture,
    given: GivenPoints,
    form: GivenForm,
    multimask: Annotated[bool, Form(description="Three candidates, best first, or one mask.")] = True,
    mask_input: Annotated[str | None, Form(description="Start from this mask of an earlier answer.")] = None,
    refine: Annotated[bool, Form(description="Answer `mask_inputs`, a handle for each mask, to go on from.")] = False,
    model: ModelName = None,
) -> Response:
    """One object, by points, a box, or both."""
    image, name = picture.image, model or services.settings.default_model
    prompt = prompts.from_points(given.points, given.labels, given.box, (image.height, image.width))
    logits = services.refinement.find(image, services.models.manifest(name), mask_input) if mask_input else None
    answer = services.segment.single(
        image,
        prompt,
        name,
        picture.watch,
        multimask=multimask,
        mask_input=logits,
        progress=picture.deadline.check,
    )
    handles = services.refinement.keep(image, answer) if refine else None
    return outputs.respond(services, answer, picture, form, handles)


@router.post("/box", response_model=SegmentationBody)
def box(
    services: Wired, picture: GivenPicture, boxes: GivenBoxes, form: GivenForm, model: ModelName = None
) -> Response:
    """One mask per box, in their order."""
    task = Task(Kind.box, asdict(boxes), model or services.settings.default_model, form.output)
    answer = services.operations.segment(task, picture.image, picture.watch, picture.deadline.check)
    return outputs.respond(services, answer, picture, form)


@router.post("/auto", response_model=SegmentationBody)
def auto(
    services: Wired, picture: GivenPicture, options: GivenAuto, form: GivenForm, model: ModelName = None
) -> Response:
    """All masks of the picture, by a grid of points."""
    task = Task(Kind.auto, asdict(options), model or services.settings.default_model, form.output)

    def find(tell: Progress) -> Segmentation:
        def progress(share: float) -> None:
            picture.deadline.check(share)
            tell(share)

        return services.operations.segment(task, picture.image, picture.watch, progress)

    if form.output is Output.ndjson:
        task.check((picture.image.height, picture.image.width))
        return Stream(lambda tell: Answer(find(tell), picture, services, None, None))
    return outputs.respond(services, find(lambda _: None), picture, form)
