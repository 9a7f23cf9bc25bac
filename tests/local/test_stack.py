"""The whole local stack as a person starts it, with a stand-in for the API."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil
import pytest

from orchestrator.local import stack, triton
from orchestrator.local.__main__ import parse
from orchestrator.local.supervisor import Supervisor
from tests.local import models, standin
from tests.local.processes import eventually, gone

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    models.write_encoder(folder, "small")
    return folder


@pytest.fixture
def environment(repository: Path) -> dict[str, str]:
    """Nothing of the project's from this shell, and no `.env`: the stack runs elsewhere."""
    own = {"MODEL_REPOSITORY": str(repository), "DEFAULT_MODEL": "small", "PYTHONPATH": str(ROOT)}
    others = {*standin.HANDED_OVER} - {*own}
    return {k: v for k, v in os.environ.items() if k not in others} | own


@pytest.fixture
def without_triton(environment: dict[str, str]) -> dict[str, str]:
    """For what does not depend on Triton: it starts in no time."""
    return environment | {"TRITON_URL": "elsewhere:8001"}


def start(data_dir: Path, environment: dict[str, str], *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, standin.__file__, "--data-dir", data_dir, "--port", "0", *more],
        cwd="/",
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def announced(data_dir: Path) -> int | None:
    """The process id of the stack that says it is ready."""
    path = data_dir / "run.json"
    return json.loads(path.read_text())["pid"] if path.exists() else None


class Running:
    """A ready stack, and every process and shared memory file of it."""

    def __init__(self, data_dir: Path, top: subprocess.Popen[str]) -> None:
        self.top = top
        self.data_dir = data_dir
        self.addresses = json.loads((data_dir / "run.json").read_text())
        self.processes = psutil.Process(top.pid).children(recursive=True)
        self.part, _ = triton.part(Path("unused"), data_dir)

    def named(self, name: str) -> psutil.Process:
        """The process of that name; for "tether", Triton's."""
        if name == "tether":
            ids = [self.named("tritonserver").ppid()]
        else:
            ids = [process.pid for process in self.processes if process.name() == name]
        return psutil.Process(*ids)

    def shared_memory(self) -> list[Path]:
        [pattern] = self.part.litter
        return list(Path("/").glob(pattern.lstrip("/")))

    def nothing_is_left(self) -> bool:
        socket_file = self.data_dir / "redis" / "redis.sock"
        return (
            gone([psutil.Process(self.top.pid)] if self.top.poll() is None else [])
            and gone(self.processes)
            and eventually(lambda: not self.shared_memory() and not socket_file.exists())
        )


@contextmanager
def running(data_dir: Path, environment: dict[str, str], *more: str) -> Iterator[Running]:
    with start(data_dir, environment, *more) as top:
        try:
            assert eventually(lambda: announced(data_dir) == top.pid, within=30)
            yield Running(data_dir, top)
        finally:
            top.terminate()


def test_it_hands_its_addresses_to_the_api_and_announces_them(
    tmp_path: Path, environment: dict[str, str], repository: Path
) -> None:
    with running(tmp_path, environment) as up:
        assert up.shared_memory()
        given = httpx2.get(up.addresses["api"]).json()
        assert given["TRITON_URL"] == up.addresses["triton"]["grpc"]
        assert given["REDIS_URL"] == up.addresses["redis"]
        assert given["DATABASE_URL"] == f"sqlite:///{tmp_path}/quarry.db"
        assert given["UPLOAD_DIR"] == f"{tmp_path}/uploads"
        assert given["RESULTS_DIR"] == f"{tmp_path}/results"
        assert given["MODEL_REPOSITORY"] == str(repository)
        assert given["HOST"] == "127.0.0.1"
        assert up.addresses["api"].endswith(given["PORT"])
        up.top.send_signal(signal.SIGINT)
        time.sleep(0.3)
        up.top.send_signal(signal.SIGINT)  # impatience changes nothing
        shown, _ = up.top.communicate(timeout=30)
        assert up.top.returncode == 0
        assert up.nothing_is_left()
        assert not (tmp_path / "run.json").exists()
    assert f"{up.addresses['api']}/docs" in shown
    assert "   api │ answered /health/ready" in shown
    assert "\x1b[" not in shown  # no colours where there is no terminal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["term", "hangup"])
def test_a_signal_stops_it_in_order(number: signal.Signals, tmp_path: Path, without_triton: dict[str, str]) -> None:
    with running(tmp_path, without_triton, "--quiet") as up:
        up.top.send_signal(number)
        assert up.top.wait(30) == 0
        assert up.nothing_is_left()


@pytest.mark.parametrize("victim", ["tritonserver", "tether"])
def test_the_death_of_a_part_stops_it_with_a_reason(victim: str, tmp_path: Path, environment: dict[str, str]) -> None:
    with running(tmp_path, environment, "--quiet") as up:
        up.named(victim).kill()
        shown, _ = up.top.communicate(timeout=30)
        assert up.top.returncode == 1
        assert "triton ended by itself" in shown
        assert "killed by SIGKILL" in shown
        assert up.nothing_is_left()


def test_nothing_is_left_when_it_is_killed_and_it_starts_again(tmp_path: Path, environment: dict[str, str]) -> None:
    with running(tmp_path, environment, "--quiet") as up:
        up.top.kill()
        up.top.wait()
        with running(tmp_path, environment, "--quiet") as again:
            assert again.top.poll() is None  # it waited for what was left, and runs
            assert gone(up.processes, within=0)
            again.top.terminate()
            assert again.top.wait(30) == 0
            assert again.nothing_is_left()


def test_no_process_is_left_when_it_and_every_tether_are_killed_at_once(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    with running(tmp_path, environment, "--quiet") as up:
        for process in [psutil.Process(up.top.pid), *psutil.Process(up.top.pid).children()]:
            process.kill()
        assert gone(up.processes)


def test_a_second_stack_on_the_same_data_is_refused(tmp_path: Path, without_triton: dict[str, str]) -> None:
    with running(tmp_path, without_triton, "--quiet") as up:
        with start(tmp_path, without_triton) as second:
            shown, _ = second.communicate(timeout=10)
        assert second.returncode == 1
        assert f"(process {up.top.pid})" in shown
        assert up.top.poll() is None


def test_a_data_directory_that_cannot_be_written_is_told(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "file").touch()
    with start(tmp_path / "file" / "data", environment) as top:
        shown, _ = top.communicate(timeout=10)
    assert top.returncode == 1
    assert "cannot be written" in shown


def test_a_taken_port_is_told_before_anything_starts(tmp_path: Path, environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with start(tmp_path, environment, "--port", port) as top:
            shown, _ = top.communicate(timeout=10)
    assert top.returncode == 1
    assert f"Port {port} of 127.0.0.1 is taken" in shown
    assert not (tmp_path / "logs").exists()


def test_a_model_that_is_not_there_is_told_with_what_makes_it(tmp_path: Path, environment: dict[str, str]) -> None:
    with start(tmp_path, environment | {"DEFAULT_MODEL": "vit_b"}) as top:
        shown, _ = top.communicate(timeout=10)
    assert top.returncode == 1
    assert "python -m export vit_b" in shown


@pytest.mark.parametrize(
    ("given", "engine"),
    [
        ({}, "OpenVINO, f32"),
        ({"CPU_ENGINE": "onnxruntime"}, "CPUExecutionProvider"),
        ({"cpu_engine": "onnxruntime"}, "CPUExecutionProvider"),
    ],
    ids=["nothing", "capitals", "small letters"],
)
def test_triton_runs_on_the_engine_that_is_named(
    given: dict[str, str], engine: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    with running(tmp_path, environment | given, "--quiet"):
        assert f"runs on {engine}" in (tmp_path / "logs" / "triton.log").read_text()


@pytest.mark.parametrize("triton_url", [{}, {"TRITON_URL": ""}], ids=["its own Triton", "no Triton"])
def test_an_engine_that_is_not_installed_is_told_before_anything_starts(
    triton_url: dict[str, str], tmp_path: Path, environment: dict[str, str]
) -> None:
    without = tmp_path / "without"
    without.mkdir()
    (without / "openvino.py").write_text("raise ImportError('not installed')")
    given = {"CPU_ENGINE": "openvino", "PYTHONPATH": f"{without}:{ROOT}"}
    with start(tmp_path / "data", environment | given | triton_url) as top:
        shown, _ = top.communicate(timeout=20)
    assert top.returncode == 1
    assert "pip install 'image-quarry[openvino]'" in shown
    assert "Starting" not in shown


def test_servers_that_the_environment_names_are_not_started(tmp_path: Path, environment: dict[str, str]) -> None:
    named = {"TRITON_URL": "triton:8001", "REDIS_URL": "redis://r", "DATABASE_URL": "postgresql://"}
    with running(tmp_path, environment | named, "--quiet") as up:
        given = httpx2.get(up.addresses["api"]).json()
        assert {name: given[name] for name in named} == named
        assert up.addresses["triton"] is None
        assert up.addresses["redis"] is None
        assert {p.name() for p in up.processes}.isdisjoint({"tritonserver", "redis-server"})


def test_without_a_triton_for_this_platform_the_api_encodes_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    environment = {"MODEL_REPOSITORY": str(tmp_path), "DEFAULT_MODEL": "small"}
    monkeypatch.setattr(triton, "unavailable", lambda: "there is no wheel for it")
    with Supervisor(tmp_path) as supervisor:
        assert stack.start_triton(supervisor, environment, tmp_path, said.append) is None
    assert environment["TRITON_URL"] == ""
    assert said == ["No Triton: there is no wheel for it. The API encodes pictures itself."]


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),  # noqa: S104 - a name for the test, nothing listens
        ("::", "http://[::1]:80"),
    ],
)
def test_the_address_shown_is_one_that_this_machine_can_open(host: str, url: str) -> None:
    assert stack.local_url(host, 80) == url


@pytest.mark.parametrize("wrong", [["--port", "99999"], ["--port", "-1"], ["--data-dir", ""]])
def test_arguments_that_make_no_sense_are_refused_at_once(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(wrong)
    assert wrong[0] in capsys.readouterr().err
