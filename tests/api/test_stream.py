"""A caller who hangs up in the midst of a stream."""

import time
from typing import Any

import anyio
from starlette.types import Message

from orchestrator.api import outputs
from orchestrator.api.stream import HungUp, Stream, Tell


def test_a_caller_who_hangs_up_ends_the_work() -> None:
    ended = []

    def work(tell: Tell) -> outputs.Answer:
        for _ in range(2000):
            try:
                tell(0.5)
            except HungUp:
                ended.append("hung up")
                raise
            time.sleep(0.005)
        raise AssertionError("the work went on to its end")

    async def call() -> None:
        line = anyio.Event()

        async def receive() -> Message:
            await line.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.body":
                line.set()

        scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/segment/auto", "headers": []}
        await Stream(work)(scope, receive, send)

    anyio.run(call)
    assert ended == ["hung up"]
