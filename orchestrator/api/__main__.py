"""`python -m orchestrator.api`: the API on uvicorn."""

import sys

import uvicorn

from orchestrator.adapters.cpu_engine import openvino_precision
from orchestrator.domain.errors import Unavailable
from orchestrator.settings import WrongSetting, read


def main() -> None:
    try:
        settings = read()
        openvino_precision(settings.cpu_engine)
    except (WrongSetting, Unavailable) as exc:
        sys.exit(f"error: {exc}")
    uvicorn.run(
        "orchestrator.api.app:create",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        log_level=settings.log_level.lower(),
        server_header=False,
        timeout_graceful_shutdown=30,
    )


if __name__ == "__main__":
    main()
