"""What outlives a process: uploads, jobs, results, and the bells that tell of them. The tools are in `adapters/`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from orchestrator.domain.job import Job, Kind, Status


@dataclass(frozen=True)
class StoredImage:
    """An uploaded picture. `id` opaque; `path` relative to the upload folder; `content` sha256 of the bytes."""

    id: str
    owner: str
    content: str
    path: str
    width: int
    height: int
    bytes: int
    created_at: datetime


class ContentRows(Protocol):
    """The rows of one content, nobody else's to change meanwhile."""

    def any(self) -> StoredImage | None: ...

    def add(self, image: StoredImage) -> None: ...

    def remove(self, image_id: str) -> None: ...


class ImageRows(Protocol):
    """Who uploaded what."""

    def get(self, image_id: str) -> StoredImage | None: ...

    def older_than(self, time: datetime, most: int) -> list[StoredImage]:
        """Added before, the oldest first."""

    def exclusive(self, content: str) -> AbstractContextManager[ContentRows]:
        """A transaction that no other on the same content runs beside: rows and file change together."""


class PictureFiles(Protocol):
    """Uploaded pictures' bytes, by relative path."""

    def write(self, path: str, data: bytes) -> None:
        """Whole or not at all. Raises `StorageFull`, `Unavailable`."""

    def read(self, path: str) -> bytes:
        """Raises `NotFound`."""

    def remove(self, path: str) -> None: ...


@dataclass(frozen=True)
class JobFilter:
    """Which jobs to list: all of those given; created in [since, until). Children of batches only if asked for."""

    statuses: Sequence[Status] = ()
    kinds: Sequence[Kind] = ()
    since: datetime | None = None
    until: datetime | None = None
    children: bool = False


@dataclass(frozen=True)
class Tally:
    """A batch's children by status, and the mean of their progress, 0 to 100."""

    counts: Mapping[Status, int]
    progress: float


class JobRows(Protocol):
    """The truth about jobs. All raise `Unavailable`. What changes a row is a compare-and-set: False if it came late."""

    def add(self, jobs: Sequence[Job], most: int | None) -> Job | None:
        """All or none, a batch before its children. An existing job of the first one's owner and idempotency key is
        answered instead. Raises `QueueFull` if `most` of its like are waiting already; None: no bound."""

    def get(self, job_id: str) -> Job | None: ...

    def by_key(self, owner: str, key: str) -> Job | None: ...

    def page(self, owner: str | None, asked: JobFilter, limit: int, offset: int) -> tuple[list[Job], int]:
        """Newest first, and how many there are on all pages; None: of all owners."""

    def counts(self, owner: str | None) -> dict[Status, int]:
        """How many there are of each status; None: of all owners."""

    def children(self, parent_id: str) -> list[Job]:
        """By position."""

    def tally(self, parent_id: str) -> Tally: ...

    def claim(self, worker: str, now: datetime, lease_until: datetime) -> Job | None:
        """Begin an attempt of the due job of the earliest rank: queued → running."""

    def renew(self, job: Job, progress: float, lease_until: datetime) -> bool:
        """False once the row is not at that running attempt any more."""

    def move(
        self,
        job: Job,
        target: Status,
        changes: Mapping[str, Any],
        *,
        any_attempt: bool = False,
        along: Callable[[], None] | None = None,
    ) -> bool:
        """To `target`, if that is legal from where the row is and, unless `any_attempt`, it is at `job.attempts`.

        `along` is called while the row is this transaction's alone; what it raises undoes the move.
        """

    def cancel_children(self, parent_id: str, changes: Mapping[str, Any]) -> int: ...

    def waiting(self, *, batches: bool) -> int:
        """How many count for the bound of `add`: active batches, or single jobs that are queued."""

    def admit(self, batch: Job, at_once: int, expires_at: datetime) -> int:
        """Let waiting children into the queue, `at_once` active ones at the most; how many were let in."""

    def due(self, now: datetime) -> int:
        """How many could be claimed."""

    def lost(self, now: datetime, workers: Iterable[str] = ()) -> list[Job]:
        """Running, but the lease ran out, or held by one of `workers`."""

    def overrunning(self, since: datetime) -> list[Job]:
        """Running in an attempt that began before `since`."""

    def expired(self, now: datetime) -> list[Job]:
        """Active after their time."""

    def batches(self) -> list[Job]:
        """Active ones."""

    def callbacks(self, now: datetime, most: int) -> list[Job]:
        """Whose callback is due."""

    def postpone_callback(self, job: Job, until: datetime | None) -> bool:
        """Claims the next try of a callback: False if another did. None: there will be no further one."""

    def remove(self, job_id: str) -> None: ...

    def ended_before(self, time: datetime, most: int) -> list[Job]:
        """Single jobs and batches, without their children."""

    def known(self, job_ids: Iterable[str]) -> set[str]:
        """Those which have a row."""

    def held(self, image_ids: Iterable[str]) -> set[str]:
        """Those pictures which a job still needs."""


class Draft(Protocol):
    """The files of one attempt, seen by nobody yet. All raise `StorageFull`, `Unavailable`."""

    def write(self, name: str, data: bytes) -> None: ...

    def seal(self) -> None:
        """Returns when all of it is on the disk."""

    def publish(self) -> None:
        """Into its place, at once, in place of what an earlier attempt left there. May be repeated."""

    def discard(self) -> None: ...


class ResultFiles(Protocol):
    """The files of ended jobs, a folder for each. All raise `Unavailable`."""

    def draft(self, job: Job) -> Draft:
        """For the job's present attempt."""

    def path(self, job: Job, name: str) -> Path:
        """Of a published file. Raises `NotFound`."""

    def names(self, job: Job) -> list[str]:
        """Published files."""

    def remove(self, job: Job) -> None: ...

    def drafts(self) -> list[tuple[str, int, datetime]]:
        """Job id and attempt of every draft, and when it was last added to."""

    def discard(self, job_id: str, attempt: int) -> None: ...

    def published(self) -> list[tuple[str, datetime]]:
        """Job id of every folder in place, and when it was put there."""

    def remove_id(self, job_id: str) -> None:
        """Whatever is in place for that id."""


class Doorbell(Protocol):
    """Wakes workers. It is no more than that: what there is to do stands in the rows."""

    def ring(self, times: int = 1) -> None:
        """One worker each. Raises `Unavailable`."""

    def unanswered(self) -> int:
        """Rings that no worker has taken yet. Raises `Unavailable`."""

    def must_exist(self) -> None:
        """Raises `Unavailable` where there is no bell at all; one that is away for a while is no reason."""

    def check(self) -> None:
        """Raises `Unavailable` while nobody can be woken."""


class Notifier(Protocol):
    """Tells an address of the caller's that a job has ended."""

    def check(self, url: str) -> None:
        """Raises `InvalidCallback` for an address that nothing is ever sent to."""

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Raises `InvalidCallback`, and `Unavailable` unless the answer is a success."""
