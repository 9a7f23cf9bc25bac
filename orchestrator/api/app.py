"""The HTTP edge."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import anyio
from fastapi import Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline

from orchestrator import bootstrap
from orchestrator.api import errors, fields
from orchestrator.api.admission import FORM_BYTES, MOST_WAITING, THREADS_PER_CORE, Admission, BodyLimit
from orchestrator.api.head import Head
from orchestrator.api.request_id import HEADER, RequestId
from orchestrator.api.routes import asynchronous, extract, health, images, jobs, models, segment
from orchestrator.bootstrap import Services
from orchestrator.domain.errors import QuarryError
from orchestrator.settings import Settings

WEB = Path(__file__).parent.parent / "web"
HEALTH_THREADS = 4
JOB_THREADS = 16
"""For what is asked of jobs: short, and not to wait behind pictures that are segmented."""

_DESCRIPTION = """Cut objects out of pictures: Meta's Segment Anything on NVIDIA Triton.

Requests are forms (`curl -F image=@car.jpg -F 'boxes=[[700,560,1510,1200]]' …/segment/box`); coordinates are pixels of
the upright picture. Errors have one shape: `{"error", "detail", "request_id"}`."""


def create() -> FastAPI:
    """The application as uvicorn's factory: settings from the environment, real adapters."""
    return build(bootstrap.services(Settings()))


def build(services: Services) -> FastAPI:
    """The application on given services."""
    settings = services.settings
    app = FastAPIOffline(
        title=settings.app_name, version=version("image-quarry"), description=_DESCRIPTION, lifespan=_lifespan
    )
    app.state.services = services
    app.state.streams = 0
    errors.install(app)
    for routes in (segment, extract, asynchronous, jobs, images, models):
        app.include_router(routes.router, dependencies=[Depends(fields.known)])
    app.include_router(health.router)
    app.mount("/", StaticFiles(directory=WEB, html=True))
    # The last that is added is the first that a request meets.
    batch_bytes = settings.batch_max_size_mb * 2**20 + FORM_BYTES
    app.add_middleware(BodyLimit, most=services.limits.max_bytes + FORM_BYTES, larger={"/segment/batch": batch_bytes})
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=settings.cors_methods,
        allow_headers=settings.cors_headers,
        expose_headers=[HEADER, "Retry-After", "ETag", "Content-Range", "Content-Disposition"],
    )
    app.add_middleware(Head)
    app.add_middleware(Admission, most=MOST_WAITING)
    app.add_middleware(RequestId)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    threads = anyio.to_thread.current_default_thread_limiter()
    threads.total_tokens = THREADS_PER_CORE * services.settings.cores
    app.state.health_threads = anyio.CapacityLimiter(HEALTH_THREADS)
    app.state.job_threads = anyio.CapacityLimiter(JOB_THREADS)
    threading.Thread(target=_warm, args=[services], name="warm-up", daemon=True).start()
    yield


def _warm(services: Services) -> None:
    """Have the default model at hand before the first request; readiness says if that failed."""
    with suppress(QuarryError):
        services.models.require(services.settings.default_model)
