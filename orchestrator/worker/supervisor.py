"""Keeps a number of worker processes alive, and ends those that outlive their job's limit."""

import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.domain.errors import QuarryError
from orchestrator.usecases.upkeep import Upkeep

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
LIMIT_SECONDS = 1.0
STOP_SECONDS = 25.0
"""From being told to stop: a job that has not ended by then is given to another worker, without a loss counted."""

SHORT_LIFE_SECONDS, LONGEST_PAUSE_SECONDS = 5.0, 30.0


@dataclass
class Worker:
    """One process; each has a name of its own, which stands in the row of the job that it works on."""

    name: str
    process: "subprocess.Popen[bytes]"
    born: float = field(default_factory=time.monotonic)


class Supervisor:
    """For the main thread: the workers die with the thread that started them."""

    def __init__(self, count: int, upkeep: Upkeep) -> None:
        self._count = count
        self._upkeep = upkeep
        self._workers: list[Worker] = []
        self._dead: set[str] = set()
        self._halted = threading.Event()
        self._pause, self._not_before = 0.0, 0.0
        self._limits_due = 0.0

    def run(self) -> None:
        """Until `halt`; then waits for the jobs under way."""
        try:
            while not self._halted.is_set():
                self._bury()
                self._fill()
                self._keep_limits()
                self._halted.wait(LOOK_SECONDS)
        finally:
            self._stop()

    def halt(self) -> None:
        """For signal handlers."""
        self._halted.set()

    def _fill(self) -> None:
        while len(self._workers) < self._count and time.monotonic() >= self._not_before:
            name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
            command = [sys.executable, "-m", "orchestrator.worker.process", name, str(os.getpid())]
            # Its standard input is its lifeline: a pipe that ends however this process ends.
            self._workers.append(Worker(name, subprocess.Popen(command, stdin=subprocess.PIPE)))

    def _bury(self) -> None:
        """What a dead worker held goes back to the queue at once, without waiting for its lease to run out."""
        for worker in [worker for worker in self._workers if worker.process.poll() is not None]:
            self._workers.remove(worker)
            self._dead.add(worker.name)
            log.warning("worker %s ended with status %s", worker.name, worker.process.returncode)
            if worker.process.stdin:
                worker.process.stdin.close()
            # One that cannot even start is not started again and again without a pause.
            short = worker.process.returncode > 0 and time.monotonic() - worker.born < SHORT_LIFE_SECONDS
            self._pause = min(LONGEST_PAUSE_SECONDS, 2 * self._pause + 0.5) if short else 0.0
            self._not_before = time.monotonic() + self._pause
        if self._dead:
            self._quietly(lambda: self._requeue(counted=True))

    def _requeue(self, *, counted: bool) -> None:
        self._upkeep.requeue_lost(self._dead, counted=counted)
        self._dead.clear()

    def _keep_limits(self) -> None:
        if time.monotonic() >= self._limits_due:
            self._limits_due = time.monotonic() + LIMIT_SECONDS
            self._quietly(self._kill_overrunning)

    def _kill_overrunning(self) -> None:
        late = self._upkeep.end_overrunning({worker.name for worker in self._workers})
        for worker in self._workers:
            if worker.name in late:
                log.error("worker %s is killed: its job outlived JOB_TIME_LIMIT", worker.name)
                worker.process.kill()

    def _stop(self) -> None:
        for worker in self._workers:
            worker.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for worker in self._workers:
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        self._dead |= {worker.name for worker in self._workers}
        self._quietly(lambda: self._requeue(counted=False))

    def _quietly(self, act: Callable[[], None]) -> None:
        """What fails now is tried in the next round."""
        try:
            act()
        except QuarryError as exc:
            log.warning("%s", exc.detail)
