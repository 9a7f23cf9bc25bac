"""`ArrayCache` of two layers: this process's own, and the one that all replicas share."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.adapters.memory_cache import MemoryCache
from orchestrator.adapters.redis_cache import RedisCache
from orchestrator.usecases.ports.engines import Array, ArrayKey

NEWS_SECONDS = 1.0
"""How often this process asks what others have forgotten; it asks before it answers from its own memory."""


class LayeredCache:
    def __init__(self, near: MemoryCache, far: RedisCache) -> None:
        self._near = near
        self._far = far
        self._heard = time.time()
        self._lock = threading.Lock()

    def get(self, key: ArrayKey) -> Array | None:
        self._hear()
        found = self._near.get(key)
        if found is None:
            since = time.time()
            found = self._far.get(key)
            if found is not None:
                self._near.put(key, found, since)
        return found

    def put(self, key: ArrayKey, array: Array, since: float) -> None:
        self._near.put(key, array, since)
        self._far.put(key, array, since)

    def forget(self, content: str) -> None:
        self._near.forget(content)
        self._far.forget(content)

    @contextmanager
    def turn(self, key: ArrayKey) -> Iterator[None]:
        with self._near.turn(key):
            # Those who waited here for this process's own find it at hand, and need not go to the others.
            if self._near.get(key) is not None:
                yield
                return
            with self._far.turn(key):
                yield

    def _hear(self) -> None:
        now = time.time()
        with self._lock:
            if now - self._heard < NEWS_SECONDS:
                return
            # A little before the last time: clocks differ.
            since, self._heard = self._heard - NEWS_SECONDS, now
        for content in self._far.forgotten(since):
            self._near.forget(content)
