"""`ArrayCache` in Redis, shared by all replicas.

Redis evicts instance-wide or not at all, and the queue's must not: so the bound is kept here, by an index of what was
used when. Index and arrays change together, in scripts. Not for Redis Cluster: a script touches keys it learns of.
"""

import io
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from orchestrator.domain.errors import Unavailable
from orchestrator.usecases.ports.engines import Array, ArrayKey

log = logging.getLogger(__name__)

LOCK_SECONDS = 10.0
"""A replica that makes an array is waited for so long; then another makes it too."""

PAUSE_SECONDS = 5.0
"""After a failure Redis is left alone for so long, and requests go on without it."""

TIMEOUT_SECONDS = 1.0
_POLL_SECONDS = 0.02

_PREFIX = "quarry:cache:"
_USED, _SIZES, _FORGOTTEN = _PREFIX + "used", _PREFIX + "sizes", _PREFIX + "forgotten"

_DROP = """
local function drop(member)
  local size = redis.call('HGET', KEYS[2], member)
  if size then redis.call('HINCRBY', KEYS[2], 'total', -size) end
  redis.call('HDEL', KEYS[2], member)
  redis.call('ZREM', KEYS[1], member)
  redis.call('DEL', member)
end
"""
# KEYS: used, sizes, forgotten. ARGV: key, now, seconds to live
_GET = (
    _DROP
    + """
local found = redis.call('GET', ARGV[1])
if found then
  redis.call('EXPIRE', ARGV[1], ARGV[3])
  redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
else
  drop(ARGV[1])
end
return found
"""
)
# ARGV: key, now, seconds to live, bytes at most, content, since, array
_PUT = (
    _DROP
    + """
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2] - ARGV[3])) do drop(member) end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', ARGV[2] - ARGV[3])
local gone = redis.call('ZSCORE', KEYS[3], ARGV[5])
if gone and tonumber(gone) >= tonumber(ARGV[6]) then return 0 end
drop(ARGV[1])
redis.call('SET', ARGV[1], ARGV[7], 'EX', ARGV[3])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], #ARGV[7])
redis.call('HINCRBY', KEYS[2], 'total', #ARGV[7])
while tonumber(redis.call('HGET', KEYS[2], 'total')) > tonumber(ARGV[4]) do
  drop(redis.call('ZRANGE', KEYS[1], 0, 0)[1])
end
return 1
"""
)
# ARGV: content, now, what its keys begin with
_FORGET = (
    _DROP
    + """
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if string.sub(member, 1, #ARGV[3]) == ARGV[3] then drop(member) end
end
return 1
"""
)
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class RedisCache:
    """At most `most_bytes`, for `seconds` from the last use on. Away, it holds nothing and keeps nothing.

    `maker` names what makes the arrays: another one's, which are not quite the same, are not found. All makers share
    the bound, and forget a picture together.
    """

    def __init__(self, url: str, most_bytes: int, seconds: int, maker: str) -> None:
        self._maker = maker
        self._most = most_bytes
        self._seconds = seconds
        self._paused_until = 0.0
        self._client = redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 1),  # a connection that a restart of Redis has closed
        )
        scripts = (_GET, _PUT, _FORGET)
        self._get, self._put, self._forget = (self._client.register_script(script) for script in scripts)
        self._release = self._client.register_script(_RELEASE)

    def get(self, key: ArrayKey) -> Array | None:
        data = self._try(lambda: self._get(_INDEX, [self._name(key), time.time(), self._seconds]))
        if data is None:
            return None
        array: Array = np.load(io.BytesIO(data), allow_pickle=False)
        return array

    def put(self, key: ArrayKey, array: Array, since: float) -> None:
        file = io.BytesIO()
        np.save(file, array, allow_pickle=False)
        if file.tell() > self._most:
            return
        numbers: list[str | float] = [self._name(key), time.time(), self._seconds, self._most, key.content, since]
        self._try(lambda: self._put(_INDEX, [*numbers, file.getvalue()]))

    def forget(self, content: str) -> None:
        try:
            self._forget(_INDEX, [content, time.time(), _PREFIX + content])
        except redis.RedisError as exc:
            raise Unavailable("Redis, which may hold what was made of the picture, does not answer.") from exc

    def forgotten(self, since: float) -> list[str]:
        """Contents that were forgotten by anybody since a time."""
        found = self._try(lambda: self._client.zrangebyscore(_FORGOTTEN, since, "+inf"))
        return [content.decode() for content in found or []]

    @contextmanager
    def turn(self, key: ArrayKey) -> Iterator[None]:
        lock, token = f"{_PREFIX}lock:{self._name(key)}", secrets.token_hex(8)
        until = time.monotonic() + LOCK_SECONDS
        while time.monotonic() < until:
            claimed = self._try(lambda: self._client.set(lock, token, nx=True, px=int(LOCK_SECONDS * 1000)) or False)
            if claimed is not False:
                break  # it is ours, or Redis is away
            time.sleep(_POLL_SECONDS)
        try:
            yield
        finally:
            self._try(lambda: self._release([lock], [token]))

    def _try(self, ask: Callable[[], Any]) -> Any:
        """None while Redis is away: a cache that is away slows requests down, and fails none."""
        if time.monotonic() < self._paused_until:
            return None
        try:
            return ask()
        except redis.RedisError as exc:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            log.warning("Redis, the shared cache, does not answer (%s); for %g s we go on without", exc, PAUSE_SECONDS)
            return None

    def _name(self, key: ArrayKey) -> str:
        return f"{_PREFIX}{key.content}/{self._maker}/{key.name}"

    def close(self) -> None:
        with suppress(redis.RedisError):
            self._client.close()


_INDEX = [_USED, _SIZES, _FORGOTTEN]
