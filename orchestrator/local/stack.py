"""The whole service on one machine: Triton, Redis, the API and a worker as processes.

The environment wins: where it names a Triton, a Redis or a database, none is started here.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from dotenv import dotenv_values

from orchestrator.adapters.cpu_engine import of_triton, openvino_precision
from orchestrator.adapters.rq_doorbell import RqDoorbell
from orchestrator.domain.errors import Unavailable
from orchestrator.local import redis, triton
from orchestrator.local.lock import locked
from orchestrator.local.network import answers, free_ports, is_free
from orchestrator.local.process import Echo, Part
from orchestrator.local.supervisor import Supervisor, silent
from orchestrator.local.triton import TritonAddresses
from orchestrator.settings import Settings, bundled_repository

Say = Callable[[str], None]
Environment = dict[str, str]


class StackError(Exception):
    """The stack cannot start as asked. The message says what to do."""


@dataclass(frozen=True)
class Options:
    data_dir: Path
    host: str
    port: int
    """0 picks a free one."""


@dataclass(frozen=True)
class Addresses:
    """Where a running stack is found; `<data_dir>/run.json` has the same."""

    api: str
    data_dir: str
    pid: int
    redis: str | None
    triton: TritonAddresses | None
    """None, as for Redis, if it was not started here."""


@contextmanager
def running(options: Options, echo: Echo = silent, say: Say = lambda _: None) -> Iterator[tuple[Addresses, Supervisor]]:
    """A ready stack; leaving the context stops it. For the main thread: it listens to signals.

    Raises StackError, DataDirError or PartFailed with a sentence to show, and Halted on a signal
    before it was ready.
    """
    data_dir = options.data_dir
    with locked(data_dir) as lock:
        supervisor = Supervisor(data_dir / "logs", echo, hold=[lock])
        with halted_by_signals(supervisor), supervisor:
            (data_dir / "run.json").unlink(missing_ok=True)  # of a stack that was killed
            addresses = start(supervisor, options, say)
            with announced(data_dir / "run.json", addresses):
                yield addresses, supervisor


def start(supervisor: Supervisor, options: Options, say: Say) -> Addresses:
    """Starts every part in the order in which they need each other."""
    port = choose_port(options.host, options.port)
    environment = {**defaults(options.data_dir), **configured()}
    environment |= {"HOST": options.host, "PORT": str(port)}
    try:
        openvino_precision(environment["CPU_ENGINE"])  # a sentence for the terminal is better than a part that fails
    except Unavailable as exc:
        raise StackError(exc.detail) from exc
    triton_addresses = start_triton(supervisor, environment, options.data_dir, say)
    redis_url = start_redis(supervisor, environment, options.data_dir, say)
    url = local_url(options.host, port)
    for service in SERVICES:
        if part := service(environment, url):
            say(f"Starting {part.name} …")
            supervisor.start(part)
    return Addresses(url, str(options.data_dir.resolve()), os.getpid(), redis_url, triton_addresses)


def configured() -> Environment:
    """What the environment and `.env` in the working directory say, read as the API reads it, whatever the case."""
    given = {k: v for k, v in {**dotenv_values(".env"), **os.environ}.items() if v is not None}
    return {k.upper() if k.lower() in Settings.model_fields else k: v for k, v in given.items()}


def defaults(data_dir: Path) -> Environment:
    """The settings of a stack that keeps everything below `data_dir`."""
    folder = data_dir.resolve()
    return {
        "CPU_ENGINE": Settings.model_fields["cpu_engine"].default,
        "DATABASE_URL": f"sqlite:///{folder / 'quarry.db'}",
        "DEFAULT_MODEL": Settings.model_fields["default_model"].default,
        "MODEL_REPOSITORY": str(bundled_repository().resolve()),
        "RESULTS_DIR": str(folder / "results"),
        "UPLOAD_DIR": str(folder / "uploads"),
    }


def start_triton(supervisor: Supervisor, environment: Environment, data_dir: Path, say: Say) -> TritonAddresses | None:
    if "TRITON_URL" in environment:
        return None
    if reason := triton.unavailable():
        say(f"No Triton: {reason}. The API encodes pictures itself.")
        environment["TRITON_URL"] = ""
        return None
    repository, model = Path(environment["MODEL_REPOSITORY"]), environment["DEFAULT_MODEL"]
    if not (repository / model / "config.pbtxt").exists():
        raise StackError(
            f"The model '{model}' is not in {repository}. 'python -m export {model}' makes it; "
            "or name another with DEFAULT_MODEL."
        )
    say(f"Starting triton with the model '{model}' …")
    part, addresses = triton.part(repository, data_dir, [model], cpu_engine=of_triton(environment["CPU_ENGINE"]))
    supervisor.start(part)
    environment["TRITON_URL"] = addresses.grpc
    return addresses


def start_redis(supervisor: Supervisor, environment: Environment, data_dir: Path, say: Say) -> str | None:
    if "REDIS_URL" in environment:
        return None
    if reason := redis.unavailable():
        say(f"No Redis: {reason}. Nothing can be queued.")
        environment["REDIS_URL"] = ""
        return None
    say("Starting redis …")
    part, url = redis.part(data_dir)
    supervisor.start(part)
    environment["REDIS_URL"] = url
    return url


def api(environment: Mapping[str, str], url: str) -> Part:
    return Part(
        name="api",
        command=API_COMMAND,
        environment={**environment, "PYTHONUNBUFFERED": "1"},
        ready=lambda: answers(f"{url}/health/ready"),
        patience=120,
        grace=35,  # it lets requests end for up to 30 s
        advice="The settings it was given are those of the environment and of '.env'; "
        "docs and .env.example say what each means.",
    )


def worker(environment: Mapping[str, str], _: str) -> Part | None:
    """None where there is no Redis to wake it."""
    if not environment["REDIS_URL"]:
        return None
    doorbell = RqDoorbell(environment["REDIS_URL"])
    return Part(
        name="worker",
        command=WORKER_COMMAND,
        environment={**environment, "PYTHONUNBUFFERED": "1"},
        ready=lambda: _listens(doorbell),
        patience=120,
        grace=35,  # it lets jobs end for up to 25 s
        advice="It needs Redis and the database; what it was working on is in the database and goes on later.",
    )


def _listens(doorbell: RqDoorbell) -> bool:
    try:
        return doorbell.workers() > 0
    except Unavailable:
        return False


API_COMMAND: Sequence[str] = (sys.executable, "-m", "orchestrator.api")
WORKER_COMMAND: Sequence[str] = (sys.executable, "-m", "orchestrator.worker")
SERVICES: Sequence[Callable[[Mapping[str, str], str], Part | None]] = (api, worker)
"""What runs beside Triton and Redis, in order: (environment, the API's URL) → part."""


def choose_port(host: str, port: int) -> int:
    if port == 0:
        return free_ports(1, host)[0]
    if not is_free(host, port):
        raise StackError(
            f"Port {port} of {host} is taken. Stop what listens there, or choose another: "
            "--port N (0 picks a free one)."
        )
    return port


def local_url(host: str, port: int) -> str:
    """How this machine reaches what listens on `host`."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not bound here
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


@contextmanager
def announced(path: Path, addresses: Addresses) -> Iterator[None]:
    """Keeps `path` there, whole, for the CLI and others to find the running stack."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(asdict(addresses), indent=2))
    draft.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def halted_by_signals(supervisor: Supervisor) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal halt; `nohup` keeps its meaning."""
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    numbers = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {n: signal.signal(n, lambda *_: supervisor.halt()) for n in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
