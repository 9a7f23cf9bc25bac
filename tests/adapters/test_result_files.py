"""Results on disk: all or nothing, and nobody else's."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.adapters.result_files import FolderResultFiles
from orchestrator.domain.errors import NotFound, StorageFull, Unavailable
from orchestrator.domain.job import Kind
from tests.jobs import job

JOB = job(attempts=1)


@pytest.fixture
def files(tmp_path: Path) -> FolderResultFiles:
    return FolderResultFiles(tmp_path / "results")


def test_nothing_is_seen_before_it_is_published(files: FolderResultFiles, tmp_path: Path) -> None:
    draft = files.draft(JOB)
    draft.write("mask_0.png", b"data")
    assert files.names(JOB) == []
    assert [draft[:2] for draft in files.drafts()] == [(JOB.id, 1)]
    draft.seal()
    draft.publish()
    draft.publish()
    assert files.names(JOB) == ["mask_0.png"]
    assert files.path(JOB, "mask_0.png") == tmp_path / "results/segmentations" / JOB.id / "mask_0.png"
    assert files.path(JOB, "mask_0.png").parent.stat().st_mode & 0o077 == 0
    assert files.drafts() == []
    assert [found for found, _ in files.published()] == [JOB.id]
    files.remove(JOB)
    assert files.names(JOB) == []
    assert list((tmp_path / "results/.attempts").iterdir()) == []


def test_objects_have_a_place_of_their_own(files: FolderResultFiles, tmp_path: Path) -> None:
    extraction = replace(JOB, kind=Kind.extract)
    draft = files.draft(extraction)
    draft.write("object_0.png", b"data")
    draft.publish()
    assert (tmp_path / "results/objects" / JOB.id / "object_0.png").read_bytes() == b"data"


def test_the_winner_replaces_what_an_attempt_left_before_it_lost(files: FolderResultFiles) -> None:
    for attempt, data in ((1, b"old"), (2, b"new")):
        draft = files.draft(replace(JOB, attempts=attempt))
        draft.write("a", data)
        draft.publish()
    assert files.path(JOB, "a").read_bytes() == b"new"


def test_a_losers_draft_is_discarded(files: FolderResultFiles) -> None:
    files.draft(JOB).write("a", b"data")
    files.discard(JOB.id, 1)
    files.discard(JOB.id, 1)
    assert files.drafts() == []


@pytest.mark.parametrize("name", ["../x", "..", ".hidden", "a/b", "", "missing"])
def test_a_name_that_leads_elsewhere_is_not_found(files: FolderResultFiles, name: str) -> None:
    files.draft(JOB).publish()
    with pytest.raises(NotFound):
        files.path(JOB, name)


def test_a_full_disk_and_a_folder_that_cannot_be_made_are_told(
    files: FolderResultFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable):
        FolderResultFiles(tmp_path / "file").draft(JOB)
    draft = files.draft(JOB)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageFull):
        draft.write("a", b"data")
