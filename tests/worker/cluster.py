"""A whole service in processes: Redis, a database, Triton, the API, workers. Each can be killed and started again."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil

from orchestrator.adapters.rq_doorbell import RqDoorbell
from orchestrator.domain.errors import Unavailable
from orchestrator.local import redis, triton
from orchestrator.local.network import answers, free_ports
from orchestrator.local.process import Part, Process
from orchestrator.local.supervisor import silent
from orchestrator.settings import Settings
from tests.local import postgres
from tests.local.processes import eventually

ROOT = Path(__file__).parents[2]
REPOSITORY = ROOT / "model_repository"


@dataclass
class Cluster:
    """`environment`: the settings of API and workers."""

    folder: Path
    environment: dict[str, str]
    parts: dict[str, Part]
    processes: dict[str, Process] = field(default_factory=dict)

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.environment['PORT']}"

    @property
    def settings(self) -> Settings:
        given = {name.lower(): value for name, value in self.environment.items()}
        return Settings.model_validate({name: given[name] for name in Settings.model_fields if name in given})

    def start(self, name: str) -> None:
        """Returns when it is ready."""
        part = self.parts[name]
        process = Process(part, self.folder / "logs" / f"{name}.log", silent)
        self.processes[name] = process
        deadline = time.monotonic() + part.patience
        while not part.ready():
            process.check()
            if time.monotonic() > deadline:
                raise process.failure("was not ready in time")
            time.sleep(0.05)

    def stop(self, name: str) -> None:
        self.processes.pop(name).stop()

    def kill(self, name: str) -> None:
        """With -9, and all that belongs to it."""
        process = self.processes.pop(name)
        for child in psutil.Process(process.pid).children(recursive=True):
            send(child)
        process.stop()

    def children(self, name: str, words: str = "") -> list[psutil.Process]:
        """Processes below a part, of those words in their command."""
        below = psutil.Process(self.processes[name].pid).children(recursive=True)
        found = []
        for process in below:
            try:
                if words in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def workers(self) -> list[psutil.Process]:
        return self.children("worker", "orchestrator.worker.process")

    def wipe_redis(self) -> None:
        """Killed, and its files gone: it starts empty."""
        self.kill("redis")
        for path in (self.folder / "redis").rglob("*"):
            if path.is_file():
                path.unlink()

    def submit(self, route: str, picture: bytes, fields: Mapping[str, str] = {}, **options: Any) -> str:
        answer = httpx2.post(
            f"{self.api}/segment/{route}/async", files={"image": picture}, data=dict(fields), timeout=30, **options
        )
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    def get(self, path: str) -> Any:
        answer = httpx2.get(f"{self.api}{path}", timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ended(self, job_id: str, within: float = 60) -> dict[str, Any]:
        assert eventually(lambda: self.get(f"/jobs/{job_id}/status")["status"] in ENDED, within), self.tails()
        details: dict[str, Any] = self.get(f"/jobs/{job_id}")
        return details

    def tails(self) -> str:
        logs = [self.folder / "logs" / f"{name}.log" for name in ("api", "worker")]
        return "\n".join(log.read_text()[-4000:] for log in logs if log.exists())


ENDED = {"succeeded", "failed", "canceled"}


@contextmanager
def running(folder: Path, database: str, triton_url: str | None = None, **settings: str) -> Iterator[Cluster]:
    """All of it, ready. `database`: sqlite or postgres; a Triton of its own unless `triton_url` names one."""
    with ExitStack() as stack:
        cluster = _made(folder, database, triton_url, settings, stack)
        stack.callback(_stop_all, cluster)
        for name in cluster.parts:
            cluster.start(name)
        yield cluster


def _made(folder: Path, database: str, triton_url: str | None, settings: dict[str, str], stack: ExitStack) -> Cluster:
    parts: dict[str, Part] = {}
    url = f"sqlite:///{folder}/quarry.db"
    if database == "postgres":
        place = stack.enter_context(postgres.folder())
        parts["postgres"], url = postgres.part(place / "postgres")
    parts["redis"], redis_url = redis.part(folder)
    if triton_url is None:
        # A part keeps its ports when it is started again.
        parts["triton"], addresses = triton.part(REPOSITORY, folder, ["tiny"])
        triton_url = addresses.grpc
    (port,) = free_ports(1, "127.0.0.1")
    names = {name.upper() for name in Settings.model_fields}
    kept = {name: value for name, value in os.environ.items() if name not in names}
    own = {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "TRITON_URL": triton_url,
        "MODEL_REPOSITORY": str(REPOSITORY),
        "DATABASE_URL": url,
        "REDIS_URL": redis_url,
        "UPLOAD_DIR": str(folder / "uploads"),
        "RESULTS_DIR": str(folder / "results"),
        "PYTHONUNBUFFERED": "1",
    }
    environment = kept | own | settings
    live = f"http://127.0.0.1:{port}/health/live"
    parts["api"] = _python("orchestrator.api", environment, lambda: answers(live))
    parts["worker"] = _python("orchestrator.worker", environment, lambda: _listening(redis_url))
    return Cluster(folder, environment, parts)


def _python(module: str, environment: dict[str, str], ready: Any) -> Part:
    command = [sys.executable, "-m", module]
    return Part(module.rpartition(".")[2], command, ready, environment, ROOT, grace=40)


def _listening(redis_url: str) -> bool:
    try:
        return RqDoorbell(redis_url).workers() > 0
    except Unavailable:
        return False


def _stop_all(cluster: Cluster) -> None:
    for name in reversed(list(cluster.parts)):
        if name in cluster.processes:
            cluster.stop(name)


def send(process: psutil.Process, number: signal.Signals = signal.SIGKILL) -> None:
    """To one that may have gone."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of a stream of server-sent events."""
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))
