"""A caller who hangs up in the midst of the work."""

import time
from typing import Any

import anyio
import pytest
from fastapi import Request
from starlette.types import Message

from orchestrator.api import outputs
from orchestrator.api.patience import HungUp, Patience
from orchestrator.api.stream import Stream, Tell


def test_a_caller_who_hangs_up_ends_the_work_of_a_stream() -> None:
    ended = []

    async def call() -> None:
        line = anyio.Event()

        async def receive() -> Message:
            if not line.is_set():
                await anyio.sleep_forever()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.body":
                line.set()

        state = {"arrived": time.monotonic()}
        scope: dict[str, Any] = {"type": "http", "method": "POST", "headers": [], "state": state}
        patience = Patience(60, Request(scope, receive))

        def work(tell: Tell) -> outputs.Answer:
            for _ in range(2000):
                try:
                    patience.check(0.5)
                except HungUp:
                    ended.append("hung up")
                    raise
                tell(0.5)
                time.sleep(0.005)
            raise AssertionError("the work went on to its end")

        await Stream(work)(scope, receive, send)

    anyio.run(call)
    assert ended == ["hung up"]


def test_work_without_a_stream_ends_too_when_nobody_listens() -> None:
    connected = True

    async def receive() -> Message:
        if connected:
            await anyio.sleep_forever()
        return {"type": "http.disconnect"}

    def work(patience: Patience) -> None:
        nonlocal connected
        for step in range(2000):
            connected = step < 100
            patience.check(0.5)
            time.sleep(0.005)

    async def call() -> None:
        state = {"arrived": time.monotonic()}
        request = Request({"type": "http", "method": "POST", "headers": [], "state": state}, receive)
        await anyio.to_thread.run_sync(work, Patience(60, request))

    with pytest.raises(HungUp):
        anyio.run(call)
