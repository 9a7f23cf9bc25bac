"""`/health`: for people, for load balancers, for Kubernetes.

These do not share the threads of the heavy routes, so that a busy service is not taken for a dead one.
"""

import anyio
from fastapi import APIRouter, Request, Response

from orchestrator.api.inputs import Wired
from orchestrator.api.schemas import HealthBody, PartBody
from orchestrator.bootstrap import Services

READY_PATIENCE_SECONDS = 2.0
SPARABLE = {"queue"}
"""Without it pictures are segmented all the same, and jobs accepted, to be done when it is back."""

router = APIRouter(prefix="/health", tags=["health"])


@router.get("", include_in_schema=False)
@router.get("/")
async def health(services: Wired, request: Request) -> HealthBody:
    """Each part's state, in under 100 ms: a part that takes longer counts as away."""
    return await _ask(services, request, None)


@router.get("/live")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/ready", responses={503: {"model": HealthBody, "description": "A part is away."}})
async def ready(services: Wired, request: Request, response: Response) -> HealthBody:
    """The service can do its work: 200, or 503 with the part that cannot."""
    body = await _ask(services, request, READY_PATIENCE_SECONDS)
    if not all(part.ok for name, part in body.parts.items() if name not in SPARABLE):
        response.status_code = 503
        response.headers["Retry-After"] = "2"
    return body


async def _ask(services: Services, request: Request, patience: float | None) -> HealthBody:
    parts = await anyio.to_thread.run_sync(services.health.parts, patience, limiter=request.app.state.health_threads)
    bodies = {name: PartBody(**vars(part)) for name, part in parts.items()}
    return HealthBody(status="ok" if all(part.ok for part in parts.values()) else "degraded", parts=bodies)
