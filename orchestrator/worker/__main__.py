"""`python -m orchestrator.worker`: the worker processes and what looks after them."""

import logging
import signal
import sys
import time

from orchestrator import bootstrap
from orchestrator.adapters.cpu_engine import openvino_precision
from orchestrator.bootstrap import Care
from orchestrator.domain.errors import Unavailable
from orchestrator.settings import Settings, WrongSetting, read
from orchestrator.worker.maintenance import maintained
from orchestrator.worker.supervisor import Supervisor

START_SECONDS = 60.0
"""How long a database that is not up yet is waited for."""

log = logging.getLogger(__name__)


def main() -> None:
    try:
        settings = read()
        openvino_precision(settings.cpu_engine)
    except (WrongSetting, Unavailable) as exc:
        sys.exit(f"error: {exc}")
    if not settings.redis_url.get_secret_value():
        sys.exit("error: workers are woken through Redis: set REDIS_URL.")
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(message)s")
    try:
        care = _care(settings)
    except Unavailable as exc:
        sys.exit(f"error: {exc.detail}")
    supervisor = Supervisor(settings.job_workers, care.upkeep)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: supervisor.halt())
    with maintained(care):
        supervisor.run()


def _care(settings: Settings) -> Care:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return bootstrap.care(settings)
        except Unavailable as exc:
            if time.monotonic() > deadline:
                raise
            log.warning("%s", exc.detail)
            time.sleep(1)


if __name__ == "__main__":
    main()
