"""Jobs as their owners see them: list, look at, cancel, erase; and the record of what was done at once."""

import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrator.domain.errors import Conflict, NotFound
from orchestrator.domain.job import Job, Kind, Status
from orchestrator.domain.task import Task
from orchestrator.usecases import objects, results
from orchestrator.usecases.images import Images
from orchestrator.usecases.objects import StoredExtraction
from orchestrator.usecases.ports.state import JobFilter, JobRows, ResultFiles, Tally
from orchestrator.usecases.results import StoredResult

Clock = Callable[[], datetime]


def new_id() -> str:
    """Opaque, and fit for a folder's name."""
    return secrets.token_hex(16)


def now() -> datetime:
    return datetime.now(UTC)


class Jobs:
    """An id is its owner's alone."""

    def __init__(self, rows: JobRows, files: ResultFiles, images: Images, clock: Clock = now) -> None:
        self._rows = rows
        self._files = files
        self._images = images
        self._clock = clock

    def record(
        self,
        task: Task,
        files: Iterable[tuple[str, bytes]],
        owner: str,
        image_id: str | None = None,
        request_id: str = "",
    ) -> Job:
        """What a request has done at once becomes an ended job, with `files` (name, bytes) as its result.

        Row and files appear together. Raises `StorageFull`, `Unavailable`.
        """
        at = self._clock()
        job = Job(
            id=new_id(),
            owner=owner,
            kind=task.operation,
            status=Status.running,
            task=task.as_json(),
            created_at=at,
            expires_at=at + timedelta(days=1),
            due_at=at,
            rank=at,
            image_id=image_id,
            attempts=1,
            started_at=at,
            attempt_at=at,
            request_id=request_id,
        )
        draft = self._files.draft(job)
        try:
            for name, data in files:
                draft.write(name, data)
            draft.seal()
        except BaseException:
            draft.discard()
            raise
        ended = replace(job, status=Status.succeeded, progress=100.0, ended_at=self._clock())
        draft.publish()
        # A folder without a row is swept in time. It is not removed here: a commit that broke off may have been one.
        self._rows.add([ended], None)
        return ended

    def get(self, job_id: str, owner: str) -> Job:
        """Raises `NotFound`, also for somebody else's."""
        found = self._rows.get(job_id)
        if found is None or found.owner != owner:
            raise NotFound("There is no job of this id; it may have been erased, or cleaned up by age.")
        return found

    def page(self, owner: str, asked: JobFilter, limit: int, offset: int) -> tuple[list[Job], int]:
        """Newest first, and how many there are on all pages."""
        return self._rows.page(owner, asked, limit, offset)

    def counts(self, owner: str | None) -> dict[Status, int]:
        return self._rows.counts(owner)

    def tally(self, batch: Job) -> Tally:
        return self._rows.tally(batch.id)

    def result(self, job_id: str, owner: str) -> tuple[Job, StoredResult]:
        """Of a segmentation. Raises `NotFound`, `Conflict`."""
        job = self.succeeded(job_id, owner)
        return job, results.read(self._files.path(job, results.RESULT).read_bytes())

    def extraction(self, job: Job) -> StoredExtraction:
        """Of one that has succeeded. Raises `NotFound`."""
        return objects.read(self._files.path(job, results.RESULT).read_bytes())

    def contents(self, job: Job) -> Iterator[tuple[str, bytes]]:
        """The files of its result."""
        for name in self._files.names(job):
            yield name, self._files.path(job, name).read_bytes()

    def children(self, batch: Job) -> list[Job]:
        return self._rows.children(batch.id)

    def succeeded(self, job_id: str, owner: str) -> Job:
        """The job, if it has a result. Raises `NotFound`, and `Conflict` while or because it has none."""
        found = self.get(job_id, owner)
        if found.status is Status.failed:
            raise Conflict(f"The job failed ({found.error}): {found.detail}")
        if found.status is Status.canceled:
            raise Conflict("The job was canceled, and has no result.")
        if found.status is not Status.succeeded:
            raise Conflict(f"The job is {found.status}, {found.progress:.0f} % done; its result is not there yet.")
        return found

    def file(self, job_id: str, owner: str, name: str) -> Path:
        """Where a file of its result lies. Raises `NotFound`, `Conflict`."""
        return self._files.path(self.succeeded(job_id, owner), name)

    def names(self, job: Job) -> list[str]:
        """Of the files of its result."""
        return self._files.names(job)

    def remove(self, job_id: str, owner: str) -> Job:
        """Cancel what is active; erase what has ended, with its files. The job as it was. Raises `NotFound`."""
        found = self.get(job_id, owner)
        if not found.status.ended and self._cancel(found):
            return found
        ended = self.get(job_id, owner)
        self.erase(ended)
        return ended

    def erase(self, job: Job) -> None:
        """An ended job, its files, its picture, and the same of a batch's children. May be repeated."""
        for child in self._rows.children(job.id) if job.kind is Kind.batch else []:
            self.erase(child)
        # The row goes last: what was not finished is found again.
        self._files.remove(job)
        self._images.release(job.picture, job.owner)
        self._rows.remove(job.id)

    def _cancel(self, job: Job) -> bool:
        at = self._clock()
        ended = {"ended_at": at, "callback_due_at": at if job.callback_url else None}
        done = self._rows.move(job, Status.canceled, ended, any_attempt=True)
        if done and job.kind is Kind.batch:
            self._rows.cancel_children(job.id, {"ended_at": at})
        return done
