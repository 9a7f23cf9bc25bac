"""How long a request is worked for: until its deadline, and while somebody listens."""

import time

import anyio
from fastapi import Request

from orchestrator.usecases.stopwatch import Deadline

SECONDS_BETWEEN = 0.2
"""Between two looks at the connection."""


class HungUp(Exception):
    """Nobody listens any more."""


class Patience(Deadline):
    """A deadline that also ends when the caller has hung up; for a route's own thread."""

    def __init__(self, seconds: float, request: Request) -> None:
        super().__init__(seconds, request.state.arrived)
        self._request = request
        self._looked = time.monotonic()

    def check(self, share: float) -> None:
        """Raises `DeadlineExceeded` and `HungUp`."""
        super().check(share)
        if time.monotonic() - self._looked > SECONDS_BETWEEN:
            self._looked = time.monotonic()
            if anyio.from_thread.run(self._request.is_disconnected):
                raise HungUp
