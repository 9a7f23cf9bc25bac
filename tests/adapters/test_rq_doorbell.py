"""The doorbell on a real Redis."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from orchestrator.adapters import rq_doorbell
from orchestrator.adapters.rq_doorbell import RqDoorbell, SilentDoorbell
from orchestrator.domain.errors import Unavailable
from tests.local.servers import running_redis


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with running_redis(tmp_path) as url:
        yield url


def test_each_ring_is_answered_once_in_the_workers_own_process(url: str) -> None:
    bell, answered = RqDoorbell(url), []
    bell.must_exist()
    bell.check()
    bell.ring()
    bell.ring(2)
    assert bell.unanswered() == 3
    worker = rq_doorbell.worker(url, "w1", lambda: answered.append(worker.pid))
    worker.work(burst=True)
    assert len(answered) == 3
    assert bell.unanswered() == 0
    assert bell.workers() == 0


def test_an_answer_that_fails_does_not_end_the_worker(url: str) -> None:
    bell, answered = RqDoorbell(url), []
    bell.ring(2)

    def answer() -> None:
        answered.append(1)
        raise RuntimeError("fails")

    rq_doorbell.worker(url, "w1", answer).work(burst=True)
    assert len(answered) == 2


def test_what_redis_names_as_a_function_is_not_called_and_nothing_is_pickled(url: str, tmp_path: Path) -> None:
    bell, answered = RqDoorbell(url), []
    bell.ring()
    redis = Redis.from_url(url)
    (key,) = redis.keys("rq:job:*")
    assert isinstance(key, bytes)
    assert b"\x80\x04" not in redis.dump(key)  # type: ignore[operator]
    planted = tmp_path / "planted"
    redis.hset(key, "data", f'["pathlib.Path.touch", null, ["{planted}"], {{}}]'.encode())
    rq_doorbell.worker(url, "w1", lambda: answered.append(1)).work(burst=True)
    assert answered == [1]
    assert not planted.exists()


def test_a_redis_that_is_away_is_unavailable_soon(tmp_path: Path) -> None:
    bell = RqDoorbell(f"unix://{tmp_path}/none.sock")
    started = time.monotonic()
    for act in (bell.ring, bell.unanswered, bell.workers, bell.check):
        with pytest.raises(Unavailable):
            act()
    bell.must_exist()
    assert time.monotonic() - started < 3


def test_without_a_redis_nothing_can_be_queued_and_the_reason_is_told() -> None:
    bell = SilentDoorbell()
    assert bell.unanswered() == 0
    for act in (bell.ring, bell.must_exist, bell.check):
        with pytest.raises(Unavailable, match="REDIS_URL"):
            act()
