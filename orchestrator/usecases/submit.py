"""From a request to rows: the pictures are kept, the rows committed, and only then is anybody woken."""

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from orchestrator.domain.errors import Conflict, InvalidBatch, QuarryError, QueueFull, StorageFull, Unavailable
from orchestrator.domain.job import Job, Kind, Priority, Status, rank
from orchestrator.domain.task import Task
from orchestrator.usecases.batches import Batches, ring
from orchestrator.usecases.callbacks import Callbacks
from orchestrator.usecases.images import Images
from orchestrator.usecases.jobs import Clock, new_id, now
from orchestrator.usecases.models import Models
from orchestrator.usecases.ports.state import Doorbell, JobRows

log = logging.getLogger(__name__)

BATCH_LIFE = timedelta(days=7)
"""Of a batch as a whole; a child's own life begins when it is let into the queue."""


@dataclass(frozen=True)
class Source:
    """One picture: its bytes, or the id of one that was uploaded before. `name`: as the caller calls it."""

    name: str | None = None
    data: bytes | None = None
    image_id: str | None = None


@dataclass(frozen=True)
class Order:
    """What every asynchronous route takes."""

    task: Task
    owner: str
    priority: Priority = Priority.default
    callback_url: str | None = None
    idempotency_key: str | None = None
    request_id: str = ""


@dataclass(frozen=True)
class Bounds:
    """How many single jobs and batches may wait; `life`: of a job; `concurrency`: most children of a batch at once."""

    jobs: int
    batches: int
    files: int
    concurrency: int
    life: timedelta


class Submit:
    """Bad input is refused here, before anything is promised."""

    def __init__(
        self,
        rows: JobRows,
        images: Images,
        models: Models,
        batches: Batches,
        callbacks: Callbacks,
        doorbell: Doorbell,
        bounds: Bounds,
        clock: Clock = now,
    ) -> None:
        self._rows = rows
        self._images = images
        self._models = models
        self._batches = batches
        self._callbacks = callbacks
        self._doorbell = doorbell
        self._bounds = bounds
        self._clock = clock

    def single(self, order: Order, source: Source) -> Job:
        """Raises what `Images.hold`, `Task.check` and `Models.manifest` raise, `QueueFull`, `Conflict`, …"""
        self._must_be_possible(order, self._bounds.jobs, batches=False)
        job, content = self._held(order, self._row(order, source), source)
        job = replace(job, fingerprint=_fingerprint(order.task, [content]))
        added = self._add([job], self._bounds.jobs)
        if added is job:
            ring(self._doorbell)
        return added

    def batch(self, order: Order, sources: Iterable[Source], concurrency: int | None) -> Job:
        """Each source a child; one that is refused is a child that has failed, with the reason.

        Raises `InvalidBatch`, and what `single` raises but for its picture.
        """
        at_once = min(concurrency or self._bounds.concurrency, self._bounds.concurrency)
        if at_once < 1:
            raise InvalidBatch("The concurrency of a batch is at least 1.")
        self._must_be_possible(order, self._bounds.batches, batches=True)
        parent = self._row(order, Source())
        parent = replace(
            parent,
            kind=Kind.batch,
            task={**order.task.as_json(), "concurrency": at_once},
            expires_at=parent.created_at + BATCH_LIFE,
        )
        children, contents = self._children(order, parent, sources)
        parent = replace(parent, fingerprint=_fingerprint(order.task, contents))
        added = self._add([parent, *children], self._bounds.batches)
        if added is parent:
            with suppress(Unavailable):  # it is promised already; the reconciler goes on
                self._batches.advance(parent)
        return added

    def _children(self, order: Order, parent: Job, sources: Iterable[Source]) -> tuple[list[Job], list[str]]:
        """And what their pictures hold. One picture at a time is in memory."""
        children: list[Job] = []
        contents: list[str] = []
        with ExitStack() as undo:
            undo.callback(self._release, children)
            for source in sources:
                if len(children) == self._bounds.files:
                    raise InvalidBatch(f"A batch has at most {self._bounds.files:,} pictures.")
                child, content = self._child(order, source, parent, len(children))
                children.append(child)
                contents.append(content)
            if not children:
                raise InvalidBatch("The batch has no pictures: give images, an archive or image_ids.")
            undo.pop_all()
        return children, contents

    def _child(self, order: Order, source: Source, parent: Job, position: int) -> tuple[Job, str]:
        child = replace(
            self._row(replace(order, callback_url=None, idempotency_key=None), source),
            parent_id=parent.id,
            position=position,
            admitted=False,
            expires_at=parent.expires_at,
            rank=rank(order.priority, parent.created_at, in_batch=True),
        )
        try:
            return self._held(order, child, source)
        except (Unavailable, StorageFull):
            raise
        except QuarryError as exc:
            at = parent.created_at
            return replace(child, status=Status.failed, error=exc.code, detail=exc.detail, ended_at=at), exc.code

    def _held(self, order: Order, job: Job, source: Source) -> tuple[Job, str]:
        """With its picture kept for it, on which the task makes sense; and what the picture holds."""
        if source.data is not None:
            held = self._images.hold(source.data, order.owner)
        else:
            held = self._images.share(source.image_id or "", order.owner)
        try:
            order.task.check((held.height, held.width))
        except BaseException:
            self._images.release(held.id, order.owner)
            raise
        return replace(job, picture=held.id), held.content

    def _row(self, order: Order, source: Source) -> Job:
        at = self._clock()
        return Job(
            id=new_id(),
            owner=order.owner,
            kind=order.task.operation,
            status=Status.queued,
            task=order.task.as_json(),
            created_at=at,
            expires_at=at + self._bounds.life,
            due_at=at,
            rank=rank(order.priority, at, in_batch=False),
            priority=order.priority,
            name=source.name,
            image_id=source.image_id,
            request_id=order.request_id,
            idempotency_key=order.idempotency_key,
            callback_url=order.callback_url,
        )

    def _must_be_possible(self, order: Order, most: int, *, batches: bool) -> None:
        """What can be refused before a picture is kept."""
        self._doorbell.must_exist()
        self._models.manifest(order.task.model)
        self._callbacks.must_be_accepted(order.callback_url)
        key = order.idempotency_key
        if self._rows.waiting(batches=batches) >= most and not (key and self._rows.by_key(order.owner, key)):
            raise QueueFull("More jobs are waiting than may; try again later.", retry_after=10)

    def _add(self, jobs: list[Job], most: int) -> Job:
        """The first of `jobs`, or the one that has its idempotency key already.

        A database that goes away in the middle may have committed: the pictures stay, for the clean-up by age to judge.
        """
        try:
            twin = self._rows.add(jobs, most)
        except QueueFull:
            self._release(jobs)
            raise
        if twin is None:
            return jobs[0]
        self._release(jobs)
        return _same(twin, jobs[0].fingerprint)

    def _release(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            self._images.release(job.picture, job.owner)


def _same(job: Job, fingerprint: str | None) -> Job:
    if job.fingerprint != fingerprint:
        raise Conflict("This Idempotency-Key was used for another request; take a new one.")
    return job


def _fingerprint(task: Task, contents: Sequence[str]) -> str:
    """What makes two requests the same."""
    return hashlib.sha256(json.dumps([task.as_json(), list(contents)]).encode()).hexdigest()
