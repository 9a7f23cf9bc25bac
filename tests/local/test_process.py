"""Parts as processes: readiness, failure, and that nothing of them is left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from orchestrator.local import process
from orchestrator.local.process import Part, PartFailed, describe
from orchestrator.local.supervisor import Halted, Supervisor
from tests.local.processes import Family, eventually, gone

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)"


def python(code: str, ready: Callable[[], bool] = lambda: True, grace: float = 10) -> Part:
    command = [sys.executable, "-c", code]
    return Part("part", command, ready, advice="Mend it.", patience=10, grace=grace)


def shows(log: Path, words: str) -> bool:
    return log.exists() and words in log.read_text()


def test_a_part_that_ends_while_starting_shows_its_last_lines_and_the_advice(
    tmp_path: Path,
) -> None:
    part = python("print('no such thing'); raise SystemExit(3)", ready=lambda: False)
    with Supervisor(tmp_path) as supervisor, pytest.raises(PartFailed) as failure:
        supervisor.start(part)
    assert "exit status 3" in str(failure.value)
    assert "no such thing" in str(failure.value)
    assert "Mend it." in str(failure.value)
    assert (tmp_path / "part.log").read_text() == "no such thing\n"


def test_a_part_that_is_never_ready_fails_within_its_patience(tmp_path: Path, family: Family) -> None:
    part = Part("slow", ["sleep", "1000"], ready=lambda: False, patience=1)
    with (
        Supervisor(tmp_path) as supervisor,
        pytest.raises(PartFailed, match="not ready after 1 s"),
    ):
        supervisor.start(part)
    assert gone(family())


def test_a_command_that_is_not_there_says_so(tmp_path: Path) -> None:
    part = Part("ghost", ["/no/such/command"], ready=lambda: False)
    with (
        Supervisor(tmp_path) as supervisor,
        pytest.raises(PartFailed, match="No such file or directory"),
    ):
        supervisor.start(part)


def test_waiting_ends_when_a_part_dies_and_names_the_signal(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(python("import os, time; time.sleep(0.3); os.kill(os.getpid(), 9)"))
        with pytest.raises(PartFailed, match="killed by SIGKILL"):
            supervisor.wait()


def test_a_part_that_dies_while_the_next_one_starts_is_noticed_at_once(tmp_path: Path) -> None:
    begun = time.monotonic()
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(Part("first", ["sleep", "0.5"], lambda: True))
        with pytest.raises(PartFailed, match="first ended by itself"):
            supervisor.start(Part("second", ["sleep", "1000"], lambda: False))
    assert time.monotonic() - begun < 10


def test_halting_ends_a_start_that_waits(tmp_path: Path, family: Family) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.halt()
        with pytest.raises(Halted):
            supervisor.start(python(STUBBORN, ready=lambda: False, grace=0.2))
        supervisor.wait()
    assert gone(family())


def test_parts_are_stopped_in_the_reverse_order(tmp_path: Path) -> None:
    order = tmp_path / "order"
    code = (
        "import signal, sys, time\n"
        f"end = lambda *_: (open({str(order)!r}, 'a').write(sys.argv[1]), sys.exit(0))\n"
        "signal.signal(signal.SIGTERM, end); print('listening', flush=True); time.sleep(1000)"
    )
    with Supervisor(tmp_path) as supervisor:
        for name in "abc":
            log = tmp_path / f"{name}.log"
            command = [sys.executable, "-c", code, name]
            supervisor.start(Part(name, command, partial(shows, log, "listening")))
    assert order.read_text() == "cba"


def test_a_part_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path, family: Family) -> None:
    log = tmp_path / "part.log"
    code = STUBBORN.replace("time.sleep", "print('deaf', flush=True); time.sleep")
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(python(code, ready=lambda: shows(log, "deaf"), grace=0.5))
        processes = family()
        begun = time.monotonic()
    assert 0.4 < time.monotonic() - begun < 5
    assert gone(processes, within=0)


GRANDCHILD = "import subprocess, time; subprocess.Popen(['sleep', '1000'], start_new_session=True)"


@pytest.mark.parametrize("ending", ["", "; time.sleep(1000)"], ids=["ended", "running"])
def test_what_a_part_started_in_a_session_of_its_own_ends_with_it(ending: str, tmp_path: Path, family: Family) -> None:
    found: list[psutil.Process] = []

    def ready() -> bool:
        found.extend(p for p in psutil.process_iter() if p.name() == "sleep" and p in family())
        return bool(found) or not ending

    with Supervisor(tmp_path) as supervisor:
        supervisor.start(python(GRANDCHILD + ending, ready))
    assert gone(found or family(), within=0)


def test_a_part_whose_tether_is_killed_dies_with_it(tmp_path: Path, family: Family) -> None:
    with Supervisor(tmp_path) as supervisor:
        child = "import subprocess, time; subprocess.Popen(['sleep', '1000']); time.sleep(1000)"
        supervisor.start(python(child, ready=lambda: len(family()) == 3))
        processes = family()
        processes[0].kill()
        with pytest.raises(PartFailed, match="tether was killed by SIGKILL"):
            supervisor.wait()
        assert gone(processes, within=1)


def test_what_it_leaves_behind_is_removed_however_it_ends(tmp_path: Path) -> None:
    left = tmp_path / "left-1"
    part = Part(
        "messy",
        [sys.executable, "-c", f"open({str(left)!r}, 'w'); import time; time.sleep(1000)"],
        ready=left.exists,
        litter=[f"{tmp_path}/left-*"],
    )
    with Supervisor(tmp_path / "logs") as supervisor:
        supervisor.start(part)
    assert not left.exists()


TOP = """
import os, signal, sys
from pathlib import Path
from orchestrator.local.process import Part
from orchestrator.local.supervisor import Supervisor
code = "import subprocess, time; subprocess.Popen(['sleep', '1000']); time.sleep(1000)"
with Supervisor(Path(sys.argv[1])) as supervisor:
    supervisor.start(Part("one", [sys.executable, "-c", code], lambda: True, grace=1))
    supervisor.start(Part("two", [sys.executable, "-c", sys.argv[2]], lambda: True, grace=1))
    supervisor.wait()
"""


def test_nothing_is_left_when_the_top_process_is_killed(tmp_path: Path, family: Family) -> None:
    command = [sys.executable, "-c", TOP, str(tmp_path), STUBBORN]
    with subprocess.Popen(command) as top:
        assert eventually(lambda: len(family()) == 6)  # the top, two tethers, two parts, a sleep
        processes = family()
        os.kill(top.pid, signal.SIGKILL)
        assert gone(processes, within=5)


def test_a_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LOG_BYTES", 1000)
    with Supervisor(tmp_path) as supervisor, pytest.raises(PartFailed):
        supervisor.start(python("for n in range(500): print('line', n)", ready=lambda: False))
    assert (tmp_path / "part.log").stat().st_size <= 1000
    assert (tmp_path / "part.log.1").stat().st_size <= 1000
    assert (tmp_path / "part.log").read_text().endswith("line 499\n")


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "exit status 0"), (143, "killed by SIGTERM"), (-9, "its tether was killed by SIGKILL")],
)
def test_an_exit_status_is_told_in_words(status: int, words: str) -> None:
    assert describe(status) == words
