"""Short calls on threads of their own, so that they do not wait behind pictures that are segmented."""

from collections.abc import Callable
from typing import TypeVar

import anyio
from fastapi import Request

Result = TypeVar("Result")


async def aside(request: Request, call: Callable[[], Result]) -> Result:
    return await anyio.to_thread.run_sync(call, limiter=request.app.state.job_threads)
