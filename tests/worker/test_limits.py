"""Bounds of time and of the queue, with real processes."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from orchestrator.local.triton import TritonAddresses
from tests.local.processes import gone
from tests.pictures import draw, encoded
from tests.worker.cluster import Cluster, running
from tests.worker.test_service import BOX, PICTURE, SLOW


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, triton: TritonAddresses) -> Iterator[Cluster]:
    settings = {"JOB_THREADS": "1", "JOB_TIME_LIMIT": "2", "JOB_QUEUE_MAX": "3"}
    with running(tmp_path_factory.mktemp("cluster"), "sqlite", triton.grpc, **settings) as cluster:
        yield cluster


def test_a_worker_whose_job_outlives_the_limit_is_killed_and_replaced(cluster: Cluster) -> None:
    (worker,) = cluster.workers()
    details = cluster.ended(cluster.submit("auto", PICTURE, SLOW))
    assert (details["status"], details["attempts"]) == ("failed", 1)
    assert details["error"]["error"] == "deadline_exceeded"
    assert "JOB_TIME_LIMIT" in details["error"]["detail"]
    assert gone([worker])
    assert cluster.ended(cluster.submit("box", PICTURE, BOX))["status"] == "succeeded"


def test_past_its_bound_the_queue_refuses_and_grows_no_longer(cluster: Cluster) -> None:
    cluster.stop("worker")
    started = time.monotonic()

    def ask(seed: int) -> httpx2.Response:
        files = {"image": encoded(draw(60, 80, seed))}
        return httpx2.post(f"{cluster.api}/segment/box/async", files=files, timeout=30)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(12)))
    assert time.monotonic() - started < 20
    refused = [answer for answer in answers if answer.status_code == 429]
    assert sorted(answer.status_code for answer in answers) == [202] * 3 + [429] * 9
    assert all(answer.json()["error"] == "queue_full" for answer in refused)
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in refused)
    assert cluster.get("/jobs/?status=queued")["total"] == 3
    cluster.start("worker")
