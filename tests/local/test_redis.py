"""The local Redis: a real server on a Unix socket."""

import socket
import tempfile
from pathlib import Path

import psutil
import pytest

from orchestrator.local import redis
from orchestrator.local.process import PartFailed
from tests.local.servers import running_redis


def ask(url: str, *words: str) -> str:
    """The first bytes of the answer to one command."""
    parts = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(url.removeprefix("unix://"))
        client.sendall(f"*{len(words)}\r\n{parts}".encode())
        return client.recv(1000).decode()


def test_it_answers_on_a_private_socket_and_on_no_port(tmp_path: Path) -> None:
    with running_redis(tmp_path) as url:
        path = Path(url.removeprefix("unix://"))
        assert ask(url, "PING") == "+PONG\r\n"
        assert path.stat().st_mode & 0o077 == 0
        children = psutil.Process().children(recursive=True)
        [server] = [child for child in children if f"unixsocket:{path}" in " ".join(child.cmdline())]
        assert server.net_connections("inet") == []
    assert not path.exists()


def test_it_never_evicts_what_is_queued(tmp_path: Path) -> None:
    with running_redis(tmp_path) as url:
        assert "noeviction" in ask(url, "CONFIG", "GET", "maxmemory-policy")


def test_what_it_holds_survives_a_restart(tmp_path: Path) -> None:
    with running_redis(tmp_path) as url:
        assert ask(url, "SET", "job", "7") == "+OK\r\n"
    with running_redis(tmp_path) as url:
        assert ask(url, "GET", "job") == "$1\r\n7\r\n"


def test_a_data_directory_with_a_long_path_gets_a_shorter_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with running_redis(tmp_path / ("long" * 30)) as url:
        assert len(url.removeprefix("unix://")) <= redis.SOCKET_PATH_BYTES
        assert ask(url, "PING") == "+PONG\r\n"
    assert not Path(url.removeprefix("unix://")).exists()


def test_a_short_folder_that_others_can_enter_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    redis.private_folder().chmod(0o755)
    with pytest.raises(PermissionError, match="this user alone"):
        redis.private_folder()


def test_damaged_files_are_told_with_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "redis"
    folder.mkdir()
    (folder / "appendonly.aof").write_text("not a log of commands\n" * 9)
    with pytest.raises(PartFailed, match="move that folder away"), running_redis(tmp_path):
        pass
