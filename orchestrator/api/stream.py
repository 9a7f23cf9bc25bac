"""NDJSON while the work goes on: how far it has come, then each mask, then the rest of the answer."""

import time
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestrator.api import errors, outputs
from orchestrator.api.forms import NDJSON
from orchestrator.api.patience import HungUp
from orchestrator.domain.errors import QuarryError

SECONDS_BETWEEN = 0.2
"""Between two lines of progress."""

Tell = Callable[[float], None]


class Stream(Response):
    """`work` runs on a thread of the heavy routes; it is handed what tells how far it is, and makes the answer.

    What goes wrong before the first line is an answer of its own status; after it, a last line in the shape of errors.
    That the caller has hung up is for the work's own `Patience` to notice.
    """

    media_type = NDJSON

    def __init__(self, work: Callable[[Tell], outputs.Answer]) -> None:
        super().__init__()
        self._work = work
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def write(data: bytes) -> None:
            if not self._started:
                headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                self._started = True
            await send({"type": "http.response.body", "body": data, "more_body": True})

        try:
            await anyio.to_thread.run_sync(self._run, write)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except QuarryError as exc:
            if self._started:
                await write(bytes(errors.respond(exc).body) + b"\n")
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                await errors.respond(exc)(scope, receive, send)
        except (HungUp, OSError):
            pass

    def _run(self, write: Callable[[bytes], Coroutine[Any, Any, None]]) -> None:
        told = 0.0

        def tell(share: float) -> None:
            nonlocal told
            if time.monotonic() - told > SECONDS_BETWEEN:
                told = time.monotonic()
                anyio.from_thread.run(write, outputs.line({"progress": round(share, 3)}))

        for content in outputs.lines(self._work(tell)):
            anyio.from_thread.run(write, outputs.line(content))
