"""Files and rows: the real ones and their fakes by one contract."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import inspect
from sqlmodel import SQLModel

from orchestrator.adapters import database
from orchestrator.adapters.picture_files import FolderPictureFiles
from orchestrator.adapters.repository import FileModelRepository
from orchestrator.domain.errors import ModelMissing, NotFound, StorageFull, Unavailable
from orchestrator.usecases.ports.state import ImageRows, PictureFiles, StoredImage
from tests.fakes import FakeFiles, FakeRows

ROOT = Path(__file__).parents[2]
IMAGE = StoredImage("id1", "ann", "abc", "2026/01/02/abc", 30, 20, 99, datetime(2026, 1, 2, tzinfo=UTC))


@pytest.fixture(params=["sqlite", "postgres", "fake"])
def rows(request: pytest.FixtureRequest, empty_database: Callable[[str], str]) -> Iterator[ImageRows]:
    if request.param == "fake":
        yield FakeRows()
        return
    engine = database.connect(empty_database(request.param))
    database.migrate(engine)
    yield database.SqlImageRows(engine)
    engine.dispose()


@pytest.fixture(params=["folder", "fake"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> PictureFiles:
    return FakeFiles() if request.param == "fake" else FolderPictureFiles(tmp_path / "uploads")


def test_a_row_comes_back_as_it_was(rows: ImageRows) -> None:
    with rows.exclusive("abc") as content:
        content.add(IMAGE)
    assert rows.get("id1") == IMAGE
    assert rows.get("other") is None


def test_rows_are_found_by_age_the_oldest_first(rows: ImageRows) -> None:
    for day in (3, 1, 2):
        with rows.exclusive("abc") as content:
            content.add(replace(IMAGE, id=f"id{day}", created_at=datetime(2026, 1, day, tzinfo=UTC)))
    found = rows.older_than(datetime(2026, 1, 3, tzinfo=UTC), 10)
    assert [image.id for image in found] == ["id1", "id2"]
    assert [image.id for image in rows.older_than(datetime(2026, 2, 1, tzinfo=UTC), 1)] == ["id1"]


def test_rows_of_one_content_are_found_and_removed(rows: ImageRows) -> None:
    with rows.exclusive("abc") as content:
        content.add(IMAGE)
        content.add(replace(IMAGE, id="id2"))
        content.remove("id1")
        assert content.any() == replace(IMAGE, id="id2")
        content.remove("id2")
        content.remove("id2")
        assert content.any() is None


def test_what_fails_in_between_leaves_nothing(rows: ImageRows) -> None:
    def add_and_fail() -> None:
        with rows.exclusive("abc") as content:
            content.add(IMAGE)
            raise RuntimeError("fails")

    with pytest.raises(RuntimeError):
        add_and_fail()
    assert rows.get("id1") is None


def test_two_who_change_the_same_content_take_turns(database_url: str) -> None:
    engine = database.connect(database_url)
    database.migrate(engine)
    rows, order = database.SqlImageRows(engine), []
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with rows.exclusive("abc") as content:
            content.add(IMAGE)
            inside.set()
            leave.wait(5)
            order.append("first")

    def second() -> None:
        inside.wait(5)
        with rows.exclusive("abc") as content:
            order.append("second")
            assert content.any() == IMAGE

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        for thread in threads:
            thread.start()
        inside.wait(5)
        leave.set()
        for thread in threads:
            thread.join(10)
    assert order == ["first", "second"]


def test_the_migrations_make_the_tables_that_the_code_has_and_unmake_them(database_url: str) -> None:
    engine = database.connect(database_url)
    database.migrate(engine)
    database.migrate(engine)
    with engine.connect() as connection:
        found = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(found, SQLModel.metadata) == []
    config = Config(toml_file=ROOT / "pyproject.toml")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert set(inspect(engine).get_table_names()) == {"alembic_version"}
    engine.dispose()


def test_alembics_own_command_migrates_in_both_directions(database_url: str) -> None:
    def run(*arguments: str) -> str:
        environment = os.environ | {"DATABASE_URL": database_url}
        line = [sys.executable, "-m", "alembic", *arguments]
        done = subprocess.run(line, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("upgrade", "head")
    assert "(head)" in run("current")
    run("check")
    run("downgrade", "base")
    assert run("current").strip() == ""


def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    engine = database.connect(f"sqlite:///{tmp_path}/missing/quarry.db")
    with pytest.raises(Unavailable):
        database.check(engine)


def test_a_file_comes_back_and_goes(files: PictureFiles) -> None:
    files.write("2026/01/02/abc", b"data")
    assert files.read("2026/01/02/abc") == b"data"
    files.remove("2026/01/02/abc")
    files.remove("2026/01/02/abc")
    with pytest.raises(NotFound):
        files.read("2026/01/02/abc")


def test_files_are_the_services_users_alone(tmp_path: Path) -> None:
    FolderPictureFiles(tmp_path / "uploads").write("2026/abc", b"data")
    assert (tmp_path / "uploads/2026/abc").stat().st_mode & 0o077 == 0
    assert (tmp_path / "uploads/2026").stat().st_mode & 0o077 == 0


def test_a_full_disk_is_told_and_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageFull):
        FolderPictureFiles(tmp_path).write("abc", b"data")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable):
        FolderPictureFiles(tmp_path / "file").check()
    with pytest.raises(Unavailable):
        FolderPictureFiles(tmp_path / "file").write("abc", b"data")


def test_a_manifest_that_cannot_be_read_names_the_command_that_makes_it(tmp_path: Path) -> None:
    (tmp_path / "tiny/1").mkdir(parents=True)
    (tmp_path / "tiny/1/manifest.json").write_text("{}")
    repository = FileModelRepository(tmp_path)
    assert list(repository.names()) == ["tiny"]
    with pytest.raises(ModelMissing, match="python -m export tiny"):
        repository.manifest("tiny")
