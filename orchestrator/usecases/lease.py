"""A worker's hold on the job it works on."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

from orchestrator.domain.errors import Unavailable
from orchestrator.domain.job import Job
from orchestrator.usecases.jobs import Clock
from orchestrator.usecases.ports.state import JobRows

log = logging.getLogger(__name__)


class Lost(Exception):
    """The row is not at this attempt any more: canceled, or given to another worker."""


class TooLong(Exception):
    """The attempt is past its soft limit."""


@dataclass(frozen=True)
class Terms:
    """Seconds. `grace`: until work that goes on after it was lost is taken for stuck."""

    length: float = 15.0
    beat: float = 1.0
    soft_limit: float = 540.0
    grace: float = 10.0


class Lease:
    """A context: a thread renews the lease and hands on the progress until it is left.

    `stuck` is called, from that thread, if the work goes on long after the lease was lost: it answers to nobody then.
    """

    def __init__(self, rows: JobRows, job: Job, terms: Terms, clock: Clock, stuck: Callable[[], None]) -> None:
        self._rows = rows
        self._job = job
        self._terms = terms
        self._clock = clock
        self._stuck = stuck
        self._started = time.monotonic()
        self._share = 0.0
        self._lost = threading.Event()
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        self._thread.join()

    def progress(self, share: float) -> None:
        """Of the whole job, 0 to 1; never goes back. Raises `Lost`, `TooLong`."""
        self._share = max(self._share, min(share, 1.0))
        if self._lost.is_set():
            raise Lost
        if time.monotonic() - self._started > self._terms.soft_limit:
            raise TooLong

    def within(self, start: float, end: float) -> Callable[[float], None]:
        """`progress` of a part of the job, which is that range of the whole."""
        return lambda share: self.progress(start + share * (end - start))

    @property
    def lost(self) -> bool:
        return self._lost.is_set()

    def _renew(self) -> None:
        while not self._left.wait(self._terms.beat):
            until = self._clock() + timedelta(seconds=self._terms.length)
            try:
                if not self._rows.renew(self._job, round(100 * self._share, 1), until):
                    break
            except Unavailable:
                # Whether it still holds shows when the database is back; the last word is the compare-and-set.
                log.warning("job %s: the lease cannot be renewed while the database is away", self._job.id)
        else:
            return
        self._lost.set()
        if not self._left.wait(self._terms.grace):
            log.error("job %s was taken away, but its work goes on: this worker ends", self._job.id)
            self._stuck()
