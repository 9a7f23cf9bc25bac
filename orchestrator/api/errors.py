"""Errors at the edge: one table from our errors to HTTP, one JSON shape, for all of them."""

import errno
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from orchestrator.api.patience import HungUp
from orchestrator.api.request_id import HEADER, current_request_id
from orchestrator.domain import errors

log = logging.getLogger(__name__)


class ErrorBody(BaseModel):
    """What every error answers."""

    error: str = Field(examples=["invalid_prompt"], description="A code for programs.")
    detail: str = Field(examples=["A box is [x0, y0, x1, y1] with x0 < x1 and y0 < y1."])
    request_id: str = Field(examples=["9f0c6f2b7d3e4a51"])


@dataclass(frozen=True)
class Row:
    status: int
    code: str


TABLE: dict[type[errors.QuarryError], Row] = {
    errors.InvalidPicture: Row(400, "invalid_picture"),
    errors.InvalidPrompt: Row(400, "invalid_prompt"),
    errors.InvalidCallback: Row(400, "invalid_callback"),
    errors.InvalidBatch: Row(400, "invalid_batch"),
    errors.NotFound: Row(404, "not_found"),
    errors.Conflict: Row(409, "conflict"),
    errors.ModelMissing: Row(409, "model_missing"),
    errors.PictureTooLarge: Row(413, "too_large"),
    errors.UnsupportedPicture: Row(415, "unsupported_picture"),
    errors.QueueFull: Row(429, "queue_full"),
    errors.Overloaded: Row(503, "overloaded"),
    errors.ModelNotLoaded: Row(503, "unavailable"),
    errors.Unavailable: Row(503, "unavailable"),
    errors.DeadlineExceeded: Row(504, "deadline_exceeded"),
    errors.StorageFull: Row(507, "storage_full"),
}
_CODES = {
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "too_large",
    416: "range_not_satisfiable",
    422: "invalid_request",
}


def respond(error: errors.QuarryError) -> JSONResponse:
    row = TABLE[type(error)]
    retry = {"Retry-After": str(error.retry_after)} if isinstance(error, errors.Unavailable) else {}
    return _response(row.status, row.code, error.detail, retry)


def responses(*kinds: type[errors.QuarryError]) -> dict[int | str, dict[str, Any]]:
    """For a route's OpenAPI: what it may answer instead, besides 422 and 503."""
    statuses = {TABLE[kind].status for kind in kinds} | {422, 503}
    return {status: {"model": ErrorBody, "description": HTTPStatus(status).phrase} for status in sorted(statuses)}


def install(app: FastAPI) -> None:
    handlers: dict[type[Exception], Callable[[Request, Any], Awaitable[Response]]] = {
        errors.QuarryError: _quarry,
        RequestValidationError: _validation,
        HTTPException: _http,
        HungUp: _hung_up,
        Exception: _fault,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


async def _quarry(_: Request, exc: errors.QuarryError) -> JSONResponse:
    return respond(exc)


async def _hung_up(_: Request, __: HungUp) -> Response:
    """To nobody; the status, nginx's for this, stands in logs alone."""
    return Response(status_code=499)


async def _validation(_: Request, exc: RequestValidationError) -> JSONResponse:
    problems = [f"{'.'.join(map(str, error['loc'][1:]))}: {error['msg']}" for error in exc.errors()[:5]]
    return _response(422, "invalid_request", "; ".join(problems) + ".")


async def _http(_: Request, exc: HTTPException) -> JSONResponse:
    cause = exc.__cause__
    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        # The framework takes whatever stops it from reading a form for the caller's fault.
        return respond(errors.StorageFull("The disk that holds files while they are uploaded is full."))
    code = _CODES.get(exc.status_code, "invalid_request")
    return _response(exc.status_code, code, f"{exc.detail}.", dict(exc.headers or {}))


async def _fault(request: Request, exc: Exception) -> JSONResponse:
    log.error("request %s: %s %s failed", current_request_id(), request.method, request.url.path, exc_info=exc)
    return _response(500, "internal_error", "A fault of ours; its cause is in the log under this request id.")


def _response(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    body = ErrorBody(error=code, detail=detail, request_id=current_request_id())
    # The middleware that sets this header does not see what the outermost one answers to a fault.
    return JSONResponse(body.model_dump(), status, {HEADER: body.request_id, **(headers or {})})
