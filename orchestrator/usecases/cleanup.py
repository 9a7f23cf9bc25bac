"""What is older than it may be goes: ended jobs with their files, and uploaded pictures that no job needs."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from orchestrator.domain.errors import NotFound, QuarryError
from orchestrator.usecases.images import Images
from orchestrator.usecases.jobs import Clock, Jobs, now
from orchestrator.usecases.ports.state import ImageRows, JobRows, StoredImage

log = logging.getLogger(__name__)

MOST = 10_000
"""Of each in one run: the next one goes on."""

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Cleaned:
    """What has gone, or what would go; `bytes` are of the pictures."""

    before: datetime
    jobs: int
    images: int
    bytes: int


class Cleanup:
    """May run at several places at once, and be stopped anywhere: what was not finished is found again."""

    def __init__(
        self,
        jobs: Jobs,
        job_rows: JobRows,
        images: Images,
        image_rows: ImageRows,
        older_than: timedelta,
        clock: Clock = now,
    ) -> None:
        self._jobs = jobs
        self._job_rows = job_rows
        self._images = images
        self._image_rows = image_rows
        self._older_than = older_than
        self._clock = clock

    def run(self, *, dry_run: bool = False) -> Cleaned:
        """`dry_run` only counts. What cannot be removed is logged and stays for the next time. Raises `Unavailable`."""
        before = self._clock() - self._older_than
        # Ended jobs first: they hold pictures.
        jobs = self._job_rows.ended_before(before, MOST)
        if not dry_run:
            jobs = _each(jobs, self._jobs.erase)
        images = self._unneeded(before)
        if not dry_run:
            images = _each(images, lambda image: self._images.remove(image.id, image.owner))
        return Cleaned(before, len(jobs), len(images), sum(image.bytes for image in images))

    def _unneeded(self, before: datetime) -> list[StoredImage]:
        """Old pictures that no job holds, ended or not."""
        old = self._image_rows.older_than(before, MOST)
        held = self._job_rows.held([image.id for image in old])
        return [image for image in old if image.id not in held]


def _each(things: list[Thing], act: Callable[[Thing], object]) -> list[Thing]:
    """Those with which it went well."""
    done = []
    for thing in things:
        try:
            act(thing)
        except NotFound:
            continue  # somebody else was faster
        except QuarryError as exc:
            log.warning("clean-up: %s", exc.detail)
        else:
            done.append(thing)
    return done
