"""Pictures in a ZIP file, read within bounds."""

import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO

from orchestrator.domain.errors import InvalidBatch, PictureTooLarge

_BROKEN = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, NotImplementedError),
    *(RuntimeError, EOFError, ValueError, OSError),
)
"""What zipfile stumbles over: no archive, a password, a method or a version that it does not know, a broken stream."""


def pictures(file: IO[bytes], most: int, most_bytes: int, most_bytes_each: int) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each, in the archive's order; folders, hidden files and links are left out.

    A name is the path in the archive, to show, and leads nowhere outside it. What an entry declares as its size is not
    believed: no more is unpacked than `most_bytes_each` and one byte, which shows that it is too large. Raises
    `InvalidBatch`, and `PictureTooLarge` for more than `most_bytes` unpacked.
    """
    with _readable():
        archive = zipfile.ZipFile(file)
    with archive:
        entries = [entry for entry in archive.infolist() if _is_file(entry)]
        if len(entries) > most:
            raise InvalidBatch(f"The archive holds {len(entries):,} files; at most {most:,} are accepted.")
        left = most_bytes
        for entry in entries:
            with _readable(), archive.open(entry) as content:
                data = content.read(min(left, most_bytes_each) + 1)
            left -= len(data)
            if left < 0:
                raise PictureTooLarge(f"The archive unpacks to more than {most_bytes:,} bytes.")
            yield "/".join(_parts(entry)), data


def _is_file(entry: zipfile.ZipInfo) -> bool:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if entry.is_dir() or kind not in (0, stat.S_IFREG):
        return False
    parts = _parts(entry)
    return bool(parts) and parts[0] != "__MACOSX" and not any(part.startswith(".") for part in parts)


def _parts(entry: zipfile.ZipInfo) -> list[str]:
    return [part for part in PurePosixPath(entry.filename).parts if part not in ("/", "..")]


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except _BROKEN as exc:
        raise InvalidBatch(f"The archive could not be read: {exc}. Is it a whole ZIP without a password?") from exc
