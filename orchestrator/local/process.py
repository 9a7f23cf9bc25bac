"""One part of the stack as a process: its log, its readiness, its end.

No part outlives the process that started it, however that one ends: every part runs under a tether
(`orchestrator.local.tether`, which says how), and a tether that was killed is made up for here.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.local import tether

LOG_BYTES = 5_000_000  # then the log becomes <part>.log.1, and a new one begins
TAIL_LINES = 20
LINE_BYTES = 64_000

Echo = Callable[[str, str], None]
"""Shows one line of a part's log: (part's name, line)."""


class PartFailed(Exception):
    """A part did not start, or ended by itself. The message says why and what to do."""


@dataclass(frozen=True)
class Part:
    """What to run, and how to tell that it is ready."""

    name: str
    command: Sequence[str]
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    directory: Path | None = None
    """Where it runs, if not here."""
    advice: str = ""
    """What to do if it fails, as a sentence."""
    patience: float = 60.0
    """Seconds from start to readiness."""
    grace: float = 10.0
    """Seconds from SIGTERM to SIGKILL."""
    litter: Sequence[str] = ()
    """Glob patterns of files that a killed part leaves behind; its own alone."""


class Process:
    """A started part. `hold` are file descriptors that stay open until nothing of it is left."""

    def __init__(self, part: Part, log: Path, echo: Echo, hold: Sequence[int] = ()) -> None:
        self.part = part
        self.log = log
        self._echo = echo
        self._cleared = False
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._file = RotatingLog(log)
        tether.sweep(part.litter)
        orders = {"grace": part.grace, "litter": list(part.litter), "hold": list(hold)}
        self._tether = subprocess.Popen(
            [sys.executable, "-I", tether.__file__, json.dumps(orders), *part.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=part.directory,
            env=dict(part.environment),
            pass_fds=hold,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"{part.name} log", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Of its tether, below which the part runs."""
        return self._tether.pid

    def check(self) -> None:
        """Raises PartFailed if the part has ended."""
        status = self._tether.poll()
        if status is not None:
            self._clear()
            raise self.failure(f"ended by itself ({describe(status)})")

    def stop(self) -> None:
        """Ends the part and everything it started, within its grace and a little more."""
        if self._tether.poll() is None:
            self._tether.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._tether.wait(self.part.grace + 5)
        self._clear()

    def failure(self, what: str) -> PartFailed:
        """The error that says what happened, with the log's end and the part's advice."""
        tail = "\n".join(f"    {line}" for line in self._tail) or "    (it wrote nothing)"
        text = f"{self.part.name} {what}. Its last lines ({self.log}):\n{tail}"
        return PartFailed(f"{text}\n{self.part.advice}" if self.part.advice else text)

    def _clear(self) -> None:
        """Does the tether's work again, should it have been killed: its group has its number."""
        if self._cleared:  # by now the number may be somebody else's
            return
        self._cleared = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._tether.pid, signal.SIGKILL)
        self._tether.wait()
        if self._tether.stdin:
            self._tether.stdin.close()
        self._reader.join(5)
        tether.sweep(self.part.litter)

    def _read(self) -> None:
        stream = self._tether.stdout
        if stream is None:
            return
        with stream, contextlib.closing(self._file) as log:
            for raw in iter(lambda: stream.readline(LINE_BYTES), b""):
                log.write(raw)
                line = raw.decode(errors="replace").rstrip()
                self._tail.append(line)
                self._echo(self.part.name, line)


class RotatingLog:
    """A file of at most LOG_BYTES, and the one before it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("ab")

    def write(self, raw: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk must not stop the part that writes
            if self._file.tell() + len(raw) > LOG_BYTES:
                self._file.close()
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
                self._file = self._path.open("ab")
            self._file.write(raw)
            self._file.flush()

    def close(self) -> None:
        self._file.close()


def describe(status: int) -> str:
    """An exit status in words; a tether hands over its command's as a shell does, 128 + signal."""
    if status < 0:
        return f"its tether was killed by {signal.Signals(-status).name}"
    try:
        return f"killed by {signal.Signals(status - 128).name}"
    except ValueError:
        return f"exit status {status}"
