"""Uploaded pictures in a folder."""

import contextlib
import errno
import os
import tempfile
from pathlib import Path

from orchestrator.domain.errors import NotFound, StorageFull, Unavailable


class FolderPictureFiles:
    """Readable by the service's user alone. Written beside and renamed, so that no half file is ever read."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def write(self, path: str, data: bytes) -> None:
        target = self._root / path
        part = None
        try:
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, part = tempfile.mkstemp(dir=target.parent, prefix=".part-")
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(part).replace(target)
        except OSError as exc:
            if part:
                with contextlib.suppress(OSError):
                    Path(part).unlink()
            if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise StorageFull("The disk that holds the uploads is full.") from exc
            raise Unavailable(f"The upload folder cannot be written: {exc.strerror}.", retry_after=30) from exc

    def read(self, path: str) -> bytes:
        try:
            return (self._root / path).read_bytes()
        except FileNotFoundError as exc:
            raise NotFound("The image's file is gone. Upload it again with POST /images.") from exc
        except OSError as exc:
            raise Unavailable(f"The image cannot be read: {exc.strerror}.", retry_after=30) from exc

    def remove(self, path: str) -> None:
        try:
            (self._root / path).unlink(missing_ok=True)
        except OSError as exc:
            raise Unavailable(f"The image cannot be removed: {exc.strerror}.", retry_after=30) from exc

    def check(self) -> None:
        """Raises `Unavailable` if the folder cannot be written."""
        try:
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as exc:
            raise Unavailable(f"The upload folder cannot be made: {exc.strerror}.") from exc
        if not os.access(self._root, os.W_OK):
            raise Unavailable("The upload folder cannot be written.")
