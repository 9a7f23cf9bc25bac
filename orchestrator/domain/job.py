"""A job: work that is promised, and what has become of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

MOST_LOSSES = 10
"""So many workers may die over one job before it is taken for their cause."""


class Status(StrEnum):
    queued = "queued"
    running = "running"
    succeeded = "succeeded"
    failed = "failed"
    canceled = "canceled"

    @property
    def ended(self) -> bool:
        return not MOVES[self]


MOVES: Mapping[Status, frozenset[Status]] = {
    Status.queued: frozenset({Status.running, Status.failed, Status.canceled}),
    # Back to the queue: for another attempt, after one that failed or whose worker was lost.
    Status.running: frozenset({Status.queued, Status.succeeded, Status.failed, Status.canceled}),
    Status.succeeded: frozenset(),
    Status.failed: frozenset(),
    Status.canceled: frozenset(),
}
"""Every legal move; what has ended never moves again."""

ACTIVE = frozenset(status for status in Status if not status.ended)


def sources(target: Status) -> frozenset[Status]:
    """From where a job may move to `target`."""
    return frozenset(status for status, targets in MOVES.items() if target in targets)


class Kind(StrEnum):
    """What a job does: one of the operations on a picture, or a batch of them."""

    auto = "auto"
    box = "box"
    extract = "extract"
    batch = "batch"


class Priority(StrEnum):
    high = "high"
    default = "default"
    low = "low"


_HANDICAP = {
    Priority.high: timedelta(0),
    Priority.default: timedelta(minutes=1),
    Priority.low: timedelta(minutes=10),
}
_BATCH_HANDICAP = timedelta(minutes=5)


def rank(priority: Priority, created_at: datetime, *, in_batch: bool) -> datetime:
    """Who goes first: the earliest rank. A handicap in time, and no strict order, so that nobody starves: what has
    waited for longer than its handicap goes before what is more urgent and has just come.
    """
    return created_at + _HANDICAP[priority] + (_BATCH_HANDICAP if in_batch else timedelta(0))


@dataclass(frozen=True)
class Job:
    """One row. Times are UTC.

    `task` describes the work as plain JSON. `picture` is the job's own hold on its picture, `image_id` the id that the
    caller gave, if one. A batch has children: `parent_id`, `position` among them, and `admitted` once the batch's
    dispatcher has let it into the queue. `attempts` counts those begun and is the fence: what an attempt writes counts
    only while the row is at that attempt. `failures` and `losses` are the attempts that ended in an error which may
    heal, and those whose worker died. An attempt holds the row until `lease_until`, which its `worker` renews.
    Not before `due_at` it is begun; not after `expires_at` either. `error` and `detail` say why it failed.
    """

    id: str
    owner: str
    kind: Kind
    status: Status
    task: Mapping[str, Any]
    created_at: datetime
    expires_at: datetime
    due_at: datetime
    rank: datetime
    priority: Priority = Priority.default
    name: str | None = None
    image_id: str | None = None
    picture: str | None = None
    parent_id: str | None = None
    position: int | None = None
    admitted: bool = True
    progress: float = 0.0
    attempts: int = 0
    failures: int = 0
    losses: int = 0
    worker: str | None = None
    lease_until: datetime | None = None
    attempt_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: str | None = None
    detail: str | None = None
    summary: Mapping[str, float] | None = None
    request_id: str = ""
    idempotency_key: str | None = None
    fingerprint: str | None = None
    callback_url: str | None = None
    callback_due_at: datetime | None = None
    callback_tries: int = 0
