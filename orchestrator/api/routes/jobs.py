"""`/jobs/*`: what has become of what was asked for."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException

from orchestrator.api import errors, events, files, outputs, schemas
from orchestrator.api.aside import aside
from orchestrator.api.forms import (
    MEDIA,
    OBJECTS_MEDIA,
    PNG,
    ZIP,
    Accept,
    Chosen,
    FormKind,
    ObjectsOutput,
    Output,
    choose,
)
from orchestrator.api.inputs import OWNER, Picture, Wired
from orchestrator.api.request_id import current_request_id
from orchestrator.api.routes import extract
from orchestrator.api.schemas import BatchResultBody, JobDetailsBody, JobsBody, JobStatusBody
from orchestrator.bootstrap import Services
from orchestrator.domain import packing
from orchestrator.domain.errors import Conflict, NotFound
from orchestrator.domain.job import Job, Kind, Status
from orchestrator.usecases.ports.state import JobFilter

MOST_LISTED = 200
_READY = errors.responses(NotFound, Conflict)

router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.get("", include_in_schema=False)
@router.get("/")
async def listed(
    request: Request,
    services: Wired,
    status: Annotated[list[Status] | None, Query(description="May be given more than once.")] = None,
    kind: Annotated[list[Kind] | None, Query(description="May be given more than once.")] = None,
    since: Annotated[datetime | None, Query(description="Created then or later; UTC without a zone.")] = None,
    until: Annotated[datetime | None, Query(description="Created before.")] = None,
    children: Annotated[bool, Query(description="The children of batches too.")] = False,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 50,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> JobsBody:
    """Newest first."""
    asked = JobFilter(status or [], kind or [], _utc(since), _utc(until), children)

    def read() -> JobsBody:
        found, total = services.jobs.page(OWNER, asked, limit, offset)
        bodies = [schemas.job_body(job) for job in found]
        counts = services.jobs.counts(OWNER)
        return JobsBody(jobs=bodies, total=total, limit=limit, offset=offset, counts=counts)

    return await aside(request, read)


@router.get("/{job_id}", responses=errors.responses(NotFound))
async def details(request: Request, services: Wired, job_id: str) -> JobDetailsBody:
    def read() -> JobDetailsBody:
        job = services.jobs.get(job_id, OWNER)
        plain = schemas.job_body(job).model_dump()
        names = services.jobs.names(job) if job.status is Status.succeeded else []
        if job.kind is not Kind.batch:
            return JobDetailsBody(**plain, files=names, counts=None, children=None)
        tally, children = services.jobs.tally(job), services.jobs.children(job)
        plain["progress"] = job.progress if job.status.ended else round(tally.progress, 1)
        bodies = [schemas.child_body(child) for child in children]
        return JobDetailsBody(**plain, files=names, counts=dict(tally.counts), children=bodies)

    return await aside(request, read)


@router.get("/{job_id}/status", responses=errors.responses(NotFound))
async def status(request: Request, services: Wired, job_id: str) -> JobStatusBody:
    """Cheap enough to poll."""
    return await aside(request, lambda: events.status(services, job_id))


@router.get("/{job_id}/result", responses=_READY, response_model=None)
async def result(
    request: Request,
    services: Wired,
    job_id: str,
    output: Annotated[Output | ObjectsOutput | None, Query(description="Any form of the synchronous route.")] = None,
    tolerance: Annotated[float | None, Query(ge=0, le=1000, description="Of polygons, in pixels.")] = None,
    accept: Accept = "",
) -> Response:
    """What the synchronous route would have answered; of a batch, its counts and its children."""
    return await aside(request, lambda: _result(services, job_id, output, tolerance, accept))


@router.get("/{job_id}/events", responses=errors.responses(NotFound))
async def stream(request: Request, services: Wired, job_id: str) -> StreamingResponse:
    """Server-sent events: `progress` whenever status or progress has changed, `end` with the last."""
    first = await aside(request, lambda: events.status(services, job_id))
    return events.stream(request, services, first)


@router.get("/{job_id}/files/{name}", responses=_READY, response_class=FileResponse)
async def file(request: Request, services: Wired, job_id: str, name: str) -> Response:
    """One file of the result. It never changes: caches may keep it, and fetch ranges of it."""
    return await aside(request, lambda: files.respond(request, services.jobs.file(job_id, OWNER, name), OWNER))


@router.delete(
    "/{job_id}",
    status_code=204,
    response_model=None,
    responses=errors.responses(NotFound) | {202: {"model": JobStatusBody, "description": "It was active: canceled."}},
)
async def remove(request: Request, services: Wired, job_id: str) -> Response:
    """Cancel what is active (202); erase what has ended, with its files (204)."""
    before = await aside(request, lambda: services.jobs.remove(job_id, OWNER))
    if before.status.ended:
        return Response(status_code=204)
    body = JobStatusBody(job_id=job_id, status=Status.canceled, progress=before.progress)
    return JSONResponse(body.model_dump(mode="json"), 202)


def _result(
    services: Services, job_id: str, output: Output | ObjectsOutput | None, tolerance: float | None, accept: str
) -> Response:
    job = services.jobs.succeeded(job_id, OWNER)
    if job.kind is Kind.batch:
        return JSONResponse(_batch_result(services, job).model_dump(mode="json"))
    if job.kind is Kind.extract:
        return _objects(services, job, _form(ObjectsOutput(job.task["output"]), output, accept, OBJECTS_MEDIA))
    _, stored = services.jobs.result(job_id, OWNER)
    image = services.images.open(job.picture or "", OWNER)
    picture = Picture.of_job(image, job.image_id, job.name or job.image_id or "image", stored.timings_ms)
    form = _form(Output(job.task["output"]), output, accept, MEDIA)
    if tolerance is None:
        tolerance = job.task.get("tolerance")
    return outputs.respond(services, stored.answer, picture, Chosen(form, tolerance))


def _objects(services: Services, job: Job, form: ObjectsOutput) -> Response:
    """An extraction, with links to its pictures or with the pictures themselves."""
    if form is ObjectsOutput.zip:
        return Response(packing.zipped(services.jobs.contents(job)), media_type=ZIP)
    stored = services.jobs.extraction(job)
    if form is ObjectsOutput.png:
        extract.must_be_one(len(stored.objects))
        data = services.jobs.file(job.id, OWNER, stored.objects[0].file).read_bytes()
        return Response(data, media_type=PNG)
    return JSONResponse(schemas.extraction_body(stored, job.id, job.image_id, current_request_id()).model_dump())


def _form(own: FormKind, output: str | None, accept: str, media: Mapping[FormKind, str]) -> FormKind:
    """As on the synchronous route, but what the job was asked for comes first. Raises 406 for what has no such form."""
    try:
        asked = type(own)(output) if output else None
    except ValueError as exc:
        raise HTTPException(406, f"This job's result is answered as one of: {', '.join(media)}") from exc
    return choose(asked, accept, {own: media[own], **media})


def _batch_result(services: Services, batch: Job) -> BatchResultBody:
    children = [schemas.child_body(child) for child in services.jobs.children(batch)]
    counts = dict(services.jobs.tally(batch).counts)
    return BatchResultBody(job_id=batch.id, counts=counts, statistics=dict(batch.summary or {}), children=children)


def _utc(time: datetime | None) -> datetime | None:
    return time and (time if time.tzinfo else time.replace(tzinfo=UTC))
