"""Result files over HTTP."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from orchestrator.settings import Settings
from tests.api.test_errors import shape
from tests.pictures import draw, encoded

FILE = {"image": ("drawn.png", encoded(draw(300, 400, seed=4)))}
BOXES = {"boxes": "[[50,60,200,220],[10,10,60,60]]", "min_area": "0"}


@pytest.fixture
def extraction(client: TestClient) -> Any:
    return client.post("/segment/objects/extract", files=FILE, data=BOXES).json()


def test_a_file_has_its_name_a_strong_tag_and_may_be_cached(client: TestClient, extraction: Any) -> None:
    first = client.get(extraction["objects"][0]["url"])
    assert first.status_code == 200
    assert first.headers["content-type"] == "image/png"
    assert first.headers["content-disposition"] == 'inline; filename="object_0.png"'
    assert first.headers["cache-control"].startswith("public, max-age=")
    assert first.headers["etag"].startswith('"')
    second = client.get(extraction["objects"][1]["url"])
    assert second.headers["etag"] != first.headers["etag"]


def test_what_a_cache_has_already_is_not_sent_again(client: TestClient, extraction: Any) -> None:
    url = extraction["objects"][0]["url"]
    tag = client.get(url).headers["etag"]
    for known in (tag, f'"other", W/{tag}', "*"):
        answer = client.get(url, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == tag
    assert client.get(url, headers={"If-None-Match": '"other"'}).status_code == 200


def test_equal_content_has_one_tag(client: TestClient, extraction: Any) -> None:
    again = client.post("/segment/objects/extract", files=FILE, data=BOXES).json()
    tags = [client.get(each["objects"][0]["url"]).headers["etag"] for each in (extraction, again)]
    assert tags[0] == tags[1]


def test_ranges_are_sent(client: TestClient, extraction: Any) -> None:
    url = extraction["objects"][0]["url"]
    whole = client.get(url)
    part = client.get(url, headers={"Range": "bytes=8-31", "If-Range": whole.headers["etag"]})
    assert (part.status_code, part.content) == (206, whole.content[8:32])
    assert part.headers["content-range"] == f"bytes 8-31/{len(whole.content)}"
    changed = client.get(url, headers={"Range": "bytes=8-31", "If-Range": '"of an older file"'})
    assert (changed.status_code, changed.content) == (200, whole.content)
    behind = client.get(url, headers={"Range": "bytes=99999999-"})
    assert (behind.status_code, shape(behind)) == (416, "range_not_satisfiable")
    assert behind.headers["content-range"] == f"bytes */{len(whole.content)}"


@pytest.mark.parametrize(
    "header",
    ["bytes=", "bytes=9-2", "bytes=a-b", "lines=1-2", "nonsense", "bytes=1-2,x", f"bytes={'9' * 5000}-"],
    ids=lambda header: header[:12],
)
def test_what_is_no_range_is_left_out_of_account(client: TestClient, extraction: Any, header: str) -> None:
    url = extraction["objects"][0]["url"]
    answer = client.get(url, headers={"Range": header})
    assert (answer.status_code, answer.content) == (200, client.get(url).content)


@pytest.mark.parametrize("name", ["object_9.png", "..%2fresult.json", "%2e%2e", ".hidden"])
def test_what_is_no_file_of_the_job_is_not_found(client: TestClient, extraction: Any, name: str) -> None:
    answer = client.get(f"/jobs/{extraction['job_id']}/files/{name}")
    assert answer.status_code == 404


def test_an_extraction_is_a_job_that_ended_and_may_be_erased(client: TestClient, extraction: Any) -> None:
    job = f"/jobs/{extraction['job_id']}"
    details = client.get(job).json()
    assert (details["kind"], details["status"]) == ("extract", "succeeded")
    assert details["files"] == ["object_0.png", "object_1.png", "result.json"]
    result = client.get(f"{job}/result").json()
    for answer in (result, extraction):
        del answer["request_id"]
    assert result == extraction
    packed = client.get(f"{job}/result", params={"output": "zip"})
    assert packed.headers["content-type"] == "application/zip"
    assert client.get(f"{job}/result", headers={"Accept": "application/zip"}).content == packed.content
    assert client.get(f"{job}/result", headers={"Accept": "*/*"}).json()["objects"] == extraction["objects"]
    disagreeing = client.get(f"{job}/result", params={"output": "zip"}, headers={"Accept": "application/json"})
    assert shape(disagreeing) == "not_acceptable"
    assert client.get(f"{job}/result", params={"output": "png"}).status_code == 400  # there are two
    assert shape(client.get(f"{job}/result", params={"output": "npz"})) == "not_acceptable"
    assert client.delete(job).status_code == 204
    assert client.get(extraction["objects"][0]["url"]).status_code == 404


def test_on_disk_only_the_services_user_can_read_them(client: TestClient, extraction: Any, settings: Settings) -> None:
    folder = settings.results_dir / "objects" / extraction["job_id"]
    assert {path.name for path in folder.iterdir()} == {"object_0.png", "object_1.png", "result.json"}
    for path in (folder, folder.parent):
        assert path.stat().st_mode & 0o077 == 0


@contextmanager
def no_file_larger_than(most: int) -> Iterator[None]:
    """A real refusal by the kernel, as of a full disk: root's too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def left(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def noise(height: int = 400) -> bytes:
    """A picture that no file format makes small."""
    return encoded(np.random.default_rng(0).integers(0, 256, (height, 500, 3), np.uint8))


@pytest.mark.parametrize("height", [400, 900])  # the larger one is put on the disk while it comes
def test_a_full_upload_disk_is_told_and_nothing_is_left(client: TestClient, settings: Settings, height: int) -> None:
    with no_file_larger_than(300_000):
        answer = client.post("/images", files={"image": noise(height)})
    assert (answer.status_code, shape(answer)) == (507, "storage_full")
    assert left(settings.upload_dir) == []


def test_a_full_results_disk_leaves_no_job(client: TestClient, settings: Settings) -> None:
    fields = {"points_per_side": "3", "pred_iou_thresh": "0", "stability_score_thresh": "0", "min_area": "0"}
    with no_file_larger_than(2_000):
        answer = client.post("/segment/objects/extract", files={"image": noise()}, data=fields)
    assert (answer.status_code, shape(answer)) == (507, "storage_full")
    assert "disk" in answer.json()["detail"]
    assert left(settings.results_dir) == []
    assert client.get("/jobs/").json()["total"] == 0


def test_a_results_folder_that_cannot_be_used_is_told(client: TestClient, settings: Settings) -> None:
    settings.results_dir.write_bytes(b"")  # not even root can make a folder in a file
    answer = client.post("/segment/objects/extract", files=FILE, data=BOXES)
    assert (answer.status_code, shape(answer)) == (503, "unavailable")
    assert "results folder" in answer.json()["detail"]
