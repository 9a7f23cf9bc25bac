"""What every cache of arrays does: in memory, in Redis, both layered, and the fake."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import redis
from numpy.typing import NDArray

from orchestrator.adapters.layered_cache import LayeredCache
from orchestrator.adapters.memory_cache import MemoryCache
from orchestrator.adapters.redis_cache import RedisCache
from orchestrator.domain.errors import Unavailable
from orchestrator.usecases.ports.engines import ArrayCache, ArrayKey
from tests.fakes import FakeCache
from tests.local.servers import running_redis

KILOBYTE = np.arange(512, dtype=np.float16)
ROOM = 10_000
ONE, TWO = ArrayKey("picture", "one"), ArrayKey("picture", "two")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_redis(tmp_path_factory.mktemp("redis")) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator["redis.Redis"]:
    connection = redis.Redis.from_url(url)
    connection.flushall()
    yield connection
    connection.close()


def far(url: str, room: int = ROOM, seconds: int = 60, maker: str = "onnxruntime") -> RedisCache:
    return RedisCache(url, room, seconds, maker)


@pytest.fixture(params=["memory", "redis", "layered", "fake"])
def cache(request: pytest.FixtureRequest, url: str, client: "redis.Redis") -> ArrayCache:
    if request.param == "fake":
        return FakeCache()
    near = MemoryCache(ROOM, 60)
    if request.param == "memory":
        return near
    return far(url) if request.param == "redis" else LayeredCache(near, far(url))


@pytest.fixture(params=["memory", "redis"])
def bounded(request: pytest.FixtureRequest, url: str, client: "redis.Redis") -> ArrayCache:
    return MemoryCache(ROOM, 60) if request.param == "memory" else far(url)


def put(cache: ArrayCache, key: ArrayKey, array: NDArray[np.float16] = KILOBYTE) -> None:
    cache.put(key, array.copy(), time.time())


def test_an_array_comes_back_as_it_was(cache: ArrayCache) -> None:
    logits = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float16)
    assert cache.get(ONE) is None
    put(cache, ONE)
    cache.put(TWO, logits, time.time())
    for key, array in ((ONE, KILOBYTE), (TWO, logits)):
        found = cache.get(key)
        assert found is not None
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)


def test_all_that_was_made_of_a_picture_is_forgotten_at_once(cache: ArrayCache) -> None:
    other = ArrayKey("another", "one")
    for key in (ONE, TWO, other):
        put(cache, key)
    cache.forget("picture")
    assert cache.get(ONE) is None
    assert cache.get(TWO) is None
    assert cache.get(other) is not None


def test_what_began_before_its_picture_was_forgotten_is_not_kept(cache: ArrayCache) -> None:
    began = time.time()
    cache.forget("picture")
    cache.put(ONE, KILOBYTE.copy(), began)
    assert cache.get(ONE) is None
    put(cache, ONE)
    assert cache.get(ONE) is not None


def test_the_least_recently_used_go_first(bounded: ArrayCache) -> None:
    keys = [ArrayKey("picture", str(index)) for index in range(12)]
    for key in keys:
        put(bounded, key)
        bounded.get(keys[0])
    held = [bounded.get(key) is not None for key in keys]
    assert held[0]
    assert not held[1]
    assert held[-1]
    assert 7 <= sum(held) <= 9  # of a kilobyte each, with a header in Redis


def test_what_is_larger_than_all_the_room_is_not_kept(bounded: ArrayCache) -> None:
    put(bounded, TWO)
    put(bounded, ONE, np.zeros(ROOM, np.float16))
    assert bounded.get(ONE) is None
    assert bounded.get(TWO) is not None


def test_putting_again_takes_no_more_room(bounded: ArrayCache) -> None:
    put(bounded, TWO)
    for _ in range(50):
        put(bounded, ONE)
    assert bounded.get(TWO) is not None


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_what_is_not_used_for_long_goes(kind: str, url: str, client: "redis.Redis") -> None:
    cache = MemoryCache(ROOM, 1) if kind == "memory" else far(url, seconds=1)
    put(cache, ONE)
    put(cache, TWO)
    for _ in range(4):
        time.sleep(0.4)
        assert cache.get(TWO) is not None
    assert cache.get(ONE) is None


def test_redis_keeps_its_own_books_right(url: str, client: "redis.Redis") -> None:
    cache = far(url, seconds=1)
    for index in range(30):
        put(cache, ArrayKey("picture", str(index)))
    cache.forget("picture")
    put(cache, ONE)
    time.sleep(1.2)
    put(cache, TWO)  # what has expired meanwhile is struck off
    assert client.zcard("quarry:cache:used") == 1
    size = client.strlen(f"quarry:cache:{TWO.content}/onnxruntime/{TWO.name}")
    assert int(client.hget("quarry:cache:sizes", "total") or 0) == size
    assert client.hlen("quarry:cache:sizes") == 2


@pytest.mark.parametrize("kind", ["memory", "redis", "layered"])
def test_those_who_make_the_same_array_take_turns(kind: str, url: str, client: "redis.Redis") -> None:
    """Two replicas, where there is a Redis: four threads in each make it once."""
    if kind == "memory":
        replicas: list[ArrayCache] = [MemoryCache(ROOM, 60)]
    else:
        replicas = [far(url) if kind == "redis" else LayeredCache(MemoryCache(ROOM, 60), far(url)) for _ in range(2)]
    made = []

    def ask(cache: ArrayCache) -> None:
        if cache.get(ONE) is None:
            with cache.turn(ONE):
                if cache.get(ONE) is None:
                    time.sleep(0.1)
                    made.append(1)
                    put(cache, ONE)

    threads = [threading.Thread(target=ask, args=[cache]) for cache in replicas for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(made) == 1


def test_a_replica_that_died_in_its_turn_is_not_waited_for_long(
    url: str, client: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.adapters.redis_cache.LOCK_SECONDS", 0.3)
    dead = far(url).turn(ONE)
    dead.__enter__()
    started = time.monotonic()
    with far(url).turn(ONE):
        assert 0.1 < time.monotonic() - started < 2


def test_another_turn_is_not_ended_by_one_that_came_late(url: str, client: "redis.Redis") -> None:
    with far(url).turn(ONE):
        client.set(f"quarry:cache:lock:quarry:cache:{ONE.content}/onnxruntime/{ONE.name}", "somebody else's")
    assert client.exists(f"quarry:cache:lock:quarry:cache:{ONE.content}/onnxruntime/{ONE.name}")


@pytest.mark.usefixtures("client")
def test_what_another_engine_made_is_not_found_and_is_forgotten_with_the_rest(url: str) -> None:
    one, other = far(url), far(url, maker="openvino-bf16")
    put(one, ONE)
    assert other.get(ONE) is None
    other.forget("picture")
    assert one.get(ONE) is None


def test_what_one_replica_forgets_the_others_forget_before_they_answer(
    url: str, client: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.adapters.layered_cache.NEWS_SECONDS", 0.1)
    here, there = (LayeredCache(MemoryCache(ROOM, 60), far(url)) for _ in range(2))
    put(here, ONE)
    assert there.get(ONE) is not None
    here.forget("picture")
    time.sleep(0.15)
    assert there.get(ONE) is None


def test_a_redis_that_is_away_is_an_empty_cache_that_forgets_nothing(tmp_path: Path) -> None:
    cache = far(f"unix://{tmp_path}/none.sock")
    put(cache, ONE)
    assert cache.get(ONE) is None
    assert cache.forgotten(0) == []
    with cache.turn(ONE):
        pass
    with pytest.raises(Unavailable, match="Redis"):
        cache.forget("picture")
