"""Progress as server-sent events."""

import time
from collections.abc import AsyncIterator

import anyio
from fastapi import Request
from fastapi.responses import StreamingResponse

from orchestrator.api import schemas
from orchestrator.api.aside import aside
from orchestrator.api.inputs import OWNER
from orchestrator.api.schemas import JobStatusBody
from orchestrator.bootstrap import Services
from orchestrator.domain.errors import NotFound, Overloaded, Unavailable
from orchestrator.domain.job import Kind

LOOK_SECONDS = 0.5
PING_SECONDS = 15.0
"""Often enough for proxies that close what is silent."""

LONGEST_SECONDS = 3600.0
MOST_STREAMS = 200


def status(services: Services, job_id: str) -> JobStatusBody:
    """Raises `NotFound`."""
    job = services.jobs.get(job_id, OWNER)
    under_way = job.kind is Kind.batch and not job.status.ended
    return schemas.job_status_body(job, services.jobs.tally(job) if under_way else None)


def stream(request: Request, services: Services, first: JobStatusBody) -> StreamingResponse:
    """Raises `Overloaded` past `MOST_STREAMS` in this process."""
    if request.app.state.streams >= MOST_STREAMS:
        raise Overloaded("Too many listen already; poll the status instead.", retry_after=10)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(request, services, first), media_type="text/event-stream", headers=headers)


async def _events(request: Request, services: Services, first: JobStatusBody) -> AsyncIterator[str]:
    request.app.state.streams += 1
    try:
        until, sent, current = time.monotonic() + LONGEST_SECONDS, time.monotonic(), first
        yield _event(current)
        while not current.status.ended and time.monotonic() < until:
            await anyio.sleep(LOOK_SECONDS)
            try:
                latest = await aside(request, lambda: status(services, first.job_id))
            except Unavailable:
                continue  # the database will be back
            except NotFound:
                return  # erased meanwhile
            if latest != current:
                current, sent = latest, time.monotonic()
                yield _event(current)
            elif time.monotonic() - sent > PING_SECONDS:
                sent = time.monotonic()
                yield ": still there\n\n"
    finally:
        request.app.state.streams -= 1


def _event(body: JobStatusBody) -> str:
    name = "end" if body.status.ended else "progress"
    return f"event: {name}\ndata: {body.model_dump_json()}\n\n"
