from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.adapters.job_rows import SqlJobRows
from orchestrator.adapters.result_files import FolderResultFiles
from orchestrator.domain.errors import Conflict, NotFound, StorageFull, Unavailable
from orchestrator.domain.job import Job, Kind, Status
from orchestrator.usecases.images import Images
from orchestrator.usecases.jobs import Jobs
from orchestrator.usecases.ports.state import JobFilter
from tests.jobs import NOON, TASK, job
from tests.pictures import draw, encoded


@pytest.fixture
def jobs(rows: SqlJobRows, files: FolderResultFiles, images: Images) -> Jobs:
    return Jobs(rows, files, images, lambda: NOON)


def test_what_was_done_at_once_is_an_ended_job_with_files(jobs: Jobs) -> None:
    recorded = jobs.record(replace(TASK, operation=Kind.extract), [("object_0.png", b"data")], "ann", "img", "req")
    assert jobs.get(recorded.id, "ann") == recorded
    assert (recorded.status, recorded.progress, recorded.kind) == (Status.succeeded, 100.0, Kind.extract)
    assert jobs.file(recorded.id, "ann", "object_0.png").read_bytes() == b"data"
    assert jobs.names(recorded) == ["object_0.png"]


def test_what_fails_while_it_is_recorded_leaves_neither_row_nor_file(
    jobs: Jobs, rows: SqlJobRows, files: FolderResultFiles
) -> None:
    def broken() -> Iterator[tuple[str, bytes]]:
        yield "a.png", b"data"
        raise StorageFull("full")

    with pytest.raises(StorageFull):
        jobs.record(TASK, broken(), "ann")
    assert rows.counts(None) == {}
    assert (files.drafts(), files.published()) == ([], [])


def test_a_job_is_its_owners_alone(jobs: Jobs) -> None:
    recorded = jobs.record(TASK, [], "ann")
    with pytest.raises(NotFound):
        jobs.get(recorded.id, "bob")
    with pytest.raises(NotFound):
        jobs.remove(recorded.id, "bob")


def test_an_active_job_is_canceled_first_and_erased_then(jobs: Jobs, rows: SqlJobRows, images: Images) -> None:
    picture = images.hold(encoded(draw(20, 30)), "ann")
    rows.add([job(id="j", picture=picture.id)], None)
    assert jobs.remove("j", "ann").status is Status.queued
    assert jobs.get("j", "ann").status is Status.canceled
    assert jobs.remove("j", "ann").status is Status.canceled
    for look in (jobs.get, jobs.remove):
        with pytest.raises(NotFound):
            look("j", "ann")
    with pytest.raises(NotFound):
        images.get(picture.id, "ann")


def test_a_batch_takes_its_children_with_it(jobs: Jobs, rows: SqlJobRows) -> None:
    batch = job(kind=Kind.batch, status=Status.running)
    done = job(parent_id=batch.id, position=0, status=Status.succeeded)
    rows.add([batch, done, job(id="c", parent_id=batch.id, position=1)], None)
    jobs.remove(batch.id, "ann")
    assert [child.status for child in jobs.children(batch)] == [Status.succeeded, Status.canceled]
    jobs.remove(batch.id, "ann")
    assert rows.counts(None) == {}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"status": Status.queued}, "queued"),
        ({"status": Status.running, "progress": 40.0}, "40 %"),
        ({"status": Status.canceled}, "canceled"),
        ({"status": Status.failed, "error": "invalid_picture", "detail": "It is broken."}, "It is broken"),
    ],
)
def test_a_job_without_a_result_says_why(jobs: Jobs, rows: SqlJobRows, given: dict[str, object], words: str) -> None:
    rows.add([job(id="j", **given)], None)
    with pytest.raises(Conflict, match=words):
        jobs.file("j", "ann", "result.json")


def test_a_picture_shared_with_a_job_stays_when_its_owner_deletes_it(images: Images) -> None:
    uploaded = images.add(encoded(draw(20, 30)), "ann")
    shared = images.share(uploaded.id, "ann")
    images.remove(uploaded.id, "ann")
    assert images.read(shared.id, "ann")
    images.release(shared.id, "ann")
    images.release(shared.id, "ann")
    images.release(None, "ann")
    with pytest.raises(NotFound):
        images.read(shared.id, "ann")
    assert timedelta(0) <= shared.created_at - uploaded.created_at


def test_a_commit_that_may_have_happened_costs_no_files(
    jobs: Jobs, rows: SqlJobRows, files: FolderResultFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks off as the row is committed: whoever finds the row finds its files."""
    add = rows.add

    def commit_and_break(made: list[Job], most: int | None) -> None:
        add(made, most)
        raise Unavailable("The connection is gone.")

    monkeypatch.setattr(rows, "add", commit_and_break)
    with pytest.raises(Unavailable):
        jobs.record(TASK, [("a.png", b"data")], "ann")
    (found,), _ = rows.page("ann", JobFilter(), 5, 0)
    assert files.names(found) == ["a.png"]
