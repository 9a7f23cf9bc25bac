"""What waits, what runs, and who works."""

from dataclasses import dataclass
from typing import Any

import httpx2

from orchestrator import bootstrap
from orchestrator.adapters.rq_doorbell import RqDoorbell
from orchestrator.cli import state
from orchestrator.cli.engine import Refused
from orchestrator.domain.errors import Unavailable
from orchestrator.usecases.ports.state import JobFilter

SERVER_SECONDS = 30.0


@dataclass(frozen=True)
class JobLine:
    id: str
    kind: str
    status: str
    priority: str
    progress: float
    attempts: int
    created_at: str
    error: str


@dataclass(frozen=True)
class Queue:
    """`workers`, `rings`: None where they are not known."""

    counts: dict[str, int]
    jobs: list[JobLine]
    workers: int | None = None
    rings: int | None = None


def here(limit: int, *, children: bool) -> Queue:
    """By DATABASE_URL and REDIS_URL: all owners' jobs."""
    kept = bootstrap.state(settings := state.settings(), bootstrap.cache(settings))
    found, _ = kept.rows.page(None, JobFilter(children=children), limit, 0)
    lines = [
        JobLine(
            id=job.id,
            kind=job.kind,
            status=job.status,
            priority=job.priority,
            progress=job.progress,
            attempts=job.attempts,
            created_at=f"{job.created_at:%Y-%m-%d %H:%M:%S}",
            error=job.detail or "",
        )
        for job in found
    ]
    counts = {str(status): count for status, count in kept.rows.counts(None).items()}
    if not isinstance(kept.doorbell, RqDoorbell):
        return Queue(counts, lines)
    try:
        return Queue(counts, lines, kept.doorbell.workers(), kept.doorbell.unanswered())
    except Unavailable:
        return Queue(counts, lines)


def there(server: str, limit: int, *, children: bool) -> Queue:
    """Of a running service: the caller's jobs."""
    answer = httpx2.get(f"{server}/jobs/", params={"limit": limit, "children": children}, timeout=SERVER_SECONDS)
    try:
        body: dict[str, Any] = answer.json()
        lines = [_line(job) for job in body["jobs"]]
    except (ValueError, KeyError) as exc:
        raise Refused(f"{server} is no Image Quarry: it answered {answer.status_code}.") from exc
    return Queue(body["counts"], lines)


def _line(job: dict[str, Any]) -> JobLine:
    return JobLine(
        id=job["job_id"],
        kind=job["kind"],
        status=job["status"],
        priority=job["priority"],
        progress=job["progress"],
        attempts=job["attempts"],
        created_at=job["created_at"][:19].replace("T", " "),
        error=(job["error"] or {"detail": ""})["detail"],
    )
