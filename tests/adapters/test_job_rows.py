"""Jobs' rows, on both databases."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import chain

import pytest

from orchestrator.adapters import database
from orchestrator.adapters.job_rows import SqlJobRows
from orchestrator.domain.errors import QueueFull
from orchestrator.domain.job import Kind, Status
from orchestrator.usecases.ports.state import JobFilter, JobRows
from tests.jobs import NOON, job

SOON = NOON + timedelta(seconds=30)


@pytest.fixture
def rows(database_url: str) -> Iterator[JobRows]:
    engine = database.connect(database_url)
    database.migrate(engine)
    yield SqlJobRows(engine)
    engine.dispose()


def test_a_row_comes_back_as_it_was(rows: JobRows) -> None:
    full = job(name="a.png", callback_url="https://example.org", callback_due_at=NOON, summary={"masks": 3})
    rows.add([full], None)
    assert rows.get(full.id) == full
    assert rows.get("other") is None
    rows.remove(full.id)
    assert rows.get(full.id) is None


def test_a_claim_takes_the_due_and_admitted_job_of_the_earliest_rank(rows: JobRows) -> None:
    later = job(due_at=SOON, rank=NOON - timedelta(hours=2))
    shut_out = job(admitted=False, rank=NOON - timedelta(hours=1))
    second, first = job(rank=SOON), job(rank=NOON)
    for each in (later, shut_out, second, first, job(kind=Kind.batch, rank=NOON - timedelta(days=1))):
        rows.add([each], None)
    claimed = rows.claim("w1", NOON, SOON)
    assert claimed is not None
    assert (claimed.id, claimed.status, claimed.attempts) == (first.id, Status.running, 1)
    assert (claimed.worker, claimed.lease_until, claimed.started_at) == ("w1", SOON, NOON)
    assert rows.get(first.id) == claimed
    again = rows.claim("w1", NOON, SOON)
    assert again is not None
    assert again.id == second.id
    assert rows.claim("w1", NOON, SOON) is None
    assert rows.due(SOON) == 1


def test_a_job_is_claimed_once_however_many_try(rows: JobRows) -> None:
    for _ in range(20):
        rows.add([job()], None)
    start = threading.Barrier(8)

    def claim_all(worker: int) -> list[str]:
        start.wait(10)
        claims = iter(lambda: rows.claim(f"w{worker}", NOON, SOON), None)
        return [claimed.id for claimed in claims]

    with ThreadPoolExecutor(8) as threads:
        claimed = list(chain(*threads.map(claim_all, range(8))))
    assert len(claimed) == len(set(claimed)) == 20


def test_only_the_present_attempt_may_change_the_row(rows: JobRows) -> None:
    rows.add([job()], None)
    first = rows.claim("w1", NOON, SOON)
    assert first is not None
    assert rows.renew(first, 40.0, SOON)
    assert rows.move(first, Status.queued, {"losses": 1})
    assert not rows.renew(first, 50.0, SOON)
    second = rows.claim("w2", NOON, SOON)
    assert second is not None
    assert (second.attempts, second.losses, second.progress) == (2, 1, 0.0)
    assert not rows.move(first, Status.succeeded, {})
    assert rows.move(second, Status.succeeded, {"progress": 100.0})
    assert not rows.move(second, Status.succeeded, {})
    assert not rows.move(second, Status.queued, {}, any_attempt=True)


def test_what_goes_along_with_a_move_undoes_it_when_it_fails(rows: JobRows) -> None:
    rows.add([job()], None)
    claimed = rows.claim("w1", NOON, SOON)
    assert claimed is not None

    def fail() -> None:
        raise RuntimeError("fails")

    with pytest.raises(RuntimeError):
        rows.move(claimed, Status.succeeded, {}, along=fail)
    assert rows.get(claimed.id) == claimed


def test_the_bound_counts_what_waits_and_batches_apart(rows: JobRows) -> None:
    batch = job(kind=Kind.batch, status=Status.running)
    rows.add([batch, *(job(parent_id=batch.id, position=place, rank=SOON) for place in range(5))], 1)
    rows.add([job()], 2)
    rows.add([job()], 2)
    with pytest.raises(QueueFull):
        rows.add([job()], 2)
    with pytest.raises(QueueFull):
        rows.add([job(kind=Kind.batch)], 1)
    assert (rows.waiting(batches=False), rows.waiting(batches=True)) == (2, 1)
    rows.claim("w1", NOON, SOON)
    rows.add([job()], 2)


def test_many_at_once_do_not_pass_the_bound(rows: JobRows) -> None:
    def add(_: int) -> bool:
        try:
            rows.add([job()], 5)
        except QueueFull:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(add, range(20))) == 5


def test_a_key_answers_its_first_job(rows: JobRows) -> None:
    first = job(idempotency_key="k")
    assert rows.add([first], None) is None
    assert rows.add([job(idempotency_key="k")], 0) == first
    assert rows.by_key("ann", "k") == first
    assert rows.by_key("bob", "k") is None
    assert rows.add([job(idempotency_key="k", owner="bob")], None) is None


def test_a_batch_lets_in_as_many_children_as_it_may(rows: JobRows) -> None:
    batch = job(kind=Kind.batch, status=Status.running)
    children = [job(parent_id=batch.id, position=place, admitted=False) for place in range(5)]
    rows.add([batch, *children], None)
    assert rows.admit(batch, 2, SOON) == 2
    assert rows.admit(batch, 2, SOON) == 0
    claimed = rows.claim("w1", NOON, SOON)
    assert claimed is not None
    assert claimed.position == 0
    assert rows.admit(batch, 2, SOON) == 0
    rows.renew(claimed, 50.0, SOON)
    assert rows.tally(batch.id).progress == pytest.approx(10)
    rows.move(claimed, Status.failed, {})
    assert rows.admit(batch, 2, SOON) == 1
    tally = rows.tally(batch.id)
    assert tally.counts == {Status.failed: 1, Status.queued: 4}
    assert tally.progress == pytest.approx(20)
    assert [child.position for child in rows.children(batch.id)] == [0, 1, 2, 3, 4]
    assert rows.cancel_children(batch.id, {"ended_at": SOON}) == 4
    assert rows.batches() == [batch]


def test_what_is_lost_late_or_out_of_time_is_found(rows: JobRows) -> None:
    rows.add([job()], None)
    claimed = rows.claim("w1", NOON, SOON)
    assert claimed is not None
    assert rows.lost(NOON) == []
    assert rows.lost(SOON + timedelta(seconds=1)) == rows.lost(NOON, ["w1"]) == [claimed]
    assert rows.overrunning(NOON) == []
    assert rows.overrunning(SOON) == [claimed]
    assert rows.expired(NOON) == []
    assert rows.expired(NOON + timedelta(hours=1)) == [claimed]


def test_a_callback_is_claimed_once_a_try(rows: JobRows) -> None:
    due = job(status=Status.succeeded, callback_url="https://example.org", callback_due_at=NOON)
    rows.add([due], None)
    assert rows.callbacks(NOON, 10) == [due]
    assert rows.postpone_callback(due, SOON)
    assert not rows.postpone_callback(due, SOON)
    assert rows.callbacks(NOON, 10) == []
    assert rows.postpone_callback(replace(due, callback_tries=1), None)
    assert rows.callbacks(NOON + timedelta(days=1), 10) == []


def test_jobs_are_listed_newest_first_page_by_page_and_by_what_is_asked(rows: JobRows) -> None:
    made = [job(created_at=NOON + timedelta(minutes=minute), kind=Kind.auto) for minute in range(5)]
    child = job(parent_id="batch", position=0)
    for each in (*made, child, job(owner="bob"), job(status=Status.failed, created_at=NOON - timedelta(days=1))):
        rows.add([each], None)
    page, total = rows.page("ann", JobFilter(kinds=[Kind.auto]), 2, 1)
    assert ([each.id for each in page], total) == ([made[3].id, made[2].id], 5)
    until = JobFilter(since=NOON, until=NOON + timedelta(minutes=2))
    assert {each.id for each in rows.page("ann", until, 9, 0)[0]} == {made[0].id, made[1].id}
    assert rows.page("ann", JobFilter(statuses=[Status.failed]), 9, 0)[1] == 1
    assert rows.page("ann", JobFilter(children=True), 9, 0)[1] == 7
    assert rows.counts("ann") == {Status.queued: 6, Status.failed: 1}
    assert rows.counts(None)[Status.queued] == 7


def test_pictures_that_jobs_hold_and_old_jobs_are_found(rows: JobRows) -> None:
    old = job(picture="p1", status=Status.succeeded, ended_at=NOON)
    rows.add([old], None)
    assert rows.held(["p1", "p2"]) == {"p1"}
    assert rows.known([old.id, "x"]) == {old.id}
    assert rows.ended_before(SOON, 5) == [old]
    assert rows.ended_before(NOON, 5) == []
