"""How long each stage of a request took, and how long it may take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.domain.errors import DeadlineExceeded


class Stopwatch:
    """Adds up milliseconds by stage."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._stages[name] = self._stages.get(name, 0.0) + time.perf_counter() - started

    def milliseconds(self) -> dict[str, float]:
        """By stage, and `total` since the watch was made."""
        stages = self._stages | {"total": time.perf_counter() - self._started}
        return {name: round(1000 * seconds, 1) for name, seconds in stages.items()}


class Deadline:
    """`check` is a `Progress` that stops the work once `seconds` have passed since the deadline was set."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = time.monotonic() + seconds

    def check(self, share: float) -> None:
        """Raises `DeadlineExceeded`, with how far the work had come."""
        if time.monotonic() > self._until:
            raise DeadlineExceeded(
                f"The work was {share:.0%} done after {self._seconds:g} s, which is all it may take. "
                f"Ask for fewer points (points_per_side), or raise REQUEST_TIMEOUT_SECONDS."
            )
