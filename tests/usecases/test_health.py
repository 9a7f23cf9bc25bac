import threading
import time

from orchestrator.domain.errors import Unavailable
from orchestrator.usecases.health import Health


def away() -> None:
    raise Unavailable("it is away")


def test_each_part_is_reported_with_what_is_wrong() -> None:
    parts = Health({"well": lambda: None, "ill": away}).parts(1.0)
    assert parts["well"].ok
    assert not parts["ill"].ok
    assert parts["ill"].detail == "it is away"


def test_a_check_that_breaks_is_a_part_that_is_ill() -> None:
    def broken() -> None:
        raise RuntimeError("secret")

    part = Health({"broken": broken}).parts(1.0)["broken"]
    assert not part.ok
    assert "secret" not in part.detail


def test_a_part_that_hangs_does_not_hold_up_the_answer() -> None:
    release = threading.Event()

    def hang() -> None:
        release.wait(10)

    health = Health({"well": lambda: None, "hung": hang})
    for _ in range(20):
        started = time.monotonic()
        parts = health.parts()
        assert time.monotonic() - started < 1
        assert not parts["hung"].ok
        assert parts["well"].ok
    release.set()
    assert health.parts(5.0)["well"].ok
