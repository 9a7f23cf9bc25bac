"""The short form of `make chaos`."""

from pathlib import Path

import pytest

from tests.local.processes import Family, gone
from tests.worker import chaos
from tests.worker.chaos import Plan
from tests.worker.cluster import running


@pytest.mark.timeout(300)
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_no_job_is_lost_or_done_twice_whatever_is_killed(database: str, tmp_path: Path, family: Family) -> None:
    plan = Plan(jobs=16, kills=6, redis=1, postgres=1, triton=1, pause=1.5)
    with running(tmp_path, database, JOB_WORKERS="2", **chaos.NO_CACHE) as cluster:
        report = chaos.run(cluster, plan)
        started = family()
    chaos.check(report, plan)
    assert started
    assert gone(started)
