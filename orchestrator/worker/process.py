"""`python -m orchestrator.worker.process NAME PARENT`: one warm worker, started by the supervisor alone."""

import ctypes
import logging
import os
import signal
import sys
import threading
from contextlib import suppress

from orchestrator import bootstrap
from orchestrator.adapters import rq_doorbell
from orchestrator.domain.errors import Unavailable
from orchestrator.settings import read
from orchestrator.usecases.work import Work

PR_SET_PDEATHSIG = 1
NICENESS = 5
"""Workers leave the cores to the API beside them, which has to answer at once."""

log = logging.getLogger(__name__)


def main() -> None:
    name, parent = sys.argv[1], int(sys.argv[2])
    die_with(parent)
    os.nice(NICENESS)
    settings = read()
    logging.basicConfig(level=settings.log_level, format=f"%(asctime)s %(levelname)s {name} %(message)s")
    # RQ tells of every ring; what became of the jobs is told by ours.
    logging.getLogger("rq.worker").setLevel(max(logging.WARNING, logging.getLogger().level))
    work = bootstrap.work(settings)
    worker = rq_doorbell.worker(settings.redis_url.get_secret_value(), name, lambda: answer(work, name))
    worker.work(logging_level=None)


def answer(work: Work, name: str) -> None:
    """One ring, at most one job: there are as many rings as jobs that are due."""
    try:
        work.next(name, stuck)
    except Unavailable as exc:
        # Nothing was begun; the reconciler rings again.
        log.warning("%s", exc.detail)


def stuck() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_with(parent: int) -> None:
    """End as soon as the supervisor does: the kernel sees to it (Linux), and a thread reads the lifeline (anywhere)."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above took effect
        sys.exit(1)
    threading.Thread(target=_read_lifeline, name="lifeline", daemon=True).start()


def _read_lifeline() -> None:
    with suppress(OSError):
        while os.read(0, 1):
            pass
    os._exit(1)


if __name__ == "__main__":
    main()
