"""Threads that follow the cores which others leave free.

Two threads on one free core wait for each other and are slower than one. A niced training (`nice
-n 19`) shows as "nice" in the kernel's counts, so what others take is the "user" time.
"""

import os
from pathlib import Path

import torch

STAT = Path("/proc/stat")


class Courtesy:
    """Sets torch's number of threads, at most what it was, now and then."""

    def __init__(self) -> None:
        self._most = torch.get_num_threads()
        self._before = self._counts()

    def _counts(self) -> tuple[int, int]:
        """Time of others and of everything since the machine started, in ticks over all cores."""
        if not STAT.exists():
            return 0, 1
        fields = [int(value) for value in STAT.read_text().split("\n", 1)[0].split()[1:9]]
        return fields[0], sum(fields)

    def adapt(self) -> int:
        """Look at the time since the last call; returns the number of threads from now on."""
        others, everything = self._counts()
        share = (others - self._before[0]) / max(1, everything - self._before[1])
        self._before = others, everything
        free = (os.cpu_count() or 1) * (1 - share)
        threads = max(1, min(self._most, int(free + 0.4)))
        if threads != torch.get_num_threads():
            torch.set_num_threads(threads)
        return threads
