"""Runs one command so that nothing of it outlives the process that asked for it.

Started by `orchestrator.local.process` in a session of its own, as a script that needs nothing but
the standard library: `tether.py '{"grace": 10, "litter": [], "hold": []}' COMMAND…`. Its standard
input is the lifeline: a pipe whose other end only the starter holds, so that it ends however the
starter ends, `kill -9` included.

- The lifeline ends, or SIGTERM comes: the command gets SIGTERM, and SIGKILL after `grace` seconds.
- The command ends: whatever it started and left behind is killed. Those orphans, even in sessions
  of their own, become this process's children, because it is their "child subreaper" (Linux).
- This process is killed itself: the kernel kills the command (its "parent death signal", Linux; set
  from the only thread there is, since that signal follows the thread), and the starter kills the
  rest of the process group.
- Then the files the command may leave behind (`litter`, glob patterns) are removed. Until then the
  file descriptors in `hold` (the data directory's lock) stay open.

If starter and tether are killed in the same moment, the kernel still kills the command; what that one
started has to notice by itself (Triton's stubs do), and the next start removes the litter. Where
`prctl` is missing (macOS) the same goes for a killed tether alone, and orphans in sessions of their
own are out of reach. A starter that forks without exec hands the lifeline on to the fork.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def prctl(option: int, value: int) -> bool:
    """False where the system has no such call."""
    try:
        return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)
    except (AttributeError, OSError):
        return False


def spawn(command: list[str]) -> int:
    """The process id of `command`, which the kernel kills when this process dies."""
    tether = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != tether:  # it died before the line above took effect
            os._exit(1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would keep that
        os.execvp(command[0], command)  # noqa: S606 - an argument list of ours, no shell
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    os._exit(127)


def reap(child: int) -> int | None:
    """Collects every ended child; the exit status of `child`, as a shell would show it."""
    status = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, how = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(how)
                status = code if code >= 0 else 128 - code
    return status


def listen() -> int:
    """A file descriptor that yields the number of each signal that comes from now on."""
    events, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (*STOP_SIGNALS, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    return events


def wait(child: int, events: int, grace: float) -> int:
    """Waits until `child` has ended, by itself or because it was told to."""
    watched = [sys.stdin.fileno(), events]
    deadline: float | None = None
    while (status := reap(child)) is None:
        bound = None if deadline is None else max(0.0, deadline - time.monotonic())
        readable = select.select(watched, [], [], bound)[0]
        told = os.read(events, 512) if events in readable else b""
        if sys.stdin.fileno() in readable or any(number in STOP_SIGNALS for number in told):
            watched = [events]
            if deadline is None:
                deadline = time.monotonic() + grace
                os.kill(child, signal.SIGTERM)
        elif deadline is not None and time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
            deadline = time.monotonic() + grace
    return status


def kill_orphans() -> None:
    """Kills and collects what the command left behind; each death may hand over more orphans."""
    listing = Path(f"/proc/self/task/{os.getpid()}/children")
    with contextlib.suppress(FileNotFoundError, ChildProcessError):
        while True:
            for pid in listing.read_text().split():
                os.kill(int(pid), signal.SIGKILL)
            os.waitpid(-1, 0)


def sweep(patterns: Sequence[str]) -> None:
    """Removes the files that match."""
    for pattern in patterns:
        for path in Path("/").glob(pattern.lstrip("/")):
            with contextlib.suppress(OSError):
                path.unlink()


def main() -> int:
    orders = json.loads(sys.argv[1])
    for descriptor in orders["hold"]:
        os.set_inheritable(descriptor, False)
    events = listen()
    adopts = prctl(PR_SET_CHILD_SUBREAPER, 1)
    status = wait(spawn(sys.argv[2:]), events, orders["grace"])
    kill_orphans()
    sweep(orders["litter"])
    if not adopts and select.select([sys.stdin], [], [], 0)[0]:
        os.killpg(0, signal.SIGKILL)  # no starter left to do it, and no other way to find orphans
    return status


if __name__ == "__main__":
    sys.exit(main())
