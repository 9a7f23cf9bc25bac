"""Ports and answers on this machine."""

import socket
from contextlib import ExitStack

import httpx2


def free_ports(count: int, host: str) -> list[int]:
    """Different free TCP ports of `host`; nothing keeps them free until they are used."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(family(host))) for _ in range(count)]
        for listener in sockets:
            listener.bind((host, 0))
        return [int(listener.getsockname()[1]) for listener in sockets]


def is_free(host: str, port: int) -> bool:
    with socket.socket(family(host)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError:
            return False
    return True


def answers(url: str) -> bool:
    """Whether a GET of `url` is answered with 200."""
    try:
        return httpx2.get(url, timeout=2, trust_env=False).status_code == httpx2.codes.OK
    except httpx2.HTTPError:
        return False


def family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
