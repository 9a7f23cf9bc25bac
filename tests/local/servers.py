"""Real servers for tests: context managers on the very code that starts the local stack."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from orchestrator.local import redis, triton
from orchestrator.local.supervisor import Supervisor
from orchestrator.local.triton import TritonAddresses


@contextmanager
def running_triton(
    repository: Path,
    data_dir: Path,
    models: Sequence[str] = (),
    extra_args: Sequence[str] = (),
    cpu_engine: str = "onnxruntime",
) -> Iterator[TritonAddresses]:
    """A ready Triton with `models` loaded. No other may have the same `data_dir` meanwhile."""
    with Supervisor(data_dir / "logs") as supervisor:
        part, addresses = triton.part(repository, data_dir, models, cpu_engine=cpu_engine, extra_args=extra_args)
        supervisor.start(part)
        yield addresses


@contextmanager
def running_redis(data_dir: Path) -> Iterator[str]:
    """The URL of a ready Redis."""
    with Supervisor(data_dir / "logs") as supervisor:
        part, url = redis.part(data_dir)
        supervisor.start(part)
        yield url
