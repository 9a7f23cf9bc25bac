"""What the person at the terminal sees of the stack."""

import os
import pty
import subprocess
import sys

import pytest

SHOW = "from orchestrator.local.console import Screen; Screen().echo('api', 'a [line]')"


def on_terminal(environment: dict[str, str]) -> str:
    ours, theirs = pty.openpty()
    plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    given = plain | {"TERM": "xterm"} | environment
    subprocess.run([sys.executable, "-c", SHOW], stdout=theirs, env=given, check=True, timeout=30)
    os.close(theirs)
    with os.fdopen(ours, "rb") as terminal:
        return terminal.read1(1000).decode()


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_lines_are_coloured_on_a_terminal_unless_asked_not_to(environment: dict[str, str], coloured: bool) -> None:
    shown = on_terminal(environment)
    assert ("\x1b[36m" in shown) == coloured
    assert "a [line]" in shown


def test_a_pipe_gets_plain_whole_lines() -> None:
    long = "x" * 500
    code = SHOW.replace("a [line]", long)
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == f"   api │ {long}\n"


def test_a_reader_that_has_gone_stops_nobody() -> None:
    code = f"{SHOW}\nfor n in range(2000): Screen().say('line')\nimport os; os._exit(7)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as shown:
        assert shown.stdout
        shown.stdout.close()
        assert shown.wait(30) == 7
