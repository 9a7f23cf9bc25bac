"""Callbacks over HTTP, to public addresses alone."""

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import httpx2

from orchestrator.domain.errors import InvalidCallback, Unavailable

SECONDS = 10.0

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class HttpNotifier:
    """`allowed`: host names, addresses and networks (10.0.0.0/8) that are accepted although they are private.

    The address that was checked is the one that is spoken to: a name that resolves differently a moment later changes
    nothing. Redirections are not followed.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        self._names = {entry.lower() for entry in allowed}
        self._networks = [network for entry in allowed if (network := _network(entry))]
        self._client = httpx2.Client(timeout=SECONDS, trust_env=False, follow_redirects=False)

    def check(self, url: str) -> None:
        host, _ = _parts(url)
        literal = _address(host)
        if host.lower() == "localhost" or literal:
            self._must_be_public(host, literal or ipaddress.ip_address("127.0.0.1"))

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        host, port = _parts(url)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as exc:
            raise Unavailable(f"{host} cannot be found.") from exc
        address = ipaddress.ip_address(found[0][4][0])
        self._must_be_public(host, address)
        target = httpx2.URL(url)
        sent = {**headers, "Host": target.netloc.decode(), "Content-Type": "application/json"}
        request = self._client.build_request(
            "POST", target.copy_with(host=str(address)), content=body, headers=sent, extensions={"sni_hostname": host}
        )
        try:
            # What it answers is of no interest: only the head is read.
            answer = self._client.send(request, stream=True)
            answer.close()
        except httpx2.HTTPError as exc:
            raise Unavailable(f"{host} does not answer: {exc}.") from exc
        if not answer.is_success:
            raise Unavailable(f"{host} answered {answer.status_code}.")

    def _must_be_public(self, host: str, address: Address) -> None:
        mapped = getattr(address, "ipv4_mapped", None) or address
        if mapped.is_global and not mapped.is_multicast:
            return
        if host.lower() in self._names or any(mapped in network for network in self._networks):
            return
        raise InvalidCallback(f"{host} is a private address; the service's CALLBACK_ALLOW does not name it.")


def _parts(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise InvalidCallback(f"callback_url is no web address: {exc}.") from exc
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidCallback("callback_url is an address that starts with https:// or http://.")
    if parts.username or parts.password:
        raise InvalidCallback("callback_url has no user or password in it.")
    return host, port or (443 if parts.scheme == "https" else 80)


def _address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None
