"""How much is let in: bytes of a body, and requests at a time."""

import time
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api import errors
from orchestrator.domain.errors import Overloaded, PictureTooLarge

FORM_BYTES = 1 << 20
"""Room for a form's other fields beside the picture."""

THREADS_PER_CORE = 4
"""A request waits for Triton most of its time: with fewer threads its dynamic batches would stay empty."""

MOST_WAITING = 100
HEAVY = ("/segment/", "/images")


class Admission:
    """Middleware: past `most` heavy requests at a time the caller is told to come again, before a body is read."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].startswith(HEAVY):
            await self._app(scope, receive, send)
            return
        if self._inside >= self._most:
            busy = Overloaded(f"{self._inside} requests are waiting already; try again in a moment.", retry_after=1)
            await errors.respond(busy)(scope, receive, send)
            return
        self._inside += 1
        # The deadline runs from here: waiting for a thread is waiting too.
        scope.setdefault("state", {})["arrived"] = time.monotonic()
        try:
            await self._app(scope, receive, send)
        finally:
            self._inside -= 1


class BodyLimit:
    """Middleware: a body of more than `most` bytes is refused, by its header or as soon as it gets that far.

    `larger`: paths that may have more.
    """

    def __init__(self, app: ASGIApp, most: int, larger: Mapping[str, int]) -> None:
        self._app = app
        self._most = most
        self._larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._larger.get(scope["path"], self._most)
        refusal = errors.respond(PictureTooLarge(f"A request may have at most {most:,} bytes."))
        refusal.headers["Connection"] = "close"
        declared = Headers(scope=scope).get("Content-Length", "")
        if declared.isdigit() and int(declared) > most:
            await refusal(scope, receive, send)
            return
        received, refused = 0, False

        async def counted() -> Message:
            nonlocal received, refused
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                # The form's parser sees an end; what the application then answers is not sent.
                refused = True
                return {"type": "http.disconnect"}
            return message

        async def guarded(message: Message) -> None:
            if not refused:
                await send(message)

        try:
            await self._app(scope, counted, guarded)
        finally:
            if refused:
                await refusal(scope, receive, send)
