"""Attempts at jobs: what heals, what does not, and who has the last word."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from orchestrator.adapters.job_rows import SqlJobRows
from orchestrator.adapters.result_files import FolderResultFiles
from orchestrator.domain.errors import InvalidPrompt, QuarryError, StorageFull, Unavailable
from orchestrator.domain.image import Image, Limits
from orchestrator.domain.job import MOST_LOSSES, Job, Kind, Status
from orchestrator.domain.task import Task
from orchestrator.usecases.batches import Batches
from orchestrator.usecases.images import Images
from orchestrator.usecases.jobs import now
from orchestrator.usecases.lease import Terms
from orchestrator.usecases.operations import Operations, Outcome
from orchestrator.usecases.ports.engines import Progress
from orchestrator.usecases.stopwatch import Stopwatch
from orchestrator.usecases.upkeep import Upkeep
from orchestrator.usecases.work import Rules, Work
from tests.jobs import job
from tests.pictures import draw, encoded
from tests.usecases.conftest import CountingDoorbell

QUICK = Terms(length=1.0, beat=0.05, soft_limit=60.0, grace=0.3)


class Scripted(Operations):
    """Does what the test says in place of segmenting."""

    def __init__(self, act: Callable[[Progress], None]) -> None:
        self.act = act

    def perform(self, task: Task, image: Image, watch: Stopwatch, progress: Progress) -> Outcome:  # noqa: ARG002
        self.act(progress)
        return Outcome([("result.json", b"{}")], {"masks": 1})


class Clock:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return now() + self.ahead


class Bench:
    """A worker and a reconciler on the same rows."""

    def __init__(self, rows: SqlJobRows, files: FolderResultFiles, images: Images, bell: CountingDoorbell) -> None:
        self.rows, self.files, self.images, self.clock = rows, files, images, Clock()
        self.batches = Batches(rows, bell, timedelta(minutes=30), self.clock)
        self.upkeep = Upkeep(rows, files, bell, self.batches, timedelta(seconds=600), self.clock)
        self.stuck = threading.Event()

    def add(self, **given: Any) -> Job:
        held = self.images.hold(encoded(draw(20, 30)), "ann")
        at = now() - timedelta(seconds=1)
        times = {"created_at": at, "due_at": at, "rank": at, "expires_at": at + timedelta(minutes=30)}
        added = job(**(times | {"picture": held.id} | given))
        self.rows.add([added], None)
        return added

    def work(self, act: Callable[[Progress], None], terms: Terms = QUICK, retries: int = 2) -> Job | None:
        rules = Rules(terms, retries, Limits())
        operations = Scripted(act)
        work = Work(self.rows, self.files, self.images, operations, self.batches, rules, self.clock)
        done = work.next("w1", self.stuck.set)
        return self.rows.get(done.id) if done else None


@pytest.fixture
def bench(rows: SqlJobRows, files: FolderResultFiles, images: Images, doorbell: CountingDoorbell) -> Bench:
    return Bench(rows, files, images, doorbell)


def fail(error: Exception) -> Callable[[Progress], None]:
    def act(_: Progress) -> None:
        raise error

    return act


def well(progress: Progress) -> None:
    progress(1.0)


def test_a_job_that_goes_well_has_its_files_and_holds_nothing(bench: Bench) -> None:
    bench.add(callback_url="https://example.org")
    done = bench.work(well)
    assert done is not None
    assert (done.status, done.progress, done.attempts) == (Status.succeeded, 100.0, 1)
    assert (done.worker, done.lease_until, done.summary) == (None, None, {"masks": 1})
    assert done.callback_due_at is not None
    assert bench.files.names(done) == ["result.json"]
    assert bench.files.drafts() == []
    assert bench.work(well) is None


@pytest.mark.parametrize("error", [Unavailable("Triton is away."), StorageFull("full"), MemoryError()])
def test_what_may_heal_is_tried_again_later_each_time_and_not_for_ever(bench: Bench, error: Exception) -> None:
    bench.add()
    waits = []
    for failures in (1, 2):
        waiting = bench.work(fail(error))
        assert waiting is not None
        assert (waiting.status, waiting.failures, waiting.losses) == (Status.queued, failures, 0)
        assert bench.work(well) is None
        waits.append(waiting.due_at - bench.clock())
        bench.clock.ahead += timedelta(seconds=120)
    assert waits[1] > waits[0]
    failed = bench.work(fail(error))
    assert failed is not None
    assert (failed.status, failed.attempts) == (Status.failed, 3)
    assert "3 times" in str(failed.detail)


@pytest.mark.parametrize(
    ("error", "code"), [(InvalidPrompt("Nonsense."), "invalid_prompt"), (RuntimeError("secret"), "internal_error")]
)
def test_what_cannot_heal_fails_at_once(bench: Bench, error: Exception, code: str) -> None:
    bench.add()
    failed = bench.work(fail(error))
    assert failed is not None
    assert (failed.status, failed.error, failed.attempts) == (Status.failed, code, 1)
    assert "secret" not in str(failed.detail)
    assert bench.files.drafts() == []


def test_memory_that_did_not_suffice_below_python_may_heal(bench: Bench) -> None:
    bench.add()
    waiting = bench.work(fail(RuntimeError("Failed to allocate memory for requested buffer")))
    assert waiting is not None
    assert waiting.status is Status.queued


def test_a_broken_picture_fails_with_its_reason(bench: Bench) -> None:
    whole = encoded(draw(90, 80), "JPEG")
    held = bench.images.hold(whole[: len(whole) // 2], "ann")
    bench.add(picture=held.id)
    failed = bench.work(well)
    assert failed is not None
    assert (failed.status, failed.error) == (Status.failed, "invalid_picture")


def test_a_soft_limit_asks_the_work_to_stop(bench: Bench) -> None:
    def slow(progress: Progress) -> None:
        while True:
            progress(0.5)
            time.sleep(0.01)

    bench.add()
    failed = bench.work(slow, replace(QUICK, soft_limit=0.2))
    assert failed is not None
    assert (failed.status, failed.error) == (Status.failed, "deadline_exceeded")
    assert "JOB_SOFT_TIME_LIMIT" in str(failed.detail)


def test_progress_is_written_and_the_lease_renewed_while_it_works(bench: Bench) -> None:
    seen: list[Job | None] = []

    def work(progress: Progress) -> None:
        progress(0.5)
        time.sleep(0.3)
        seen.append(bench.rows.get(added.id))

    added = bench.add()
    bench.work(work)
    (running,) = seen
    assert running is not None
    assert running.lease_until is not None
    assert 40 < running.progress < 60
    assert bench.rows.lost(bench.clock()) == []


def test_canceled_work_stops_and_leaves_nothing(bench: Bench) -> None:
    def work(progress: Progress) -> None:
        bench.rows.move(added, Status.canceled, {}, any_attempt=True)
        while True:
            progress(0.5)
            time.sleep(0.01)

    added = bench.add()
    canceled = bench.work(work)
    assert canceled is not None
    assert canceled.status is Status.canceled
    assert bench.files.names(canceled) == []
    assert bench.files.drafts() == []
    assert not bench.stuck.is_set()


def test_work_that_goes_on_after_it_was_taken_away_ends_its_process(bench: Bench) -> None:
    def deaf(_: Progress) -> None:
        bench.rows.move(added, Status.canceled, {}, any_attempt=True)
        assert bench.stuck.wait(5)

    added = bench.add()
    bench.work(deaf)
    assert bench.stuck.is_set()


def test_who_comes_late_changes_nothing(bench: Bench) -> None:
    """The lease ran out, another worker did the job: the first one's success and files are dropped."""

    def slow(_: Progress) -> None:
        bench.clock.ahead += timedelta(seconds=60)
        assert bench.upkeep.requeue_lost() == 1
        bench.work(well)

    added = bench.add()
    bench.work(slow, replace(QUICK, beat=30.0))
    done = bench.rows.get(added.id)
    assert done is not None
    assert (done.status, done.attempts, done.losses) == (Status.succeeded, 2, 1)
    assert bench.files.drafts() == []


def test_a_job_that_keeps_losing_its_worker_ends_with_that_reason(bench: Bench) -> None:
    added = bench.add()
    for losses in range(1, MOST_LOSSES):
        assert bench.rows.claim("w1", bench.clock(), bench.clock() + timedelta(seconds=15))
        assert bench.upkeep.requeue_lost(["w1"]) == 1
        waiting = bench.rows.get(added.id)
        assert waiting is not None
        assert (waiting.status, waiting.losses, waiting.failures) == (Status.queued, losses, 0)
        bench.clock.ahead += timedelta(seconds=31)
    bench.rows.claim("w1", bench.clock(), bench.clock())
    bench.upkeep.requeue_lost(["w1"])
    failed = bench.rows.get(added.id)
    assert failed is not None
    assert (failed.status, failed.error) == (Status.failed, "worker_lost")


def test_a_worker_that_was_stopped_in_order_counts_no_loss(bench: Bench) -> None:
    added = bench.add()
    bench.rows.claim("w1", bench.clock(), bench.clock() + timedelta(seconds=15))
    bench.upkeep.requeue_lost(["w1"], counted=False)
    waiting = bench.rows.get(added.id)
    assert waiting is not None
    assert (waiting.status, waiting.losses) == (Status.queued, 0)


def test_rings_that_were_lost_are_rung_again_and_no_more(bench: Bench, doorbell: CountingDoorbell) -> None:
    for _ in range(3):
        bench.add()
    doorbell.rings = 1
    bench.upkeep.round()
    bench.upkeep.round()
    assert doorbell.rings == 3
    doorbell.down = True
    bench.upkeep.round()


def test_what_outlives_its_limit_ends_and_its_worker_is_named(bench: Bench) -> None:
    added = bench.add()
    bench.rows.claim("w1", bench.clock(), bench.clock() + timedelta(hours=1))
    assert bench.upkeep.end_overrunning({"w1"}) == []
    bench.clock.ahead = timedelta(seconds=601)
    assert bench.upkeep.end_overrunning({"w2"}) == []
    assert bench.upkeep.end_overrunning({"w1"}) == ["w1"]
    failed = bench.rows.get(added.id)
    assert failed is not None
    assert (failed.status, failed.error) == (Status.failed, "deadline_exceeded")


def test_a_life_has_an_end_waiting_included(bench: Bench) -> None:
    added = bench.add()
    bench.clock.ahead = timedelta(minutes=31)
    bench.upkeep.round()
    failed = bench.rows.get(added.id)
    assert failed is not None
    assert "JOB_TIMEOUT_MINUTES" in str(failed.detail)


def test_what_attempts_and_dead_processes_leave_is_swept(bench: Bench) -> None:
    added = bench.add()
    claimed = bench.rows.claim("w1", bench.clock(), bench.clock() + timedelta(hours=1))
    assert claimed is not None
    bench.files.draft(claimed)
    bench.files.draft(replace(claimed, attempts=9))
    unknown = replace(claimed, id="nobody")
    bench.files.draft(unknown)
    bench.upkeep.round()
    assert {draft[:2] for draft in bench.files.drafts()} == {(added.id, 1), ("nobody", 1)}
    bench.files.draft(unknown).publish()
    bench.clock.ahead = timedelta(minutes=11)
    bench.upkeep.sweep_orphans()
    assert bench.files.published() == []


def test_a_batch_ends_with_its_last_child_whoever_dies_in_between(bench: Bench) -> None:
    task, life = Task(Kind.box, {}, "tiny").as_json() | {"concurrency": 2}, {"expires_at": now() + timedelta(days=1)}
    batch = job(kind=Kind.batch, task=task, callback_url="x", **life)
    children = [job(parent_id=batch.id, position=place, admitted=False, **life) for place in range(3)]
    bench.rows.add([batch, *children], None)
    bench.upkeep.round()
    for child in children:
        claimed = bench.rows.claim("w1", bench.clock(), bench.clock() + timedelta(hours=1))
        assert claimed is not None
        changes = {"summary": {"masks": 2}, "ended_at": bench.clock()}
        bench.rows.move(claimed, Status.failed if child.position == 1 else Status.succeeded, changes)
        bench.upkeep.round()
    ended = bench.rows.get(batch.id)
    assert ended is not None
    assert (ended.status, ended.progress) == (Status.succeeded, 100.0)
    assert ended.summary is not None
    assert ended.summary["masks"] == 4
    assert ended.callback_due_at is not None


def test_a_batch_of_which_nothing_succeeds_fails(bench: Bench) -> None:
    task = Task(Kind.box, {}, "tiny").as_json() | {"concurrency": 2}
    batch = job(kind=Kind.batch, task=task, expires_at=now() + timedelta(days=1))
    refused = {"status": Status.failed, "error": "invalid_picture", "detail": "It is broken."}
    bench.rows.add([batch, job(parent_id=batch.id, position=0, **refused)], None)
    bench.upkeep.round()
    ended = bench.rows.get(batch.id)
    assert ended is not None
    assert (ended.status, ended.error, ended.detail) == (Status.failed, "batch_failed", "It is broken.")


def test_errors_have_codes_for_programs() -> None:
    assert QuarryError.__subclasses__()
    assert InvalidPrompt.code == "invalid_prompt"
