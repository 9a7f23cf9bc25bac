import io
import zipfile

import pytest

from orchestrator.domain import archive
from orchestrator.domain.errors import InvalidBatch, PictureTooLarge


def packed(files: dict[str, bytes], links: tuple[str, ...] = ()) -> io.BytesIO:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as writing:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o120777 if name in links else 0o100644) << 16
            writing.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return made


def test_pictures_come_in_order_by_their_paths_in_the_archive() -> None:
    made = packed({"a/one.png": b"1", "../../etc/two.png": b"2", "/three.png": b"3"})
    assert list(archive.pictures(made, 5, 100, 100)) == [
        ("a/one.png", b"1"),
        ("etc/two.png", b"2"),
        ("three.png", b"3"),
    ]


def test_folders_hidden_files_and_links_are_left_out() -> None:
    made = packed(
        {"a/": b"", ".hidden": b"x", "a/.b/c": b"x", "__MACOSX/c": b"x", "link": b"/etc/passwd", "d": b"1"}, ("link",)
    )
    assert list(archive.pictures(made, 1, 100, 100)) == [("d", b"1")]


def test_no_more_is_unpacked_than_may_be() -> None:
    bomb = packed({"zeros": bytes(10_000_000)})
    assert len(bomb.getvalue()) < 20_000
    ((_, data),) = archive.pictures(bomb, 5, 50_000, 1000)
    assert len(data) == 1001
    with pytest.raises(PictureTooLarge):
        list(archive.pictures(bomb, 5, 5000, 10_000))
    with pytest.raises(PictureTooLarge):
        list(archive.pictures(packed({"a": bytes(600), "b": bytes(600)}), 5, 1000, 1000))


def test_too_many_files_are_refused_before_any_is_unpacked() -> None:
    with pytest.raises(InvalidBatch):
        next(archive.pictures(packed({str(index): b"" for index in range(6)}), 5, 100, 100))


@pytest.mark.parametrize("damage", ["cut", "foreign", "rotten"])
def test_a_broken_archive_is_refused(damage: str) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as writing:
        writing.writestr("a", b"xyz" * 50)
    whole = made.getvalue()
    data = {"cut": whole[:-30], "foreign": b"hello", "rotten": whole.replace(b"xyz", b"abc")}[damage]
    with pytest.raises(InvalidBatch):
        list(archive.pictures(io.BytesIO(data), 5, 1000, 1000))
