"""`/segment/*/async` and `/segment/batch`: the same work, to be called for later."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, Header, Request, Response, UploadFile
from pydantic import TypeAdapter

from orchestrator.api import errors, inputs, schemas
from orchestrator.api.aside import aside
from orchestrator.api.forms import ObjectsOutput, Output
from orchestrator.api.inputs import OWNER, GivenAuto, GivenBoxes, ImageId, ModelName, Upload, Wired
from orchestrator.api.request_id import current_request_id
from orchestrator.api.routes.extract import GivenExtract
from orchestrator.api.schemas import AcceptedBody
from orchestrator.bootstrap import Services
from orchestrator.domain import archive as archives
from orchestrator.domain.errors import (
    Conflict,
    InvalidBatch,
    InvalidCallback,
    InvalidPicture,
    InvalidPrompt,
    ModelMissing,
    NotFound,
    PictureTooLarge,
    QueueFull,
    StorageFull,
    UnsupportedPicture,
)
from orchestrator.domain.job import Job, Kind, Priority
from orchestrator.domain.task import AutoFields, BoxFields, ExtractFields, Task
from orchestrator.usecases.submit import Order, Source

LONGEST_NAME = 255
_IDS: TypeAdapter[list[str]] = TypeAdapter(list[str])
_ANSWERS = errors.responses(
    *(InvalidPrompt, InvalidPicture, InvalidCallback, NotFound, ModelMissing, Conflict, PictureTooLarge),
    *(UnsupportedPicture, QueueFull, StorageFull),
)

router = APIRouter(prefix="/segment", tags=["segment"], responses=_ANSWERS)

OutputForm = Annotated[Output, Form(description="The form that `/jobs/{id}/result` answers in if it is not asked.")]
ToleranceForm = Annotated[float | None, Form(ge=0, le=1000, description="Of polygons, in pixels.")]
Concurrency = Annotated[int | None, Form(ge=1, description="At most so many pictures at once.")]


async def terms(
    priority: Annotated[Priority, Form(description="Who goes first; nobody waits for ever.")] = Priority.default,
    callback_url: Annotated[
        str | None, Form(max_length=2000, description="Is told when the job has ended: a signed POST.")
    ] = None,
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=255, description="A request that comes again with it gets the same job."),
    ] = None,
) -> tuple[Priority, str | None, str | None]:
    return priority, callback_url, idempotency_key


Terms = Annotated[tuple[Priority, str | None, str | None], Depends(terms)]


@router.post("/box/async", status_code=202)
async def box(
    request: Request,
    response: Response,
    services: Wired,
    terms: Terms,
    boxes: GivenBoxes,
    image: Upload = None,
    image_id: ImageId = None,
    model: ModelName = None,
    output: OutputForm = Output.rle,
    tolerance: ToleranceForm = None,
) -> AcceptedBody:
    """`/segment/box` as a job."""
    task = Task(Kind.box, asdict(boxes), model or services.settings.default_model, output, tolerance)
    return await _accept(request, response, _order(task, terms), image, image_id)


@router.post("/auto/async", status_code=202)
async def auto(
    request: Request,
    response: Response,
    services: Wired,
    terms: Terms,
    options: GivenAuto,
    image: Upload = None,
    image_id: ImageId = None,
    model: ModelName = None,
    output: OutputForm = Output.rle,
    tolerance: ToleranceForm = None,
) -> AcceptedBody:
    """`/segment/auto` as a job."""
    task = Task(Kind.auto, asdict(options), model or services.settings.default_model, output, tolerance)
    return await _accept(request, response, _order(task, terms), image, image_id)


@router.post("/objects/extract/async", status_code=202)
async def extract(
    request: Request,
    response: Response,
    services: Wired,
    terms: Terms,
    fields: GivenExtract,
    image: Upload = None,
    image_id: ImageId = None,
    model: ModelName = None,
    output: Annotated[ObjectsOutput, Form(description="What `/jobs/{id}/result` answers.")] = ObjectsOutput.links,
) -> AcceptedBody:
    """`/segment/objects/extract` as a job."""
    task = Task(Kind.extract, asdict(fields), model or services.settings.default_model, output)
    return await _accept(request, response, _order(task, terms), image, image_id)


@router.post("/batch", status_code=202, responses=errors.responses(InvalidBatch))
async def batch(
    request: Request,
    response: Response,
    services: Wired,
    terms: Terms,
    automatic: GivenAuto,
    extraction: GivenExtract,
    operation: Annotated[
        Literal[Kind.auto, Kind.box, Kind.extract], Form(description="With that operation's own fields.")
    ] = Kind.auto,
    images: Annotated[list[UploadFile] | None, File(description="Pictures, many.")] = None,
    archive: Annotated[UploadFile | None, File(description="Or a ZIP of pictures.")] = None,
    image_ids: Annotated[str | None, Form(description="Or ids of `POST /images`, as a JSON list.")] = None,
    concurrency: Concurrency = None,
    model: ModelName = None,
    output: Annotated[Output | ObjectsOutput | None, Form(description="A form of that operation.")] = None,
) -> AcceptedBody:
    """One operation on many pictures: each becomes a job of its own, the batch counts them."""
    ids = inputs.parse(_IDS, image_ids, "image_ids")
    if sum(bool(given) for given in (images, archive, ids)) != 1:
        raise InvalidBatch("Give exactly one of images, archive and image_ids.")
    fields = _fields(operation, automatic, extraction)
    task = Task(operation, fields, model or services.settings.default_model, _form(operation, output))
    order = _order(task, terms)
    if not isinstance(automatic.roi, Mapping):  # a region's encoding is of one size, which shows on each picture
        # What makes no sense on the largest picture makes none on any.
        task.check((services.limits.max_dimension,) * 2)

    def submit() -> Job:
        if archive:
            sources = _of_archive(archive, services)
        else:
            sources = _of_images(images, services) if images else (Source(image_id=one) for one in ids or [])
        return services.submit.batch(order, sources, concurrency)

    return _accepted(response, await aside(request, submit))


def _fields(operation: Kind, automatic: AutoFields, extraction: ExtractFields) -> dict[str, Any]:
    if operation is Kind.extract:
        return asdict(extraction)
    if operation is Kind.auto:
        return asdict(automatic)
    if extraction.box is not None:
        raise InvalidPrompt("operation=box takes a list of boxes: boxes=[[x0,y0,x1,y1],…].")
    return asdict(BoxFields(extraction.boxes))


def _form(operation: Kind, output: Output | ObjectsOutput | None) -> str:
    forms: type[Output | ObjectsOutput] = ObjectsOutput if operation is Kind.extract else Output
    first, *_ = names = [str(form) for form in forms]
    if output is not None and output not in names:
        raise InvalidBatch(f"operation={operation} answers in one of these forms: {', '.join(names)}.")
    return str(output or first)


def _of_images(images: list[UploadFile], services: Services) -> Iterator[Source]:
    for image in images:
        yield Source(_name(image), inputs.read(image, services))


def _of_archive(archive: UploadFile, services: Services) -> Iterator[Source]:
    most_bytes = services.settings.batch_max_size_mb * 2**20
    files = services.settings.batch_max_files
    for name, data in archives.pictures(archive.file, files, most_bytes, services.limits.max_bytes):
        yield Source(name[-LONGEST_NAME:], data)


async def _accept(
    request: Request, response: Response, order: Order, image: UploadFile | None, image_id: str | None
) -> AcceptedBody:
    if (image is None) == (image_id is None):
        raise InvalidPicture("Give either a picture (image) or the id of one (image_id).")
    services: Services = request.app.state.services

    def submit() -> Job:
        data = inputs.read(image, services) if image else None
        return services.submit.single(order, Source(_name(image), data, image_id))

    return _accepted(response, await aside(request, submit))


def _order(task: Task, terms: tuple[Priority, str | None, str | None]) -> Order:
    priority, callback_url, idempotency_key = terms
    return Order(task, OWNER, priority, callback_url, idempotency_key, current_request_id())


def _accepted(response: Response, job: Job) -> AcceptedBody:
    body = schemas.accepted_body(job)
    response.headers["Location"] = body.links.self
    return body


def _name(image: UploadFile | None) -> str | None:
    """The last part of what the caller calls the file: to show, and no path."""
    if image is None or not image.filename:
        return None
    return image.filename.replace("\\", "/").rpartition("/")[2][:LONGEST_NAME] or None
