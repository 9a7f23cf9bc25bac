"""Jobs that tests make."""

from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.domain.job import Job, Kind, Status
from orchestrator.domain.task import Task
from orchestrator.usecases.jobs import new_id

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
TASK = Task(Kind.box, {"boxes": [[1, 2, 30, 40]]}, "tiny")


def job(**given: Any) -> Job:
    """A queued one, due at once."""
    plain: dict[str, Any] = {
        "id": new_id(),
        "owner": "ann",
        "kind": Kind.box,
        "status": Status.queued,
        "task": TASK.as_json(),
        "created_at": NOON,
        "expires_at": NOON + timedelta(minutes=30),
        "due_at": NOON,
        "rank": NOON,
    }
    return Job(**(plain | given))
