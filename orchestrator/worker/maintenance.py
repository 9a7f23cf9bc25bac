"""What is done again and again beside the workers, each on a thread of its own."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from orchestrator.bootstrap import Care
from orchestrator.domain.errors import QuarryError

log = logging.getLogger(__name__)

UPKEEP_SECONDS = 1.0
CALLBACK_SECONDS = 1.0
SWEEP_SECONDS = 600.0
CLEANUP_SECONDS = 3600.0


@contextmanager
def maintained(care: Care) -> Iterator[None]:
    """While the context is open. Every supervisor does all of it: each step tolerates another beside it."""
    stop = threading.Event()
    tasks: list[tuple[str, float, Callable[[], object]]] = [
        ("upkeep", UPKEEP_SECONDS, care.upkeep.round),
        ("callbacks", CALLBACK_SECONDS, care.callbacks.deliver),
        ("sweep", SWEEP_SECONDS, care.upkeep.sweep_orphans),
        ("clean-up", CLEANUP_SECONDS, care.cleanup.run),
    ]
    threads = [threading.Thread(target=_repeat, args=[stop, *task], name=task[0], daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(5)


def _repeat(stop: threading.Event, name: str, seconds: float, act: Callable[[], object]) -> None:
    while True:
        try:
            act()
        except QuarryError as exc:
            log.warning("%s: %s", name, exc.detail)
        except Exception:  # the next round may go well, and nobody else would do it
            log.exception("%s failed", name)
        if stop.wait(seconds):
            return
