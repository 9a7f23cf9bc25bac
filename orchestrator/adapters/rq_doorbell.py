"""RQ on Redis as the doorbell: an RQ job says that there is something to do, and not what."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.worker import SimpleWorker

from orchestrator.domain.errors import Unavailable

QUEUE, RING = "quarry", "quarry.a_job_is_due"
WORKER_SECONDS = 2
"""A Redis that was away is tried again so often."""


class RqDoorbell:
    def __init__(self, url: str) -> None:
        self._redis = _connection(url)
        self._queue = Queue(QUEUE, connection=self._redis, serializer=JSONSerializer)

    def ring(self, times: int = 1) -> None:
        # No result is kept: it stands in the database. No alarm of RQ's either: it could not stop native code.
        one = Queue.prepare_data(RING, timeout=-1, result_ttl=0, failure_ttl=3600, description="a job is due")
        with _translated(), self._redis.pipeline() as pipeline:
            self._queue.enqueue_many([one] * times, pipeline=pipeline)
            pipeline.execute()

    def unanswered(self) -> int:
        with _translated():
            return int(self._queue.count)

    def must_exist(self) -> None:
        pass

    def workers(self) -> int:
        """How many listen. Raises `Unavailable`."""
        with _translated():
            return int(SimpleWorker.count(connection=self._redis, queue=self._queue))

    def check(self) -> None:
        with _translated():
            self._redis.ping()


class SilentDoorbell:
    """Where there is no Redis nothing can be queued."""

    def ring(self, times: int = 1) -> None:  # noqa: ARG002
        self.check()

    def unanswered(self) -> int:
        return 0

    def check(self) -> None:
        self.must_exist()

    def must_exist(self) -> None:
        raise Unavailable("Nothing can be queued: the service has no Redis (REDIS_URL).", retry_after=60)


class WarmWorker(SimpleWorker):
    """Runs jobs in this very process, which keeps its decoder and its channel to Triton between them."""

    max_connection_wait_time = WORKER_SECONDS
    log_result_lifespan = False


def worker(url: str, name: str, answer: Callable[[], object]) -> WarmWorker:
    """Its `work()` calls `answer` for each ring. What Redis names as a ring's function is not looked at."""

    class Ring(Job):
        def perform(self) -> None:
            answer()

    # No socket timeout: RQ blocks on its queue, and sets what it needs.
    redis = Redis.from_url(url, socket_connect_timeout=2)
    queue = Queue(QUEUE, connection=redis, serializer=JSONSerializer, job_class=Ring)
    return WarmWorker(
        [queue], name=name, connection=redis, serializer=JSONSerializer, job_class=Ring, log_job_description=False
    )


def _connection(url: str) -> Redis:
    """Refused soon where Redis is away: who waits holds up a request."""
    return Redis.from_url(
        url, socket_connect_timeout=1, socket_timeout=5, retry=Retry(NoBackoff(), 1), health_check_interval=30
    )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as exc:
        raise Unavailable("Redis, which wakes the workers, does not answer; try again in a moment.") from exc
