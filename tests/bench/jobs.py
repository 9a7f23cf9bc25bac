"""`python -m tests.bench.jobs`: two workers against one, the API meanwhile, and how soon a submission is answered."""

import argparse
import http.client
import json
import os
import secrets
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import numpy as np
from rich.console import Console
from rich.table import Table

from tests.pictures import draw, encoded
from tests.worker.cluster import ENDED, Cluster, running

SMALL = (240, 320)
FIELDS = {"operation": "auto", "points_per_side": "12"}
LIVE_PAUSE = 0.1
console = Console()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.jobs", description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--part", choices=["throughput", "submit", "bound"], action="append")
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--output", type=Path, default=Path("bench-output"))
    chosen = parser.parse_args(arguments)
    parts = chosen.part or ["throughput", "submit", "bound"]
    figures: dict[str, object] = {"database": chosen.database}
    if "throughput" in parts:
        figures["throughput"] = throughput(chosen.database, chosen.pictures, chosen.rounds)
    if "submit" in parts:
        figures["submit"] = submit(chosen.database, chosen.seconds)
    if "bound" in parts:
        figures["bound"] = bound(chosen.database)
    chosen.output.mkdir(exist_ok=True)
    (chosen.output / "jobs.json").write_text(json.dumps(figures, indent=2))


def throughput(database: str, count: int, rounds: int) -> dict[str, object]:
    """One batch of small pictures, by one worker of one thread and by two, in turn."""
    table = Table("workers", "pictures a second", "/health/live median", "p99", "largest")
    rates: dict[int, list[float]] = {1: [], 2: []}
    live: list[float] = []
    for turn in range(rounds):
        for workers in (1, 2):
            with cluster(database, JOB_WORKERS=str(workers), JOB_THREADS="1") as service, watched(service) as times:
                rate = batch(service, [encoded(draw(*SMALL, 1000 * turn + seed)) for seed in range(count)])
            rates[workers].append(rate)
            live += times
            table.add_row(str(workers), f"{rate:.2f}", *milliseconds(times))
    console.print(table)
    ratio = statistics.median(rates[2]) / statistics.median(rates[1])
    console.print(
        f"{database}: two workers do {ratio:.2f} times the work of one; /health/live took {max(live):.3f} s at most"
    )
    return {"rates": rates, "ratio": ratio, "live_p99": quantile(live, 0.99), "live_max": max(live)}


def batch(service: Cluster, pictures: list[bytes]) -> float:
    """Pictures a second, from the first child's start to the last one's end."""
    files = [("images", (f"{index}.png", data)) for index, data in enumerate(pictures)]
    answer = httpx2.post(f"{service.api}/segment/batch", files=files, data=FIELDS, timeout=120)
    job_id = answer.json()["job_id"]
    while service.get(f"/jobs/{job_id}/status")["status"] not in ENDED:
        time.sleep(0.5)
    details = service.get(f"/jobs/{job_id}")
    assert details["counts"] == {"succeeded": len(pictures)}, details["counts"]
    children = service.get(f"/jobs/?children=true&kind=auto&limit={len(pictures)}")["jobs"]
    started, ended = min(child["started_at"] for child in children), max(child["ended_at"] for child in children)
    return len(pictures) / (seconds(ended) - seconds(started))


def submit(database: str, length: float, a_second: int = 20) -> dict[str, object]:
    """2 MB pictures in an open loop: latency counts from when each was to be sent, not from when it was.

    Workers and Triton have the last core for themselves, the API and this process the others.
    """
    with cluster(database, JOB_WORKERS="1", JOB_THREADS="1", JOB_QUEUE_MAX="100000") as service:
        separate(service)
        picture, work = two_megabytes(), ThreadPoolExecutor(64)
        for _ in range(5):
            post(service, picture, time.monotonic())
        start = time.monotonic() + 0.5
        due = [start + index / a_second for index in range(int(length * a_second))]
        answers = list(work.map(lambda at: post(service, picture, at), due))
    statuses, times = [status for status, _ in answers], [taken for _, taken in answers]
    assert set(statuses) == {202}, set(statuses)
    half = len(times) // 2
    table = Table("2 MB at 20 a second", "median", "p99", "largest")
    for name, part in (("first half", times[:half]), ("second half", times[half:]), ("all", times)):
        table.add_row(name, *milliseconds(part))
    console.print(f"{database}, {len(picture) / 1e6:.2f} MB each")
    console.print(table)
    return {"p50": quantile(times, 0.5), "p99": quantile(times, 0.99), "max": max(times), "count": len(times)}


def bound(database: str, most: int = 50) -> dict[str, object]:
    """More than the queue may hold: 429 with Retry-After, and no longer queue."""
    with cluster(database, JOB_WORKERS="1", JOB_THREADS="1", JOB_QUEUE_MAX=str(most)) as service:
        picture = two_megabytes()
        with ThreadPoolExecutor(16) as work:
            answers = list(work.map(lambda _: post(service, picture, time.monotonic()), range(4 * most)))
        statuses = {status: sum(1 for one, _ in answers if one == status) for status in {one for one, _ in answers}}
        waiting = service.get("/jobs/?limit=1")["counts"].get("queued", 0)
    console.print(f"{database}: a queue of {most} answered {statuses}; {waiting} waited at the end")
    assert waiting <= most
    assert set(statuses) == {202, 429}
    return {"statuses": statuses, "waiting": waiting}


def post(service: Cluster, picture: bytes, at: float) -> tuple[int, float]:
    """Status, and seconds since `at`. Each picture differs in what follows its end."""
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    body = head + picture + secrets.token_bytes(16) + b"\r\n--b--\r\n"
    time.sleep(max(0.0, at - time.monotonic()))
    address = urlsplit(service.api)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    connection.request("POST", "/segment/box/async", body, {"Content-Type": "multipart/form-data; boundary=b"})
    answer = connection.getresponse()
    answer.read()
    taken = time.monotonic() - at
    assert answer.status != 429 or int(answer.headers["Retry-After"]) > 0
    connection.close()
    return answer.status, taken


def two_megabytes() -> bytes:
    rng = np.random.default_rng(0)
    pixels = np.clip(draw(1200, 1600).astype(np.int16) + rng.normal(0, 40, (1200, 1600, 3)), 0, 255).astype(np.uint8)
    return next(data for quality in range(96, 20, -2) if len(data := encoded(pixels, "JPEG", quality=quality)) < 2.1e6)


def separate(service: Cluster) -> None:
    *others, last = sorted(os.sched_getaffinity(0))
    for name in service.processes:
        for process in service.children(name):
            process.cpu_affinity([last] if name in ("worker", "triton") else others)


@contextmanager
def cluster(database: str, **settings: str) -> Iterator[Cluster]:
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        running(Path(folder), database, **settings) as service,
    ):
        yield service


@contextmanager
def watched(service: Cluster) -> Iterator[list[float]]:
    """How long `/health/live` took, asked all the while."""
    times: list[float] = []
    stop = threading.Event()

    def ask() -> None:
        with httpx2.Client(base_url=service.api) as client:
            while not stop.wait(LIVE_PAUSE):
                started = time.perf_counter()
                client.get("/health/live", timeout=30)
                times.append(time.perf_counter() - started)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield times
    finally:
        stop.set()
        thread.join()


def milliseconds(times: Sequence[float]) -> tuple[str, str, str]:
    return tuple(f"{1000 * quantile(times, share):.0f} ms" for share in (0.5, 0.99, 1.0))  # type: ignore[return-value]


def quantile(times: Sequence[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]


def seconds(text: str) -> float:

    return datetime.fromisoformat(text).timestamp()


if __name__ == "__main__":
    main()
