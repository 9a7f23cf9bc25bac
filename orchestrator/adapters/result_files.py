"""Results in folders: `segmentations/<job>/`, `objects/<job>/`.

An attempt writes into a folder of its own, `.attempts/<job>-<attempt>/`, which is renamed into place by whoever wins
the job's compare-and-set. So nothing half-written is ever seen.
"""

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.domain.errors import NotFound, StorageFull, Unavailable
from orchestrator.domain.job import Job, Kind

SEGMENTATIONS, OBJECTS, ATTEMPTS = "segmentations", "objects", ".attempts"
_FIRST_GONE = 10**9
"""Above all numbers of attempts."""

_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


class FolderResultFiles:
    """Below `root`, readable by the service's user alone."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def draft(self, job: Job) -> "FolderDraft":
        draft = self._root / ATTEMPTS / f"{job.id}-{job.attempts}"
        with _translated():
            draft.mkdir(parents=True, exist_ok=True, mode=0o700)
        return FolderDraft(draft, self._home(job))

    def path(self, job: Job, name: str) -> Path:
        path = self._home(job) / name
        if not _PLAIN.fullmatch(name) or not path.is_file():
            raise NotFound(f"The job has no file {name!r}; its result lists those it has.")
        return path

    def names(self, job: Job) -> list[str]:
        with _translated(), suppress(FileNotFoundError):
            return sorted(path.name for path in self._home(job).iterdir())
        return []

    def remove(self, job: Job) -> None:
        self.remove_id(job.id)

    def remove_id(self, job_id: str) -> None:
        with _translated():
            for kind in (SEGMENTATIONS, OBJECTS):
                _remove(self._root / kind / job_id, self._root / ATTEMPTS)

    def drafts(self) -> list[tuple[str, int, datetime]]:
        found = []
        with _translated(), suppress(FileNotFoundError):
            for path in (self._root / ATTEMPTS).iterdir():
                job_id, _, attempt = path.name.rpartition("-")
                if attempt.isdigit():
                    with suppress(FileNotFoundError):
                        found.append((job_id, int(attempt), _changed(path)))
        return found

    def discard(self, job_id: str, attempt: int) -> None:
        shutil.rmtree(self._root / ATTEMPTS / f"{job_id}-{attempt}", ignore_errors=True)

    def published(self) -> list[tuple[str, datetime]]:
        found = []
        for kind in (SEGMENTATIONS, OBJECTS):
            with _translated(), suppress(FileNotFoundError):
                for path in (self._root / kind).iterdir():
                    with suppress(FileNotFoundError):
                        found.append((path.name, _changed(path)))
        return found

    def check(self) -> None:
        """Raises `Unavailable` if the folder cannot be written."""
        with _translated():
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(self._root, os.W_OK):
            raise Unavailable("The results folder cannot be written.")

    def _home(self, job: Job) -> Path:
        return self._root / (OBJECTS if job.kind is Kind.extract else SEGMENTATIONS) / job.id


class FolderDraft:
    """`Draft` in a folder, to become `home`."""

    def __init__(self, folder: Path, home: Path) -> None:
        self._folder = folder
        self._home = home

    def write(self, name: str, data: bytes) -> None:
        with _translated():
            (self._folder / name).write_bytes(data)

    def seal(self) -> None:
        with _translated():
            for path in [*self._folder.iterdir(), self._folder]:
                _sync(path)

    def publish(self) -> None:
        with _translated():
            if not self._folder.exists() and self._home.exists():
                return  # done, but whoever did it did not learn that the row followed
            self._home.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _remove(self._home, self._folder.parent)
            self._folder.rename(self._home)
            _sync(self._home.parent)

    def discard(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def _remove(folder: Path, aside: Path) -> None:
    """Out of sight at once, then bit by bit; what is left of it is swept like the draft of an attempt that is over."""
    with suppress(FileNotFoundError):
        aside.mkdir(parents=True, exist_ok=True, mode=0o700)
        gone = folder.rename(aside / f"{folder.name}-{_FIRST_GONE + secrets.randbelow(10**9)}")
        shutil.rmtree(gone, ignore_errors=True)


def _changed(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageFull("The disk that holds the results is full.") from exc
        raise Unavailable(f"The results folder cannot be used: {exc.strerror}.", retry_after=30) from exc
