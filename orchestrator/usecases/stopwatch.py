"""How long each stage of a request took, and how long it may take."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from orchestrator.domain.errors import DeadlineExceeded


class Stopwatch:
    """Adds up milliseconds by stage; stages that threads run side by side add up to more than the whole."""

    def __init__(self) -> None:
        self.cache: Literal["hit", "miss"] = "hit"
        """Whether all embeddings were at hand."""
        self._started = time.perf_counter()
        self._stages: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            taken = time.perf_counter() - started
            with self._lock:
                self._stages[name] = self._stages.get(name, 0.0) + taken

    def milliseconds(self) -> dict[str, float | Literal["hit", "miss"]]:
        """By stage, and `total` since the watch was made; `cache`: hit or miss."""
        with self._lock:
            stages = self._stages | {"total": time.perf_counter() - self._started}
        return {name: round(1000 * seconds, 1) for name, seconds in stages.items()} | {"cache": self.cache}


class StoppedWatch(Stopwatch):
    """Of work that was done before, and took `timings_ms`."""

    def __init__(self, timings_ms: Mapping[str, float | Literal["hit", "miss"]]) -> None:
        super().__init__()
        self._timings_ms = dict(timings_ms)

    def milliseconds(self) -> dict[str, float | Literal["hit", "miss"]]:
        return self._timings_ms


class Deadline:
    """`check` is a `Progress` that stops the work `seconds` after `started`, a time of the monotonic clock."""

    def __init__(self, seconds: float, started: float) -> None:
        self._seconds = seconds
        self._until = started + seconds

    def check(self, share: float) -> None:
        """Raises `DeadlineExceeded`, with how far the work had come."""
        if time.monotonic() > self._until:
            raise DeadlineExceeded(
                f"The work was {share:.0%} done after {self._seconds:g} s, which is all it may take. "
                f"Ask for fewer prompts or points, or raise REQUEST_TIMEOUT_SECONDS."
            )
