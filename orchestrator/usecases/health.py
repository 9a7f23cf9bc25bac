"""Whether each part that the service is wired to does its work."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from orchestrator.domain.errors import QuarryError

log = logging.getLogger(__name__)

Check = Callable[[], None]
"""Returns if the part is well; raises an error that says what is wrong."""


@dataclass(frozen=True)
class PartHealth:
    """`milliseconds`: how long the check took, or had when it was given up."""

    ok: bool
    detail: str
    milliseconds: float


class Health:
    """Asks all parts at once and waits no longer than `patience` seconds for the slowest.

    A part that hangs is asked once: until that check has ended, the part counts as late, and no further one is begun.
    """

    def __init__(self, checks: Mapping[str, Check], patience: float = 0.08) -> None:
        self._checks = dict(checks)
        self._patience = patience
        self._pool = ThreadPoolExecutor(len(self._checks) or 1, "health")
        self._asked: dict[str, Future[PartHealth]] = {}
        self._lock = threading.Lock()

    def parts(self, patience: float | None = None) -> dict[str, PartHealth]:
        limit = self._patience if patience is None else patience
        with self._lock:
            for name, check in self._checks.items():
                if name not in self._asked or self._asked[name].done():
                    self._asked[name] = self._pool.submit(_timed, check)
            asked = dict(self._asked)
        wait(asked.values(), limit)
        late = PartHealth(False, "did not answer in time", round(1000 * limit, 1))
        return {name: future.result() if future.done() else late for name, future in asked.items()}


def _timed(check: Check) -> PartHealth:
    started = time.perf_counter()
    try:
        check()
        ok, detail = True, "ok"
    except QuarryError as exc:
        ok, detail = False, exc.detail
    except Exception:  # whatever ails a part is its ill health, and no fault of this page
        log.exception("a health check failed")
        ok, detail = False, "failed; the log says why"
    return PartHealth(ok, detail, round(1000 * (time.perf_counter() - started), 1))
