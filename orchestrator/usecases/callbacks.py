"""Telling callers that their jobs have ended."""

import hashlib
import hmac
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

from orchestrator.domain.errors import InvalidCallback, QuarryError
from orchestrator.domain.job import Job
from orchestrator.usecases.jobs import Clock, now
from orchestrator.usecases.ports.state import JobRows, Notifier

log = logging.getLogger(__name__)

SIGNATURE, TIMESTAMP = "X-Quarry-Signature", "X-Quarry-Timestamp"
MOST_TRIES = 8
FIRST_BACKOFF = timedelta(seconds=5)
AT_ONCE = 20


class Callbacks:
    """At least once each: a try that got through may be repeated if this process ends before that is written down."""

    def __init__(self, rows: JobRows, notifier: Notifier, secret: str, clock: Clock = now) -> None:
        self._rows = rows
        self._notifier = notifier
        self._secret = secret.encode()
        self._clock = clock

    def must_be_accepted(self, url: str | None) -> None:
        """Raises `InvalidCallback`."""
        if url is None:
            return
        if not self._secret:
            raise InvalidCallback("This service sends no callbacks: its CALLBACK_SECRET, which signs them, is not set.")
        self._notifier.check(url)

    def deliver(self) -> None:
        """One try of each that is due. Raises `Unavailable` if the database is away."""
        due = self._rows.callbacks(self._clock(), AT_ONCE)
        if due:
            # Side by side: one that does not answer holds up no other.
            with ThreadPoolExecutor(len(due), "callback") as threads:
                list(threads.map(self._deliver, due))

    def _deliver(self, job: Job) -> None:
        again = self._clock() + FIRST_BACKOFF * 2**job.callback_tries
        # Claimed before it is sent, so that two who deliver do not both send it.
        if self._rows.postpone_callback(job, again if job.callback_tries + 1 < MOST_TRIES else None):
            self._try(job)

    def _try(self, job: Job) -> None:
        stamp = str(int(self._clock().timestamp()))
        body = json.dumps(told(job)).encode()
        headers = {TIMESTAMP: stamp, SIGNATURE: signature(self._secret, stamp, body)}
        try:
            self._notifier.post(job.callback_url or "", body, headers)
        except InvalidCallback as exc:
            log.warning("job %s: its callback is given up: %s", job.id, exc.detail)
        except QuarryError as exc:
            log.info("job %s: try %d of its callback: %s", job.id, job.callback_tries + 1, exc.detail)
            return
        self._rows.postpone_callback(replace(job, callback_tries=job.callback_tries + 1), None)


def told(job: Job) -> dict[str, object]:
    """What a callback says."""
    error = {"error": job.error, "detail": job.detail} if job.error else None
    return {"job_id": job.id, "status": job.status, "progress": job.progress, "error": error}


def signature(secret: bytes, stamp: str, body: bytes) -> str:
    """HMAC-SHA256 in hex of `<timestamp>.<body>`: whoever checks it also bounds the timestamp's age."""
    return hmac.new(secret, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
