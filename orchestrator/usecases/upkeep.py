"""The reconciler: makes good what was lost, at the start and again and again.

Each step is a compare-and-set on rows, so it may run at several places at once, and stop anywhere.
"""

import logging
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from orchestrator.domain.errors import QuarryError
from orchestrator.domain.job import MOST_LOSSES, Job, Kind, Status
from orchestrator.usecases.batches import Batches
from orchestrator.usecases.jobs import Clock, now
from orchestrator.usecases.ports.state import Doorbell, JobRows, ResultFiles
from orchestrator.usecases.work import ended, released

log = logging.getLogger(__name__)

LONGEST_PAUSE = timedelta(seconds=30)
"""Between two attempts of a job that loses its workers."""

ORPHAN_AGE = timedelta(minutes=10)
"""A published folder without a row is an orphan after that: the row follows its folder within a moment."""


class Upkeep:
    """`time_limit`: of an attempt."""

    def __init__(
        self,
        rows: JobRows,
        files: ResultFiles,
        doorbell: Doorbell,
        batches: Batches,
        time_limit: timedelta,
        clock: Clock = now,
    ) -> None:
        self._rows = rows
        self._files = files
        self._doorbell = doorbell
        self._batches = batches
        self._time_limit = time_limit
        self._clock = clock

    def round(self) -> None:
        """All that is due now; what cannot be done is logged, and does not stop the rest."""
        steps: list[Callable[[], object]] = [
            self._expire,
            self.requeue_lost,
            self._batches.advance_all,
            self._ring,
            self._sweep_drafts,
        ]
        for step in steps:
            try:
                step()
            except QuarryError as exc:
                log.warning("upkeep: %s", exc.detail)

    def requeue_lost(self, workers: Collection[str] = (), *, counted: bool = True) -> int:
        """Jobs whose lease ran out, or whose worker is one of `workers`, which are known to be dead.

        `counted`: as losses, which end a job that always loses its worker. Raises `Unavailable`.
        """
        at = self._clock()
        lost = self._rows.lost(at, workers)
        for job in lost:
            self._requeue(job, job.losses + counted, at)
        return len(lost)

    def end_overrunning(self, workers: Collection[str]) -> list[str]:
        """End those workers' jobs that outlived the time limit: the workers, to be killed. Raises `Unavailable`."""
        at = self._clock()
        late = [job for job in self._rows.overrunning(at - self._time_limit) if job.worker in workers]
        limit = self._time_limit.total_seconds()
        reason = {"error": "deadline_exceeded", "detail": f"The work was not done after {limit:g} s (JOB_TIME_LIMIT)."}
        return [job.worker or "" for job in late if self._rows.move(job, Status.failed, ended(job, at) | reason)]

    def sweep_orphans(self) -> None:
        """Remove published folders without a row. Raises `Unavailable`."""
        old = [job_id for job_id, at in self._files.published() if at < self._clock() - ORPHAN_AGE]
        for start in range(0, len(old), 500):
            part = old[start : start + 500]
            for job_id in set(part) - self._rows.known(part):
                log.warning("the results of %s have no job: removed", job_id)
                self._files.remove_id(job_id)

    def _requeue(self, job: Job, losses: int, at: datetime) -> None:
        if losses >= MOST_LOSSES:
            reason = {
                "error": "worker_lost",
                "losses": losses,
                "detail": f"{losses} workers died over this job; it was not given to another one.",
            }
            moved = self._rows.move(job, Status.failed, ended(job, at) | reason)
        else:
            # The first may be chance; after more, others' jobs go first.
            due = at + min(LONGEST_PAUSE, timedelta(seconds=2.0 ** max(0, losses - 1) - 1))
            moved = self._rows.move(job, Status.queued, released(due) | {"losses": losses})
        if moved:
            log.warning("job %s lost its worker %s in attempt %d", job.id, job.worker, job.attempts)

    def _expire(self) -> None:
        at = self._clock()
        for job in self._rows.expired(at):
            reason = {"error": "deadline_exceeded", "detail": "The job did not end within JOB_TIMEOUT_MINUTES."}
            if (
                self._rows.move(job, Status.failed, ended(job, at) | reason, any_attempt=True)
                and job.kind is Kind.batch
            ):
                self._rows.cancel_children(job.id, {"ended_at": at})

    def _ring(self) -> None:
        """For every job that could be claimed and has no ring waiting: its ring was lost, or it has come due."""
        missing = self._rows.due(self._clock()) - self._doorbell.unanswered()
        if missing > 0:
            self._doorbell.ring(missing)

    def _sweep_drafts(self) -> None:
        """Those of attempts that are over."""
        old = self._clock() - ORPHAN_AGE
        for job_id, attempt, changed in self._files.drafts():
            job = self._rows.get(job_id)
            # What a request records has its row only once its files are there.
            over = changed < old if job is None else job.status is not Status.running or job.attempts != attempt
            if over:
                self._files.discard(job_id, attempt)
