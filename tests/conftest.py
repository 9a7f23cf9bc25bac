"""Real parts, started once for all tests that need them."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import LiteralString

import httpx2
import psutil
import psycopg
import pytest
from psycopg import sql
from segment_anything.modeling import Sam

from export import checkpoint
from orchestrator import bootstrap
from orchestrator.bootstrap import Services
from orchestrator.local.network import free_ports
from orchestrator.local.triton import TritonAddresses
from orchestrator.settings import Settings
from tests.local.postgres import running_postgres
from tests.local.processes import Family
from tests.local.servers import running_triton

REPOSITORY = Path(__file__).parent.parent / "model_repository"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this shell has set must not decide whether a test passes."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setitem(Settings.model_config, "env_file", None)


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonAddresses]:
    """A real Triton that serves the repository's models."""
    with running_triton(REPOSITORY, tmp_path_factory.mktemp("triton"), ["tiny"]) as addresses:
        yield addresses


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a real PostgreSQL, one for all tests."""
    with running_postgres() as url:
        yield url


@pytest.fixture
def empty_database(postgres: str, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Makes an empty database of a kind, and answers its URL."""
    names: list[str] = []

    def make(kind: str) -> str:
        if kind == "sqlite":
            return f"sqlite:///{tmp_path}/quarry.db"
        names.append(f"test_{secrets.token_hex(4)}")
        _in_postgres(postgres, "CREATE DATABASE {}", names[-1])
        return postgres.replace("/postgres?", f"/{names[-1]}?")

    yield make
    for name in names:
        _in_postgres(postgres, "DROP DATABASE {} WITH (FORCE)", name)


def _in_postgres(server: str, statement: LiteralString, name: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(sql.Identifier(name)))


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, empty_database: Callable[[str], str]) -> str:
    """An empty database, on each of the two."""
    return empty_database(request.param)


@pytest.fixture(scope="session")
def sam() -> Sam:
    """The official model with tiny's weights."""
    return checkpoint.load("tiny")


@pytest.fixture
def settings(tmp_path: Path, triton: TritonAddresses) -> Settings:
    return Settings(
        triton_url=triton.grpc,
        model_repository=REPOSITORY,
        database_url=f"sqlite:///{tmp_path}/quarry.db",
        upload_dir=tmp_path / "uploads",
        results_dir=tmp_path / "results",
    )


@pytest.fixture
def services(settings: Settings) -> Services:
    return bootstrap.services(settings)


@pytest.fixture
def plain_environment(tmp_path: Path) -> dict[str, str]:
    """For processes of the project: this environment without the project's settings."""
    names = {name.upper() for name in Settings.model_fields}
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return kept | {"MODEL_REPOSITORY": str(REPOSITORY), "XDG_DATA_HOME": str(tmp_path)}


@pytest.fixture
def family() -> Family:
    """Lists the processes below this one that the test started."""
    before = psutil.Process().children(recursive=True)
    return lambda: [child for child in psutil.Process().children(recursive=True) if child not in before]


Start = Callable[..., str]


@pytest.fixture(scope="module")
def start_api(triton: TritonAddresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts `python -m orchestrator.api` with settings of the test's own; answers its address."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(**settings: str) -> str:
        folder = tmp_path_factory.mktemp("api")
        (port,) = free_ports(1, "127.0.0.1")
        names = {name.upper() for name in Settings.model_fields}
        environment = {name: value for name, value in os.environ.items() if name not in names} | {
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "TRITON_URL": triton.grpc,
            "MODEL_REPOSITORY": str(REPOSITORY),
            "DATABASE_URL": f"sqlite:///{folder}/quarry.db",
            "UPLOAD_DIR": str(folder / "uploads"),
            "RESULTS_DIR": str(folder / "results"),
        }
        command = [sys.executable, "-m", "orchestrator.api"]
        processes.append(subprocess.Popen(command, env=environment | settings, cwd=Path(__file__).parents[1]))
        address = f"http://127.0.0.1:{port}"
        _await(address, processes[-1])
        return address

    yield start
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(30)


@pytest.fixture(scope="module")
def api(start_api: Start) -> str:
    """The address of a ready API."""
    return start_api()


def _await(address: str, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(300):
        assert process.poll() is None, "the API ended by itself"
        try:
            if httpx2.get(f"{address}/health/live", timeout=2).is_success:
                return
        except httpx2.TransportError:
            time.sleep(0.1)
    raise AssertionError("the API did not start")
