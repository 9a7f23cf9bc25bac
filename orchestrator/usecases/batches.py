"""Batches: children are let into the queue a few at a time, and the batch ends with its last."""

import logging
from collections.abc import Sequence
from datetime import timedelta
from statistics import mean, median

from orchestrator.domain.errors import Unavailable
from orchestrator.domain.job import ACTIVE, Job, Status
from orchestrator.usecases.jobs import Clock, now
from orchestrator.usecases.ports.state import Doorbell, JobRows

log = logging.getLogger(__name__)


class Batches:
    """The dispatcher. All of it may run at several places at once, and again. `life`: of a child in the queue."""

    def __init__(self, rows: JobRows, doorbell: Doorbell, life: timedelta, clock: Clock = now) -> None:
        self._rows = rows
        self._doorbell = doorbell
        self._life = life
        self._clock = clock

    def advance(self, batch: Job) -> None:
        """Let in what may be let in, or end the batch if nothing is left. Raises `Unavailable`."""
        if batch.status is Status.queued:
            self._rows.move(batch, Status.running, {"started_at": self._clock()}, any_attempt=True)
        admitted = self._rows.admit(batch, int(batch.task["concurrency"]), self._clock() + self._life)
        if admitted:
            ring(self._doorbell, admitted)
        elif not ACTIVE & self._rows.tally(batch.id).counts.keys():
            self._end(batch)

    def after(self, child: Job) -> None:
        """A child has ended: the next may come. Raises `Unavailable`."""
        batch = self._rows.get(child.parent_id) if child.parent_id else None
        if batch and not batch.status.ended:
            self.advance(batch)

    def advance_all(self) -> None:
        """Raises `Unavailable`."""
        for batch in self._rows.batches():
            self.advance(batch)

    def _end(self, batch: Job) -> None:
        at = self._clock()
        children = self._rows.children(batch.id)
        changes = {
            "ended_at": at,
            "progress": 100.0,
            "summary": statistics(children),
            "callback_due_at": at if batch.callback_url else None,
        }
        if any(child.status is Status.succeeded for child in children):
            self._rows.move(batch, Status.succeeded, changes, any_attempt=True)
        else:
            reasons = {child.error: child.detail for child in children if child.error}
            detail = next(iter(reasons.values())) if len(reasons) == 1 else "None of its pictures has a result."
            changes |= {"error": "batch_failed", "detail": detail}
            self._rows.move(batch, Status.failed, changes, any_attempt=True)


def statistics(children: Sequence[Job]) -> dict[str, float]:
    """Sums of what each child counted, and seconds from a child's start to its end."""
    done = [child for child in children if child.status is Status.succeeded]
    names = {name for child in done for name in child.summary or {}}
    sums = {name: sum((child.summary or {}).get(name, 0) for child in done) for name in sorted(names)}
    seconds = [
        (child.ended_at - child.started_at).total_seconds() for child in done if child.ended_at and child.started_at
    ]
    if not seconds:
        return sums
    return sums | {"seconds_mean": round(mean(seconds), 3), "seconds_median": round(median(seconds), 3)}


def ring(doorbell: Doorbell, times: int = 1) -> None:
    """If nobody can be woken now, the reconciler will."""
    try:
        doorbell.ring(times)
    except Unavailable as exc:
        log.warning("%s Waiting jobs are rung again.", exc.detail)
