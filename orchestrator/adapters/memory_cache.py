"""`ArrayCache` in this process."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.usecases.ports.engines import Array, ArrayKey

TURN_SECONDS = 60.0
"""How long a thread waits for another that makes the same array."""


class MemoryCache:
    """At most `most_bytes`, for `seconds` from the last use on."""

    def __init__(self, most_bytes: int, seconds: float) -> None:
        self._most = most_bytes
        self._seconds = seconds
        self._arrays: OrderedDict[ArrayKey, tuple[Array, float]] = OrderedDict()
        self._bytes = 0
        self._forgotten: OrderedDict[str, float] = OrderedDict()
        self._turns: dict[ArrayKey, tuple[threading.Lock, int]] = {}
        self._lock = threading.Lock()

    def get(self, key: ArrayKey) -> Array | None:
        with self._lock:
            self._drop_old()
            found = self._arrays.pop(key, None)
            if found is None:
                return None
            self._arrays[key] = (found[0], time.time())
            return found[0]

    def put(self, key: ArrayKey, array: Array, since: float) -> None:
        array.flags.writeable = False  # all who ask get this very one
        with self._lock:
            if self._forgotten.get(key.content, 0) >= since or array.nbytes > self._most:
                return
            self._drop(key)
            self._arrays[key] = (array, time.time())
            self._bytes += array.nbytes
            while self._bytes > self._most:
                self._drop(next(iter(self._arrays)))

    def forget(self, content: str) -> None:
        with self._lock:
            self._forgotten.pop(content, None)
            self._forgotten[content] = time.time()
            for key in [key for key in self._arrays if key.content == content]:
                self._drop(key)

    @contextmanager
    def turn(self, key: ArrayKey) -> Iterator[None]:
        with self._lock:
            lock, waiting = self._turns.get(key, (threading.Lock(), 0))
            self._turns[key] = (lock, waiting + 1)
        mine = lock.acquire(timeout=TURN_SECONDS)
        try:
            yield
        finally:
            if mine:
                lock.release()
            with self._lock:
                lock, waiting = self._turns.pop(key)
                if waiting > 1:
                    self._turns[key] = (lock, waiting - 1)

    def _drop(self, key: ArrayKey) -> None:
        found = self._arrays.pop(key, None)
        if found is not None:
            self._bytes -= found[0].nbytes

    def _drop_old(self) -> None:
        """The least recently used come first, and so do those that were forgotten first."""
        before = time.time() - self._seconds
        while self._arrays and next(iter(self._arrays.values()))[1] < before:
            self._drop(next(iter(self._arrays)))
        while self._forgotten and next(iter(self._forgotten.values())) < before:
            self._forgotten.popitem(last=False)
