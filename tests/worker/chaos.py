"""`python -m tests.worker.chaos`: jobs while everything below them is killed, and what must be so at the end."""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil
from sqlalchemy import Engine, text

from orchestrator.adapters import database
from tests.local.processes import eventually
from tests.pictures import draw, encoded
from tests.worker.cluster import Cluster, running, send

PICTURES = 8
FIELDS = {"points_per_side": "8", "pred_iou_thresh": "0.83", "stability_score_thresh": "0.5"}

NO_CACHE = {"EMBEDDING_CACHE_MB": "0", "EMBEDDING_CACHE_SHARED_MB": "0"}
"""So that every job needs Triton."""

TRIGGERS = {
    "sqlite": [
        "CREATE TABLE successes (id VARCHAR)",
        """CREATE TRIGGER success AFTER UPDATE ON jobs WHEN NEW.status = 'succeeded'
           BEGIN INSERT INTO successes VALUES (NEW.id); END""",
    ],
    "postgresql": [
        "CREATE TABLE successes (id VARCHAR)",
        """CREATE FUNCTION success() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN INSERT INTO successes VALUES (NEW.id); RETURN NEW; END $$""",
        """CREATE TRIGGER success AFTER UPDATE ON jobs FOR EACH ROW WHEN (NEW.status = 'succeeded')
           EXECUTE FUNCTION success()""",
    ],
}
"""Counts every commit of a success, whoever makes it."""


@dataclass
class Plan:
    jobs: int
    kills: int
    redis: int
    postgres: int
    triton: int
    pause: float = 2.0
    """Seconds between two kills of a worker."""


@dataclass
class Report:
    seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    killed: int = 0
    wrong: list[str] = field(default_factory=list)
    successes: Counter[str] = field(default_factory=Counter)
    left: list[str] = field(default_factory=list)


def run(cluster: Cluster, plan: Plan, say: Callable[[str], None] = lambda _: None) -> Report:
    """Jobs come in steadily between the kills, so that there is always something to lose."""
    report, started = Report(), time.monotonic()
    pictures = [encoded(draw(240, 320, seed)) for seed in range(PICTURES)]
    expected = [_expected(cluster, picture) for picture in pictures]
    engine = database.connect(cluster.environment["DATABASE_URL"])
    _watch(engine)
    disasters = _disasters(cluster, plan)
    ids: dict[str, int] = {}
    for step in range(plan.kills):
        for index in range(step * plan.jobs // plan.kills, (step + 1) * plan.jobs // plan.kills):
            ids[_submit(cluster, index, pictures[index % PICTURES])] = index % PICTURES
        report.killed += _kill_one(cluster)
        if step in disasters:
            say(f"after {report.killed} kills of workers: {disasters[step].__name__}")
            disasters[step]()
        time.sleep(plan.pause * random.uniform(0.5, 1.5))
    say(f"{len(ids)} jobs are in, {report.killed} workers were killed; waiting for the rest")
    _wait(cluster, ids)
    report.seconds = time.monotonic() - started
    for job_id, picture in ids.items():
        details = cluster.get(f"/jobs/{job_id}")
        report.statuses[details["status"]] += 1
        report.attempts[details["attempts"]] += 1
        if details["status"] != "succeeded" or _masks(cluster.get(f"/jobs/{job_id}/result")) != expected[picture]:
            report.wrong.append(f"{job_id}: {details['status']} {details['error']}")
    with engine.connect() as connection:
        report.successes = Counter(connection.execute(text("SELECT id FROM successes")).scalars())
    engine.dispose()
    report.left = _left(cluster, set(ids))
    return report


def check(report: Report, plan: Plan) -> None:
    """What must be so at the end."""
    assert report.statuses == {"succeeded": plan.jobs}, report
    assert report.wrong == []
    assert set(report.successes.values()) == {1}, report.successes.most_common(3)
    assert len(report.successes) == plan.jobs
    assert report.killed >= plan.kills
    assert report.left == []


def _disasters(cluster: Cluster, plan: Plan) -> dict[int, Callable[[], None]]:
    """By the step after which each happens, spread over the run."""

    def redis_is_killed_and_starts_empty() -> None:
        cluster.wipe_redis()
        time.sleep(1)
        cluster.start("redis")

    def postgres_is_killed_and_started() -> None:
        cluster.kill("postgres")
        time.sleep(1)
        cluster.start("postgres")

    def triton_is_killed_and_started() -> None:
        cluster.kill("triton")
        cluster.start("triton")

    acts: list[Callable[[], None]] = [triton_is_killed_and_started] * plan.triton
    acts += [redis_is_killed_and_starts_empty] * plan.redis
    if "postgres" in cluster.parts:
        acts += [postgres_is_killed_and_started] * plan.postgres
    random.shuffle(acts)
    return {(index + 1) * plan.kills // (len(acts) + 1): act for index, act in enumerate(acts)}


def _kill_one(cluster: Cluster) -> int:
    """Once there is one: a dead worker's successor needs a moment."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if workers := cluster.workers():
            send(random.choice(workers))
            return 1
        time.sleep(0.05)
    return 0


def _submit(cluster: Cluster, index: int, picture: bytes) -> str:
    """As a careful caller does: again with the same key until there is an answer."""
    key = {"Idempotency-Key": f"chaos-{index}"}
    deadline = time.monotonic() + 60
    while True:
        try:
            answer = httpx2.post(
                f"{cluster.api}/segment/auto/async", files={"image": picture}, data=FIELDS, headers=key, timeout=30
            )
            if answer.status_code == 202:
                return str(answer.json()["job_id"])
            assert answer.status_code in (429, 503), answer.text
        except httpx2.TransportError:
            pass
        assert time.monotonic() < deadline, "nothing can be submitted"
        time.sleep(0.3)


def _wait(cluster: Cluster, ids: dict[str, int]) -> None:
    def none_is_active() -> bool:
        counts = cluster.get("/jobs/?limit=1")["counts"]
        return not counts.get("queued") and not counts.get("running")

    assert eventually(none_is_active, 120 + len(ids)), cluster.tails()


def _expected(cluster: Cluster, picture: bytes) -> Any:
    answer = httpx2.post(f"{cluster.api}/segment/auto", files={"image": picture}, data=FIELDS, timeout=60)
    assert answer.status_code == 200, answer.text
    found = _masks(answer.json())
    assert found
    return found


def _masks(answer: dict[str, Any]) -> Any:
    return [(mask["segmentation"], mask["bbox"], round(mask["predicted_iou"], 3)) for mask in answer["masks"]]


def _watch(engine: Engine) -> None:
    with database.writing(engine) as session:
        for statement in TRIGGERS[engine.dialect.name]:
            session.connection().exec_driver_sql(statement)


def _left(cluster: Cluster, ids: set[str]) -> list[str]:
    """Files that belong to no job, and jobs without files; drafts are swept within a moment."""
    results = Path(cluster.environment["RESULTS_DIR"])
    eventually(lambda: not list((results / ".attempts").iterdir()), 10)
    found = [f"draft {path.name}" for path in (results / ".attempts").iterdir()]
    published = {path.name for path in (results / "segmentations").iterdir()}
    found += [f"folder {name}" for name in sorted(published ^ ids)]
    uploads = [path for path in Path(cluster.environment["UPLOAD_DIR"]).rglob("*") if path.is_file()]
    if len(uploads) != PICTURES:
        found.append(f"{len(uploads)} uploads for {PICTURES} pictures")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.worker.chaos", description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="postgres")
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--workers", default="2")
    chosen = parser.parse_args(arguments)
    plan = Plan(chosen.jobs, chosen.kills, redis=2, postgres=2, triton=3)
    before = set(psutil.Process().children(recursive=True))
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        running(Path(folder), chosen.database, JOB_WORKERS=chosen.workers, **NO_CACHE) as cluster,
    ):
        report = run(cluster, plan, lambda line: print(f"{time.strftime('%H:%M:%S')} {line}", flush=True))
    print(f"{chosen.database}: {sum(report.statuses.values())} jobs in {report.seconds:.0f} s: {dict(report.statuses)}")
    print(f"workers killed: {report.killed}; attempts a job: {dict(sorted(report.attempts.items()))}")
    print(f"successes committed twice: {[i for i, n in report.successes.items() if n > 1]}; left: {report.left}")
    check(report, plan)
    left = [process for process in psutil.Process().children(recursive=True) if process not in before]
    assert left == [], left
    print("all of it holds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
