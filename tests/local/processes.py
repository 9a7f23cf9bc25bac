"""Looking at processes from outside."""

import contextlib
import time
from collections.abc import Callable

import psutil

Family = Callable[[], list[psutil.Process]]


def gone(processes: list[psutil.Process], within: float = 15) -> bool:
    """Whether all end in time; one that is dead but not yet collected has ended."""
    return eventually(lambda: not any(alive(process) for process in processes), within)


def alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def eventually(condition: Callable[[], bool], within: float = 10) -> bool:
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
