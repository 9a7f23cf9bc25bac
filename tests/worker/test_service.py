"""Jobs on a whole service in processes."""

import io
import json
import signal
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from orchestrator.local.triton import TritonAddresses
from tests.local.processes import alive, eventually, gone
from tests.pictures import draw, encoded
from tests.worker.cluster import Cluster, events, running, send

PICTURE = encoded(draw(200, 300))
BOX = {"boxes": "[[40,40,220,180]]"}
AUTO = {"points_per_side": "6", "pred_iou_thresh": "0.3", "stability_score_thresh": "0.3"}
SLOW = {"points_per_side": "64", "pred_iou_thresh": "0", "stability_score_thresh": "0", "min_mask_region_area": "0"}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, triton: TritonAddresses
) -> Iterator[Cluster]:
    """One worker process, one thread."""
    folder = tmp_path_factory.mktemp("cluster")
    settings = {
        "JOB_THREADS": "1",
        "BATCH_MAX_FILES": "20",
        "CALLBACK_SECRET": "s",
        "CALLBACK_ALLOW": '["127.0.0.0/8"]',
    }
    with running(folder, request.param, triton.grpc, **settings) as cluster:
        yield cluster


def same(job: dict[str, Any], asked: dict[str, Any]) -> None:
    """But for how long it took and who asked."""
    for answer in (job, asked):
        assert answer.pop("timings_ms")
        assert answer.pop("request_id")
    assert job == asked


@pytest.mark.parametrize(
    ("route", "fields"), [("box", BOX), ("auto", AUTO), ("box", BOX | {"output": "polygon", "tolerance": "9"})]
)
def test_a_jobs_result_is_what_the_request_would_have_answered(
    cluster: Cluster, route: str, fields: dict[str, str]
) -> None:
    uploaded = httpx2.post(f"{cluster.api}/images", files={"image": PICTURE}).json()["id"]
    asked = httpx2.post(f"{cluster.api}/segment/{route}", data=fields | {"image_id": uploaded}).json()
    accepted = httpx2.post(f"{cluster.api}/segment/{route}/async", data=fields | {"image_id": uploaded})
    assert accepted.status_code == 202
    # The job has a hold of its own on the picture.
    assert httpx2.delete(f"{cluster.api}/images/{uploaded}").status_code == 204
    body = accepted.json()
    assert set(body) == {"job_id", "status", "links"}
    assert accepted.headers["Location"] == body["links"]["self"]
    details = cluster.ended(body["job_id"])
    assert details["status"] == "succeeded", details
    same(cluster.get(body["links"]["result"]), asked)
    assert {"mask_0.png", "visualization.png", "result.json"} <= set(details["files"])
    overlay = httpx2.get(f"{cluster.api}{body['links']['result']}?output=overlay")
    assert overlay.headers["content-type"] == "image/png"
    file = httpx2.get(f"{cluster.api}{body['links']['self']}/files/visualization.png")
    assert file.content == overlay.content
    home = Path(cluster.environment["RESULTS_DIR"]) / "segmentations" / body["job_id"]
    assert httpx2.delete(f"{cluster.api}{body['links']['self']}").status_code == 204
    assert not home.exists()
    assert httpx2.get(f"{cluster.api}{body['links']['self']}").status_code == 404


def test_events_tell_of_progress_that_never_goes_back_and_of_the_end(cluster: Cluster) -> None:
    job_id = cluster.submit("auto", PICTURE, SLOW | {"points_per_side": "24", "max_masks": "3"})
    with httpx2.stream("GET", f"{cluster.api}/jobs/{job_id}/events", timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = list(events(answer.iter_lines()))
    shares = [body["progress"] for _, body in told]
    assert shares == sorted(shares)
    assert len({share for share in shares if 0 < share < 100}) >= 2
    assert [name for name, _ in told][-1] == "end"
    assert told[-1][1] == {"job_id": job_id, "status": "succeeded", "progress": 100.0}


def test_what_runs_is_canceled_within_moments(cluster: Cluster) -> None:
    job_id = cluster.submit("auto", PICTURE, SLOW)
    assert eventually(lambda: cluster.get(f"/jobs/{job_id}/status")["status"] == "running", 20)
    canceled = httpx2.delete(f"{cluster.api}/jobs/{job_id}")
    assert (canceled.status_code, canceled.json()["status"]) == (202, "canceled")
    (worker,) = cluster.workers()
    quick = cluster.submit("box", PICTURE, BOX)
    assert cluster.ended(quick, 10)["status"] == "succeeded"
    assert alive(worker)
    assert httpx2.get(f"{cluster.api}/jobs/{job_id}/result").status_code == 409
    assert httpx2.delete(f"{cluster.api}/jobs/{job_id}").status_code == 204
    attempts = Path(cluster.environment["RESULTS_DIR"]) / ".attempts"
    assert eventually(lambda: not list(attempts.iterdir()), 5)


def test_a_killed_worker_costs_an_attempt_and_not_the_job(cluster: Cluster) -> None:
    job_id = cluster.submit("auto", PICTURE, SLOW | {"points_per_side": "20", "max_masks": "3"})
    assert eventually(lambda: cluster.get(f"/jobs/{job_id}/status")["status"] == "running", 20)
    (worker,) = cluster.workers()
    send(worker)
    details = cluster.ended(job_id)
    assert (details["status"], details["attempts"]) == ("succeeded", 2)


def test_one_broken_picture_of_ten_fails_alone(cluster: Cluster) -> None:
    whole = [encoded(draw(100, 120, seed), "JPEG") for seed in range(10)]
    pictures = [*whole[:4], whole[4][: len(whole[4]) // 2], *whole[5:]]
    files = [("images", (f"p{index}.jpg", data)) for index, data in enumerate(pictures)]
    accepted = httpx2.post(f"{cluster.api}/segment/batch", files=files, data={"operation": "box", **BOX_SMALL})
    assert accepted.status_code == 202, accepted.text
    batch = cluster.ended(accepted.json()["job_id"])
    assert (batch["status"], batch["progress"]) == ("succeeded", 100.0)
    assert batch["counts"] == {"succeeded": 9, "failed": 1}
    assert [child["name"] for child in batch["children"]] == [f"p{index}.jpg" for index in range(10)]
    assert batch["children"][4]["error"]["error"] == "invalid_picture"
    result = cluster.get(f"/jobs/{batch['job_id']}/result")
    assert result["statistics"]["masks"] == 9
    assert result["statistics"]["seconds_mean"] > 0
    for child in result["children"][:2]:
        assert len(cluster.get(child["links"]["result"])["masks"]) == 1
    assert httpx2.delete(f"{cluster.api}/jobs/{batch['job_id']}").status_code == 204
    assert httpx2.get(f"{cluster.api}{batch['children'][0]['links']['self']}").status_code == 404


BOX_SMALL = {"boxes": "[[10,10,90,90]]"}


def test_objects_are_extracted_as_a_job_and_as_a_batch(cluster: Cluster) -> None:
    asked = httpx2.post(f"{cluster.api}/segment/objects/extract", files={"image": PICTURE}, data=BOX).json()
    details = cluster.ended(cluster.submit("objects/extract", PICTURE, BOX))
    assert {"object_0.png", "result.json"} <= set(details["files"])
    found = cluster.get(f"/jobs/{details['job_id']}/result")
    assert len(found["objects"]) == len(asked["objects"]) == 1
    home = Path(cluster.environment["RESULTS_DIR"]) / "objects" / details["job_id"]
    assert (home / "object_0.png").exists()
    fields = {"operation": "extract", **BOX, "output": "zip"}
    answer = httpx2.post(f"{cluster.api}/segment/batch", files=[("images", ("a.png", PICTURE))], data=fields)
    batch = cluster.ended(answer.json()["job_id"])
    result = cluster.get(f"/jobs/{batch['job_id']}/result")
    assert result["statistics"]["objects"] == 1
    packed = httpx2.get(cluster.api + result["children"][0]["links"]["result"])
    assert packed.headers["content-type"] == "application/zip"


def test_a_batch_comes_as_an_archive_or_as_ids_too(cluster: Cluster) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a/one.png", encoded(draw(90, 100)))
        archive.writestr("../two.png", encoded(draw(90, 100, 1)))
        archive.writestr(".hidden", b"x")
        archive.writestr("text.txt", b"no picture")
    fields = {"operation": "box", **BOX_SMALL, "concurrency": "1"}
    answer = httpx2.post(f"{cluster.api}/segment/batch", files={"archive": packed.getvalue()}, data=fields)
    batch = cluster.ended(answer.json()["job_id"])
    names = {child["name"]: child["status"] for child in batch["children"]}
    assert names == {"a/one.png": "succeeded", "two.png": "succeeded", "text.txt": "failed"}
    ids = [httpx2.post(f"{cluster.api}/images", files={"image": PICTURE}).json()["id"], "unknown"]
    answer = httpx2.post(f"{cluster.api}/segment/batch", data=fields | {"image_ids": json.dumps(ids)})
    batch = cluster.ended(answer.json()["job_id"])
    assert [child["status"] for child in batch["children"]] == ["succeeded", "failed"]


@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        ({}, 400, "invalid_batch"),
        ({"files": {"archive": b"no archive"}}, 400, "invalid_batch"),
        ({"files": [("images", (f"{n}.png", b"x")) for n in range(21)]}, 400, "invalid_batch"),
        ({"data": {"image_ids": "[]", "operation": "box"}}, 400, "invalid_batch"),
        ({"data": {"image_ids": "{}"}}, 422, "invalid_request"),
        ({"data": {"image_ids": '["x"]', "model": "sam9"}}, 404, "not_found"),
        ({"data": {"image_ids": '["x"]', "concurrency": "0"}}, 422, "invalid_request"),
        ({"data": {"image_ids": '["x"]', "operation": "single"}}, 422, "invalid_request"),
        ({"data": {"image_ids": '["x"]', "operation": "batch"}}, 422, "invalid_request"),
        ({"data": {"image_ids": '["x"]', "operation": "extract", "output": "coco"}}, 400, "invalid_batch"),
        ({"data": {"image_ids": '["x"]', "operation": "box", "box": "[1,1,9,9]"}}, 400, "invalid_prompt"),
        ({"data": {"image_ids": '["x"]', "operation": "box", "boxes": "[[1]]"}}, 400, "invalid_prompt"),
        ({"data": {"image_ids": '["x"]', "operation": "auto", "points_per_side": "0"}}, 400, "invalid_prompt"),
        ({"data": {"image_ids": '["x"]', "operation": "extract", "background": "odd"}}, 400, "invalid_prompt"),
    ],
)
def test_a_batch_that_makes_no_sense_is_refused(cluster: Cluster, given: Any, status: int, code: str) -> None:
    answer = httpx2.post(f"{cluster.api}/segment/batch", **given)
    assert (answer.status_code, answer.json()["error"]) == (status, code)


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"boxes": "[[900,900,990,990]]"}, 400, "invalid_prompt"),
        ({"boxes": "7"}, 422, "invalid_request"),
        ({"model": "vit_h"}, 409, "model_missing"),
        ({"priority": "urgent"}, 422, "invalid_request"),
        ({"callback_url": "ftp://example.org"}, 400, "invalid_callback"),
        ({"callback_url": "http://10.0.0.1/"}, 400, "invalid_callback"),
        ({"callback_url": "http://[::ffff:10.0.0.1]/"}, 400, "invalid_callback"),
        ({"image_id": "x"}, 400, "invalid_picture"),
    ],
)
def test_what_makes_no_sense_is_refused_before_it_is_promised(
    cluster: Cluster, fields: dict[str, str], status: int, code: str
) -> None:
    before = cluster.get("/jobs/?limit=1")["total"]
    answer = httpx2.post(f"{cluster.api}/segment/box/async", files={"image": PICTURE}, data=fields)
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert cluster.get("/jobs/?limit=1")["total"] == before


def test_a_request_that_comes_again_with_its_key_gets_the_same_job(cluster: Cluster) -> None:
    key = {"Idempotency-Key": f"once-{time.time()}"}

    def ask(_: int) -> str:
        return cluster.submit("box", PICTURE, BOX, headers=key)

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(ask, range(8)))) == 1
    other = httpx2.post(f"{cluster.api}/segment/box/async", files={"image": PICTURE}, headers=key)
    assert (other.status_code, other.json()["error"]) == (409, "conflict")


def test_jobs_are_listed_by_page_status_kind_and_time(cluster: Cluster) -> None:
    for seed in range(3):
        cluster.ended(cluster.submit("box", encoded(draw(60, 80, seed)), BOX_SMALL))
    page = cluster.get("/jobs/?kind=box&status=succeeded&limit=2&offset=1")
    assert len(page["jobs"]) == 2
    assert page["total"] >= 3
    assert page["jobs"][0]["created_at"] > page["jobs"][1]["created_at"]
    assert cluster.get("/jobs/?since=2100-01-01T00:00:00Z")["total"] == 0
    assert cluster.get("/jobs/?until=2100-01-01T00:00:00")["total"] >= 3
    assert httpx2.get(f"{cluster.api}/jobs/?limit=1000").status_code == 422


def test_jobs_are_accepted_while_redis_is_away_and_done_when_it_is_back_empty(cluster: Cluster) -> None:
    cluster.wipe_redis()
    job_id = cluster.submit("box", PICTURE, BOX)
    assert not httpx2.get(f"{cluster.api}/health/").json()["parts"]["queue"]["ok"]
    assert httpx2.get(f"{cluster.api}/health/ready").status_code == 200
    cluster.start("redis")
    assert cluster.ended(job_id)["status"] == "succeeded"


def test_workers_die_with_their_supervisor_and_the_job_goes_on(cluster: Cluster) -> None:
    job_id = cluster.submit("auto", PICTURE, SLOW | {"points_per_side": "20", "max_masks": "3"})
    assert eventually(lambda: cluster.get(f"/jobs/{job_id}/status")["status"] == "running", 20)
    workers = cluster.workers()
    (supervisor,) = [each for each in cluster.children("worker", "-m orchestrator.worker") if each not in workers]
    supervisor.kill()
    assert gone(workers, 5)
    cluster.kill("worker")
    cluster.start("worker")
    assert cluster.ended(job_id)["status"] == "succeeded"


def test_a_supervisor_that_is_told_to_stop_lets_the_job_end(cluster: Cluster) -> None:
    job_id = cluster.submit("auto", PICTURE, SLOW | {"points_per_side": "24", "max_masks": "3"})
    assert eventually(lambda: cluster.get(f"/jobs/{job_id}/status")["status"] == "running", 20)
    (worker,) = cluster.workers()
    psutil.Process(cluster.processes["worker"].pid).send_signal(signal.SIGTERM)
    assert gone([worker], 30)
    details = cluster.get(f"/jobs/{job_id}")
    assert (details["status"], details["attempts"]) == ("succeeded", 1)
    cluster.stop("worker")
    cluster.start("worker")
