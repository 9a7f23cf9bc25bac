"""Callbacks: signed, tried again, and never to where they must not go."""

import hashlib
import hmac
import http.server
import json
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from orchestrator.adapters.http_notifier import HttpNotifier
from orchestrator.adapters.job_rows import SqlJobRows
from orchestrator.domain.errors import InvalidCallback, Unavailable
from orchestrator.domain.job import Status
from orchestrator.usecases.callbacks import MOST_TRIES, SIGNATURE, TIMESTAMP, Callbacks
from tests.jobs import NOON, job


class Listener(http.server.BaseHTTPRequestHandler):
    """Refuses as often as it is told to, then accepts."""

    refusals = 0
    heard: list[tuple[dict[str, str], bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind = type(self)
        kind.heard.append((dict(self.headers), body))
        refused = kind.refusals > 0
        kind.refusals -= 1
        self.send_response(302 if refused else 204)
        self.send_header("Location", "http://127.0.0.1:1/")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def listener() -> Iterator[tuple[type[Listener], str]]:
    kind = type("Own", (Listener,), {"heard": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield kind, f"http://127.0.0.1:{server.server_address[1]}/hook?a=1"
        server.shutdown()


ALLOWED = HttpNotifier(["127.0.0.0/8"])


def test_a_callback_is_signed_and_sent_once(rows: SqlJobRows, listener: tuple[type[Listener], str]) -> None:
    kind, url = listener
    done = job(status=Status.succeeded, progress=100.0, callback_url=url, callback_due_at=NOON)
    rows.add([done], None)
    callbacks = Callbacks(rows, ALLOWED, "secret", lambda: NOON)
    callbacks.deliver()
    callbacks.deliver()
    ((headers, body),) = kind.heard
    assert json.loads(body) == {"job_id": done.id, "status": "succeeded", "progress": 100.0, "error": None}
    signed = headers[TIMESTAMP].encode() + b"." + body
    assert headers[SIGNATURE] == hmac.new(b"secret", signed, hashlib.sha256).hexdigest()
    assert headers["Host"] in url


def test_a_refusal_and_a_redirection_are_tried_again_later_and_not_for_ever(
    rows: SqlJobRows, listener: tuple[type[Listener], str]
) -> None:
    kind, url = listener
    kind.refusals = 100
    rows.add([job(status=Status.failed, callback_url=url, callback_due_at=NOON)], None)
    at = [NOON]
    callbacks = Callbacks(rows, ALLOWED, "secret", lambda: at[0])
    callbacks.deliver()
    callbacks.deliver()
    assert len(kind.heard) == 1
    for _ in range(20):
        at[0] += timedelta(hours=1)
        callbacks.deliver()
    assert len(kind.heard) == MOST_TRIES


PRIVATE = [
    *("http://127.0.0.1/", "http://localhost/", "http://10.1.2.3/", "http://169.254.169.254/latest"),
    *("http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://0.0.0.0/", "http://192.168.0.1:8080/"),
]


@pytest.mark.parametrize("url", PRIVATE)
def test_nothing_is_sent_to_a_private_address(rows: SqlJobRows, url: str) -> None:
    notifier = HttpNotifier([])
    with pytest.raises(InvalidCallback, match="private"):
        notifier.check(url)
    with pytest.raises(InvalidCallback, match="private"):
        notifier.post(url, b"", {})
    rows.add([job(status=Status.failed, callback_url=url, callback_due_at=NOON)], None)
    Callbacks(rows, notifier, "secret", lambda: NOON).deliver()
    assert rows.callbacks(NOON + timedelta(days=9), 5) == []


def test_an_allow_list_names_hosts_and_networks(listener: tuple[type[Listener], str]) -> None:
    _, url = listener
    HttpNotifier(["localhost"]).post(url.replace("127.0.0.1", "localhost"), b"", {})
    with pytest.raises(InvalidCallback):
        HttpNotifier(["localhost"]).post(url, b"", {})


@pytest.mark.parametrize("url", ["ftp://example.org", "example.org", "http://u:p@example.org", "http://[", "https://"])
def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidCallback):
        HttpNotifier([]).check(url)


def test_a_host_that_does_not_answer_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        ALLOWED.post("http://127.0.0.1:1/", b"", {})


def test_without_a_secret_callbacks_are_refused(rows: SqlJobRows) -> None:
    callbacks = Callbacks(rows, ALLOWED, "")
    callbacks.must_be_accepted(None)
    with pytest.raises(InvalidCallback, match="CALLBACK_SECRET"):
        callbacks.must_be_accepted("https://example.org")
