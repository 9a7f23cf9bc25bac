"""Whether each part that the service is wired to does its work."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

from orchestrator.domain.errors import QuarryError

Check = Callable[[], None]
"""Returns if the part is well; raises an error that says what is wrong."""


@dataclass(frozen=True)
class PartHealth:
    """`milliseconds`: how long the check took, or had when it was given up."""

    ok: bool
    detail: str
    milliseconds: float


class Health:
    """Asks all parts at once and waits no longer than `patience` seconds for the slowest."""

    def __init__(self, checks: Mapping[str, Check], patience: float = 0.08) -> None:
        self._checks = dict(checks)
        self._patience = patience
        self._pool = ThreadPoolExecutor(2 * len(self._checks) or 1, "health")

    def parts(self, patience: float | None = None) -> dict[str, PartHealth]:
        limit = self._patience if patience is None else patience
        futures = {name: self._pool.submit(_timed, check) for name, check in self._checks.items()}
        wait(futures.values(), limit)
        late = PartHealth(False, "did not answer in time", round(1000 * limit, 1))
        answers = {}
        for name, future in futures.items():
            answers[name] = future.result() if future.done() else late
            future.cancel()
        return answers


def _timed(check: Check) -> PartHealth:
    started = time.perf_counter()
    try:
        check()
        ok, detail = True, "ok"
    except QuarryError as exc:
        ok, detail = False, exc.detail
    return PartHealth(ok, detail, round(1000 * (time.perf_counter() - started), 1))
