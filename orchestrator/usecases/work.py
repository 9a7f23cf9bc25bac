"""One attempt at one job, by the very use case that answers a request."""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from orchestrator.domain import image as images
from orchestrator.domain.errors import DeadlineExceeded, QuarryError, StorageFull, Unavailable
from orchestrator.domain.image import Limits
from orchestrator.domain.job import Job, Status
from orchestrator.domain.task import Task
from orchestrator.usecases.batches import Batches
from orchestrator.usecases.images import Images
from orchestrator.usecases.jobs import Clock, now
from orchestrator.usecases.lease import Lease, Lost, Terms, TooLong
from orchestrator.usecases.operations import Operations
from orchestrator.usecases.ports.state import Draft, JobRows, ResultFiles
from orchestrator.usecases.stopwatch import Stopwatch

Result = TypeVar("Result")
log = logging.getLogger(__name__)

HEALABLE = (Unavailable, DeadlineExceeded, StorageFull, MemoryError)
"""What another attempt may not meet: a part is away, Triton has too much to do, disk or memory is full."""

FIRST_BACKOFF, LONGEST_BACKOFF = 2.0, 120.0
PATIENCE_SECONDS = 60.0
"""How long an end is held ready for a database that is away; after that, somebody else has the job."""


@dataclass(frozen=True)
class Rules:
    """`most_retries`: attempts after the first that failed in a way that may heal."""

    terms: Terms
    most_retries: int
    limits: Limits


class Work:
    """What a worker does when it is woken. `stuck`: ends the process, see `Lease`."""

    def __init__(
        self,
        rows: JobRows,
        files: ResultFiles,
        pictures: Images,
        operations: Operations,
        batches: Batches,
        rules: Rules,
        clock: Clock = now,
    ) -> None:
        self._rows = rows
        self._files = files
        self._pictures = pictures
        self._operations = operations
        self._batches = batches
        self._rules = rules
        self._clock = clock

    def next(self, worker: str, stuck: Callable[[], None]) -> Job | None:
        """Attempt the most urgent due job. None if there is none. Raises `Unavailable` before it has begun."""
        at = self._clock()
        job = self._rows.claim(worker, at, at + timedelta(seconds=self._rules.terms.length))
        if job is None:
            return None
        with Lease(self._rows, job, self._rules.terms, self._clock, stuck) as lease:
            self._attempt(job, lease)
        _patiently(lambda: self._batches.after(job))
        return job

    def _attempt(self, job: Job, lease: Lease) -> None:
        draft = None
        try:
            draft = self._files.draft(job)
            summary = self._perform(job, lease, draft)
            lease.progress(1.0)
            self._succeed(job, draft, summary)
        except Lost:
            log.info("job %s, attempt %d: taken away", job.id, job.attempts)
        except TooLong:
            limit = self._rules.terms.soft_limit
            self._fail(job, "deadline_exceeded", f"The work was not done after {limit:g} s (JOB_SOFT_TIME_LIMIT).")
        except (QuarryError, MemoryError) as exc:
            if not lease.lost:  # what a loser stumbles over is that its draft was swept
                self._settle(job, exc)
        except Exception as exc:  # whatever a job stumbles over is that job's end, and not the worker's
            if not lease.lost:
                log.exception("job %s failed", job.id)
                self._settle(job, exc)
        finally:
            if draft is not None:
                draft.discard()

    def _perform(self, job: Job, lease: Lease, draft: Draft) -> dict[str, float]:
        task, watch = Task.from_json(job.task), Stopwatch()
        lease.progress(0.01)
        with watch.stage("read"):
            data = self._pictures.read(job.picture or "", job.owner)
            image = images.decode(data, self._rules.limits)
        lease.progress(0.05)
        outcome = self._operations.perform(task, image, watch, lease.within(0.05, 0.9))
        for name, content in outcome.files:
            draft.write(name, content)
            lease.progress(0.9)
        draft.seal()
        return dict(outcome.summary)

    def _succeed(self, job: Job, draft: Draft, summary: dict[str, float]) -> None:
        changes = ended(job, self._clock()) | {"progress": 100.0, "summary": summary}
        won = _patiently(lambda: self._rows.move(job, Status.succeeded, changes, along=draft.publish))
        log.info("job %s, attempt %d: %s", job.id, job.attempts, "succeeded" if won else "came late")

    def _settle(self, job: Job, exc: Exception) -> None:
        """Another attempt for what may heal, while there are any; else the end."""
        code, detail = _reason(exc)
        if not _may_heal(exc):
            self._fail(job, code, detail)
        elif job.failures >= self._rules.most_retries:
            self._fail(job, code, f"{detail} It was tried {job.failures + 1} times.")
        else:
            due = self._clock() + timedelta(seconds=backoff(job.failures))
            log.warning("job %s, attempt %d: %s Tried again at %s.", job.id, job.attempts, detail, due)
            changes = released(due) | {"failures": job.failures + 1, "detail": detail}
            _patiently(lambda: self._rows.move(job, Status.queued, changes))

    def _fail(self, job: Job, code: str, detail: str) -> None:
        log.warning("job %s, attempt %d: failed: %s", job.id, job.attempts, detail)
        changes = ended(job, self._clock()) | {"error": code, "detail": detail}
        _patiently(lambda: self._rows.move(job, Status.failed, changes))


def ended(job: Job, at: datetime) -> dict[str, Any]:
    """What a row gets when its job ends, however."""
    told = {"callback_due_at": at if job.callback_url else None}
    return {"ended_at": at, "worker": None, "lease_until": None, "detail": None} | told


def released(due_at: datetime) -> dict[str, Any]:
    """What a row gets when its job goes back to the queue."""
    return {"due_at": due_at, "worker": None, "lease_until": None, "progress": 0.0}


def backoff(failures: int) -> float:
    """Seconds until another attempt: doubled each time, and spread, so that not all come back at once."""
    return min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0**failures) * random.uniform(0.75, 1.25)  # noqa: S311 - no secret


def _may_heal(exc: Exception) -> bool:
    return isinstance(exc, HEALABLE) or _is_of_memory(exc)


def _is_of_memory(exc: Exception) -> bool:
    # OpenCV and ONNX Runtime tell of it in errors of their own.
    words = ("bad_alloc", "failed to allocate", "insufficient memory")
    return isinstance(exc, MemoryError) or any(word in str(exc).lower() for word in words)


def _reason(exc: Exception) -> tuple[str, str]:
    if isinstance(exc, QuarryError):
        return exc.code, exc.detail
    if _is_of_memory(exc):
        return "out_of_memory", "The memory did not suffice."
    return "internal_error", "A fault of ours; its cause is in the worker's log."


def _patiently(act: Callable[[], Result]) -> Result | None:
    """Again and again while the database is away; None in the end."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return act()
        except Unavailable as exc:
            if time.monotonic() > deadline:
                log.error("gave up: %s", exc.detail)  # noqa: TRY400 - the sentence says it all
                return None
            time.sleep(0.5)
