from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.adapters import database
from orchestrator.adapters.database import SqlImageRows
from orchestrator.adapters.job_rows import SqlJobRows
from orchestrator.adapters.picture_files import FolderPictureFiles
from orchestrator.adapters.result_files import FolderResultFiles
from orchestrator.domain.errors import Unavailable
from orchestrator.domain.image import Limits
from orchestrator.domain.job import Kind, Status
from orchestrator.usecases.cleanup import Cleanup
from orchestrator.usecases.images import Images
from orchestrator.usecases.jobs import Jobs
from tests.jobs import NOON, TASK, job
from tests.pictures import draw, encoded

WEEK = timedelta(days=7)
LATER = NOON + timedelta(days=8)


@dataclass
class Time:
    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now


@dataclass
class House:
    """A service's state on real parts, at a time of the test's own."""

    time: Time
    rows: SqlJobRows
    images: Images
    jobs: Jobs
    cleanup: Cleanup
    root: Path

    def files(self) -> int:
        return sum(path.is_file() for folder in ("uploads", "results") for path in (self.root / folder).rglob("*"))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    engine, time = database.connect(f"sqlite:///{tmp_path}/quarry.db"), Time()
    database.migrate(engine)
    rows, image_rows = SqlJobRows(engine), SqlImageRows(engine)
    images = Images(image_rows, FolderPictureFiles(tmp_path / "uploads"), Limits(), time)
    jobs = Jobs(rows, FolderResultFiles(tmp_path / "results"), images, time)
    yield House(time, rows, images, jobs, Cleanup(jobs, rows, images, image_rows, WEEK, time), tmp_path)
    engine.dispose()


def picture(seed: int) -> bytes:
    return encoded(draw(20, 30, seed=seed))


def test_what_is_old_goes_and_what_is_young_stays(house: House) -> None:
    house.images.add(picture(0), "ann")
    house.jobs.record(TASK, [("mask_0.png", b"old")], "ann")
    house.time.now = LATER
    young = house.images.add(picture(1), "ann")
    kept = house.jobs.record(TASK, [("mask_0.png", b"young")], "ann")
    cleaned = house.cleanup.run()
    assert (cleaned.jobs, cleaned.images, cleaned.bytes) == (1, 1, len(picture(0)))
    assert house.files() == 2
    assert house.images.read(young.id, "ann")
    assert house.jobs.file(kept.id, "ann", "mask_0.png").read_bytes() == b"young"
    again = house.cleanup.run()
    assert (again.jobs, again.images) == (0, 0)


def test_a_dry_run_only_counts(house: House) -> None:
    house.images.add(picture(0), "ann")
    house.jobs.record(TASK, [("mask_0.png", b"old")], "ann")
    house.time.now = LATER
    counted = house.cleanup.run(dry_run=True)
    assert house.files() == 2
    assert house.cleanup.run() == counted
    assert house.files() == 0


@pytest.mark.parametrize("status", [Status.queued, Status.running])
def test_what_a_live_job_needs_stays_however_old(house: House, status: Status) -> None:
    uploaded = house.images.add(picture(0), "ann")
    held = house.images.share(uploaded.id, "ann")
    house.rows.add([job(status=status, picture=held.id, image_id=uploaded.id)], None)
    house.time.now = LATER
    cleaned = house.cleanup.run()
    assert (cleaned.jobs, cleaned.images) == (0, 1)  # the caller's own id goes, the job's hold stays
    assert house.images.read(held.id, "ann") == picture(0)


def test_an_ended_job_goes_with_its_picture_and_a_batch_with_its_children(house: House) -> None:
    held = house.images.hold(picture(0), "ann")
    batch = job(kind=Kind.batch, status=Status.succeeded, ended_at=NOON)
    child = job(parent_id=batch.id, position=0, picture=held.id, status=Status.succeeded, ended_at=NOON)
    house.rows.add([batch, child], None)
    house.time.now = LATER
    assert house.cleanup.run().jobs == 1
    assert house.files() == 0
    assert house.rows.get(child.id) is None


def test_what_cannot_be_removed_does_not_stop_the_rest(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (house.images.add(picture(seed), "ann") for seed in range(2))
    house.time.now = LATER
    remove = Images.remove

    def stubborn(images: Images, image_id: str, owner: str) -> None:
        if image_id == first.id:
            raise Unavailable("it will not go")
        remove(images, image_id, owner)

    monkeypatch.setattr(Images, "remove", stubborn)
    assert house.cleanup.run().images == 1
    assert house.images.read(first.id, "ann")
    assert house.cleanup.run(dry_run=True).images == 1
    assert second.id
