"""Several parts as one: started in order, watched together, stopped in the reverse order."""

import contextlib
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.local.process import Echo, Part, Process


class Halted(Exception):
    """Somebody wants everything to stop; nothing went wrong."""


def silent(part: str, line: str) -> None:
    """An echo that shows nothing; the log file has it all."""


class Supervisor:
    """A context: leaving it, for whatever reason, stops all parts."""

    def __init__(self, logs: Path, echo: Echo = silent, hold: Sequence[int] = ()) -> None:
        """`hold` are file descriptors that stay open until nothing of any part is left."""
        self._logs = logs
        self._echo = echo
        self._hold = hold
        self._processes: list[Process] = []
        self._halted = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, part: Part) -> None:
        """Returns when `part` is ready. Raises PartFailed, also for an older part, or Halted."""
        process = Process(part, self._logs / f"{part.name}.log", self._echo, self._hold)
        self._processes.append(process)
        deadline = time.monotonic() + part.patience
        while not part.ready():
            self.check()
            if time.monotonic() > deadline:
                raise process.failure(f"was not ready after {part.patience:.0f} s")
            self._halted.wait(0.05)
        self.check()

    def check(self) -> None:
        """Raises PartFailed if a part has ended, and Halted if everything shall."""
        if self._halted.is_set():
            raise Halted
        for process in self._processes:
            process.check()

    def wait(self) -> None:
        """Returns when halted; raises PartFailed as soon as a part ends."""
        with contextlib.suppress(Halted):
            while True:
                self.check()
                self._halted.wait(0.2)

    def halt(self) -> None:
        """Makes `start` raise Halted and `wait` return; for signal handlers."""
        self._halted.set()

    def stop(self) -> None:
        while self._processes:
            self._processes.pop().stop()
