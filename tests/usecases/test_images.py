import re
from datetime import UTC, datetime

import pytest

from orchestrator.domain.errors import NotFound, QuarryError, StorageFull
from orchestrator.domain.image import Limits
from orchestrator.usecases.images import Images
from tests.fakes import FakeFiles, FakeRows
from tests.pictures import draw, encoded

PICTURE = encoded(draw(20, 30))


@pytest.fixture
def files() -> FakeFiles:
    return FakeFiles()


@pytest.fixture
def rows() -> FakeRows:
    return FakeRows()


@pytest.fixture
def images(rows: FakeRows, files: FakeFiles) -> Images:
    return Images(rows, files, Limits(), lambda: datetime(2026, 3, 4, tzinfo=UTC))


def test_a_picture_is_stored_under_its_date_and_content(images: Images, files: FakeFiles) -> None:
    stored = images.add(PICTURE, "ann")
    assert (stored.height, stored.width, stored.bytes) == (20, 30, len(PICTURE))
    assert re.fullmatch(r"2026/03/04/[0-9a-f]{64}", stored.path)
    assert files.files == {stored.path: PICTURE}
    assert images.read(stored.id, "ann") == PICTURE


def test_equal_content_is_stored_once_and_goes_with_its_last_row(images: Images, files: FakeFiles) -> None:
    first, second = images.add(PICTURE, "ann"), images.add(PICTURE, "bob")
    assert first.id != second.id
    assert len(files.files) == 1
    images.remove(first.id, "ann")
    assert images.read(second.id, "bob") == PICTURE
    images.remove(second.id, "bob")
    assert files.files == {}


def test_an_id_belongs_to_who_uploaded_it(images: Images) -> None:
    stored = images.add(PICTURE, "ann")
    for act in (images.get, images.read, images.remove):
        with pytest.raises(NotFound):
            act(stored.id, "bob")
    assert images.get(stored.id, "ann") == stored


def test_what_is_no_picture_is_not_stored(images: Images, files: FakeFiles) -> None:
    with pytest.raises(QuarryError):
        images.add(b"no picture", "ann")
    assert not files.files


def test_a_full_disk_leaves_no_row(
    images: Images, rows: FakeRows, files: FakeFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str, data: bytes) -> None:
        raise StorageFull("full")

    monkeypatch.setattr(files, "write", full)
    with pytest.raises(StorageFull):
        images.add(PICTURE, "ann")
    assert not rows.rows
