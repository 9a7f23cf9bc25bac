"""Jobs in the database: every change of state is one compare-and-set."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Boolean, ColumnElement, Engine, UniqueConstraint, func, or_, update
from sqlmodel import Column, Field, Index, Session, SQLModel, col, delete, select
from sqlmodel.sql.expression import SelectOfScalar

from orchestrator.adapters.database import Utc, translated, writing
from orchestrator.domain.errors import QueueFull
from orchestrator.domain.job import ACTIVE, Job, Kind, Priority, Status, sources
from orchestrator.usecases.ports.state import JobFilter, Tally

Condition = ColumnElement[bool]


def _time(*, null: bool = True) -> Any:
    return Field(default=None, sa_column=Column(Utc, nullable=null))


class JobRow(SQLModel, table=True):
    """`domain.job.Job`, field by field."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("owner", "idempotency_key", name="uq_jobs_idempotency"),
        Index("ix_jobs_queue", "status", "rank"),
        Index("ix_jobs_parent", "parent_id", "position"),
        Index("ix_jobs_owner", "owner", "created_at"),
        Index("ix_jobs_picture", "picture"),
        Index("ix_jobs_callback", "callback_due_at"),
    )

    id: str = Field(primary_key=True)
    owner: str
    kind: str
    status: str
    task: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    created_at: datetime = _time(null=False)
    expires_at: datetime = _time(null=False)
    due_at: datetime = _time(null=False)
    rank: datetime = _time(null=False)
    priority: str
    name: str | None
    image_id: str | None
    picture: str | None
    parent_id: str | None
    position: int | None
    admitted: bool = Field(sa_column=Column(Boolean, nullable=False))
    progress: float
    attempts: int
    failures: int
    losses: int
    worker: str | None
    lease_until: datetime | None = _time()
    attempt_at: datetime | None = _time()
    started_at: datetime | None = _time()
    ended_at: datetime | None = _time()
    error: str | None
    detail: str | None
    summary: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    request_id: str
    idempotency_key: str | None
    fingerprint: str | None
    callback_url: str | None
    callback_due_at: datetime | None = _time()
    callback_tries: int


_NAMES = [field.name for field in fields(Job)]
_WAITING = col(JobRow.status) == Status.queued
_RUNNING = col(JobRow.status) == Status.running
_ACTIVE = col(JobRow.status).in_(ACTIVE)
_ADMITTED = col(JobRow.admitted).is_(True)
_INSIDE = (_ACTIVE, _ADMITTED)


class SqlJobRows:
    """`JobRows` on an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, jobs: Sequence[Job], most: int | None) -> Job | None:
        first = jobs[0]
        with writing(self._engine, lock="queue") as session:
            if twin := self._twin(session, first):
                return _job(twin)
            if most is not None and session.exec(_count(_peers(batches=first.kind is Kind.batch))).one() >= most:
                raise QueueFull("More jobs are waiting than may; try again later.", retry_after=10)
            session.add_all([JobRow(**vars(job)) for job in jobs])
        return None

    def get(self, job_id: str) -> Job | None:
        with translated(), Session(self._engine) as session:
            row = session.get(JobRow, job_id)
            return _job(row) if row else None

    def by_key(self, owner: str, key: str) -> Job | None:
        return next(iter(self._read(col(JobRow.owner) == owner, col(JobRow.idempotency_key) == key)), None)

    def page(self, owner: str | None, asked: JobFilter, limit: int, offset: int) -> tuple[list[Job], int]:
        chosen = _chosen(owner, asked)
        order = (col(JobRow.created_at).desc(), col(JobRow.id))
        with translated(), Session(self._engine) as session:
            rows = session.exec(select(JobRow).where(*chosen).order_by(*order).limit(limit).offset(offset)).all()
            return [_job(row) for row in rows], session.exec(_count(*chosen)).one()

    def counts(self, owner: str | None) -> dict[Status, int]:
        chosen = [col(JobRow.owner) == owner] if owner is not None else []
        asked = select(JobRow.status, func.count()).where(*chosen).group_by(JobRow.status)
        with translated(), Session(self._engine) as session:
            return {Status(status): count for status, count in session.exec(asked)}

    def children(self, parent_id: str) -> list[Job]:
        with translated(), Session(self._engine) as session:
            asked = select(JobRow).where(col(JobRow.parent_id) == parent_id).order_by(col(JobRow.position))
            return [_job(row) for row in session.exec(asked)]

    def tally(self, parent_id: str) -> Tally:
        asked = (
            select(JobRow.status, func.count(), func.sum(JobRow.progress))
            .where(col(JobRow.parent_id) == parent_id)
            .group_by(JobRow.status)
        )
        with translated(), Session(self._engine) as session:
            rows = session.exec(asked).all()
        counts = {Status(status): count for status, count, _ in rows}
        # What has ended is done, whichever way.
        done = sum(100.0 * count if Status(status).ended else progress for status, count, progress in rows)
        return Tally(counts, done / max(1, sum(counts.values())))

    def claim(self, worker: str, now: datetime, lease_until: datetime) -> Job | None:
        first = (
            select(JobRow.id)
            .where(_WAITING, _ADMITTED, col(JobRow.due_at) <= now, col(JobRow.kind) != Kind.batch)
            .order_by(col(JobRow.rank), col(JobRow.position))
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        with writing(self._engine) as session:
            job_id = session.exec(first).first()
            if job_id is None:
                return None
            row = session.get_one(JobRow, job_id)
            row.status, row.worker, row.lease_until = Status.running, worker, lease_until
            row.attempts, row.attempt_at, row.progress = row.attempts + 1, now, 0.0
            row.started_at = row.started_at or now
            session.flush()
            return _job(row)

    def renew(self, job: Job, progress: float, lease_until: datetime) -> bool:
        mine = (col(JobRow.id) == job.id, _RUNNING, col(JobRow.attempts) == job.attempts)
        return self._set({"progress": progress, "lease_until": lease_until}, *mine) == 1

    def move(
        self,
        job: Job,
        target: Status,
        changes: Mapping[str, Any],
        *,
        any_attempt: bool = False,
        along: Callable[[], None] | None = None,
    ) -> bool:
        mine: list[Condition] = [col(JobRow.id) == job.id, col(JobRow.status).in_(sources(target))]
        if not any_attempt:
            mine.append(col(JobRow.attempts) == job.attempts)
        with writing(self._engine) as session:
            statement = update(JobRow).where(*mine).values({"status": target, **changes})
            if session.exec(statement).rowcount != 1:
                return False
            if along:
                along()
        return True

    def cancel_children(self, parent_id: str, changes: Mapping[str, Any]) -> int:
        return self._set({"status": Status.canceled, **changes}, col(JobRow.parent_id) == parent_id, _ACTIVE)

    def waiting(self, *, batches: bool) -> int:
        with translated(), Session(self._engine) as session:
            return session.exec(_count(_peers(batches=batches))).one()

    def admit(self, batch: Job, at_once: int, expires_at: datetime) -> int:
        mine = col(JobRow.parent_id) == batch.id
        shut_out = (mine, _WAITING, ~_ADMITTED)
        with translated(), Session(self._engine) as session:
            # Asked every second of every batch: mostly there is nothing to write.
            if not session.exec(_count(*shut_out)).one() or session.exec(_count(mine, *_INSIDE)).one() >= at_once:
                return 0
        with writing(self._engine, lock=f"batch {batch.id}") as session:
            room = max(0, at_once - session.exec(_count(mine, *_INSIDE)).one())
            first = select(JobRow.id).where(*shut_out).order_by(col(JobRow.position)).limit(room)
            chosen = session.exec(first).all()
            values = {"admitted": True, "expires_at": expires_at}
            session.exec(update(JobRow).where(col(JobRow.id).in_(chosen)).values(values))
        return len(chosen)

    def due(self, now: datetime) -> int:
        ready = (_WAITING, _ADMITTED, col(JobRow.due_at) <= now, col(JobRow.kind) != Kind.batch)
        with translated(), Session(self._engine) as session:
            return session.exec(_count(*ready)).one()

    def lost(self, now: datetime, workers: Iterable[str] = ()) -> list[Job]:
        return self._read(_RUNNING, or_(col(JobRow.lease_until) < now, col(JobRow.worker).in_(list(workers))))

    def overrunning(self, since: datetime) -> list[Job]:
        return self._read(_RUNNING, col(JobRow.attempt_at) < since)

    def expired(self, now: datetime) -> list[Job]:
        return self._read(_ACTIVE, col(JobRow.expires_at) < now)

    def batches(self) -> list[Job]:
        return self._read(_ACTIVE, col(JobRow.kind) == Kind.batch)

    def callbacks(self, now: datetime, most: int) -> list[Job]:
        return self._read(col(JobRow.callback_due_at) <= now, most=most)

    def postpone_callback(self, job: Job, until: datetime | None) -> bool:
        mine = (col(JobRow.id) == job.id, col(JobRow.callback_tries) == job.callback_tries)
        return self._set({"callback_due_at": until, "callback_tries": job.callback_tries + 1}, *mine) == 1

    def remove(self, job_id: str) -> None:
        with writing(self._engine) as session:
            session.exec(delete(JobRow).where(col(JobRow.id) == job_id))

    def ended_before(self, time: datetime, most: int) -> list[Job]:
        return self._read(~_ACTIVE, col(JobRow.ended_at) < time, col(JobRow.parent_id).is_(None), most=most)

    def known(self, job_ids: Iterable[str]) -> set[str]:
        with translated(), Session(self._engine) as session:
            return set(session.exec(select(JobRow.id).where(col(JobRow.id).in_(list(job_ids)))))

    def held(self, image_ids: Iterable[str]) -> set[str]:
        with translated(), Session(self._engine) as session:
            asked = select(JobRow.picture).where(col(JobRow.picture).in_(list(image_ids)))
            return {picture for picture in session.exec(asked) if picture}

    def _twin(self, session: Session, job: Job) -> JobRow | None:
        if job.idempotency_key is None:
            return None
        same = (col(JobRow.owner) == job.owner, col(JobRow.idempotency_key) == job.idempotency_key)
        return session.exec(select(JobRow).where(*same)).first()

    def _read(self, *conditions: Condition, most: int | None = None) -> list[Job]:
        with translated(), Session(self._engine) as session:
            return [_job(row) for row in session.exec(select(JobRow).where(*conditions).limit(most))]

    def _set(self, values: Mapping[str, Any], *conditions: Condition) -> int:
        with writing(self._engine) as session:
            return session.exec(update(JobRow).where(*conditions).values(values)).rowcount


def _job(row: JobRow) -> Job:
    values = {name: getattr(row, name) for name in _NAMES}
    kinds = {"kind": Kind(row.kind), "status": Status(row.status), "priority": Priority(row.priority)}
    return Job(**(values | kinds))


def _count(*conditions: Condition) -> SelectOfScalar[int]:
    return select(func.count()).select_from(JobRow).where(*conditions)


def _peers(*, batches: bool) -> Condition:
    """What counts for the bound of the queue: batches among themselves, single jobs among themselves."""
    alone = col(JobRow.parent_id).is_(None)
    if batches:
        return (col(JobRow.kind) == Kind.batch) & _ACTIVE & alone
    return (col(JobRow.kind) != Kind.batch) & _WAITING & alone


def _chosen(owner: str | None, asked: JobFilter) -> list[Condition]:
    chosen = [] if owner is None else [col(JobRow.owner) == owner]
    if asked.statuses:
        chosen.append(col(JobRow.status).in_(asked.statuses))
    if asked.kinds:
        chosen.append(col(JobRow.kind).in_(asked.kinds))
    if asked.since:
        chosen.append(col(JobRow.created_at) >= asked.since)
    if asked.until:
        chosen.append(col(JobRow.created_at) < asked.until)
    if not asked.children:
        chosen.append(col(JobRow.parent_id).is_(None))
    return chosen
