"""One stack per data directory."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LEFTOVERS_SECONDS = 20.0
"""How long the tethers of a killed stack may take to end what it left."""


class DataDirError(Exception):
    """The data directory cannot be used. The message says why and what to do."""


@contextmanager
def locked(data_dir: Path) -> Iterator[int]:
    """The file descriptor of the lock, which holds as long as any process has it open.

    Raises DataDirError at once if another stack runs there; if one was killed there, waits until
    nothing of it is left.
    """
    path = data_dir / "lock"
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DataDirError(
            f"{data_dir} cannot be written ({error.strerror}). Choose another folder with --data-dir."
        ) from error
    try:
        deadline = time.monotonic() + LEFTOVERS_SECONDS
        while not acquired(descriptor):
            owner = path.read_text().strip()
            if alive(owner) or time.monotonic() > deadline:
                raise DataDirError(
                    f"Another stack uses {data_dir} (process {owner or 'unknown'}). Stop it, "
                    "or choose another folder with --data-dir."
                )
            time.sleep(0.1)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def acquired(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True
