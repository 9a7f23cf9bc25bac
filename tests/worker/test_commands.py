"""`quarry batch` and `quarry jobs` against a whole service."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.local.triton import TritonAddresses
from tests.local.processes import eventually
from tests.pictures import draw, encoded
from tests.worker.cluster import Cluster, running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, triton: TritonAddresses) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("cluster"), "sqlite", triton.grpc) as cluster:
        yield cluster


def start(cluster: Cluster, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "orchestrator.cli.main", *arguments]
    environment = cluster.environment | {"COLUMNS": "200"}
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)


def quarry(cluster: Cluster, *arguments: str) -> tuple[int, str, str]:
    with start(cluster, *arguments) as process:
        out, errors = process.communicate(timeout=120)
    return process.returncode, out, errors


BOX = ("--operation", "box", "--field", "boxes=[[5,5,60,60]]")


def test_a_folder_is_done_again_only_where_something_changed(cluster: Cluster, tmp_path: Path) -> None:
    pictures, out = tmp_path / "in", tmp_path / "out"
    (pictures / "deeper").mkdir(parents=True)
    for index, name in enumerate(("a.png", "b.png", "deeper/c.png")):
        (pictures / name).write_bytes(encoded(draw(80, 90, index)))
    (pictures / "broken.jpg").write_bytes(b"no picture")
    command = ("batch", str(pictures), "-o", str(out), *BOX, "--server", cluster.api)
    status, said, errors = quarry(cluster, *command)
    assert status == 1, errors
    assert "3 of 4 pictures" in said
    assert "broken.jpg: This is not a picture" in errors
    assert json.loads((out / "deeper/c.png/result.json").read_text())["masks"]
    before = cluster.get("/jobs/?children=true&limit=1")["total"]
    (pictures / "broken.jpg").unlink()
    assert quarry(cluster, *command)[0] == 0
    assert cluster.get("/jobs/?children=true&limit=1")["total"] == before
    (pictures / "a.png").write_bytes(encoded(draw(80, 90, 9)))
    assert quarry(cluster, *command)[0] == 0
    assert cluster.get("/jobs/?children=true&limit=1")["total"] == before + 4


def test_a_batch_that_was_interrupted_is_joined_and_not_repeated(cluster: Cluster, tmp_path: Path) -> None:
    pictures, out = tmp_path / "in", tmp_path / "out"
    pictures.mkdir()
    for index in range(6):
        (pictures / f"{index:02}.png").write_bytes(encoded(draw(200, 220, 100 + index)))
    slow = ("--field", "points_per_side=8", "--field", "pred_iou_thresh=0.3")
    command = ("batch", str(pictures), "-o", str(out), *slow, "--server", cluster.api)
    before = cluster.get("/jobs/?children=true&limit=1")["total"]
    with start(cluster, *command) as process:
        assert eventually(lambda: len(list(out.glob("*.png"))) >= 1, 60)
        process.kill()
    assert quarry(cluster, *command)[0] == 0
    assert len(list(out.glob("*.png/result.json"))) == 6
    assert cluster.get("/jobs/?children=true&limit=1")["total"] == before + 7


def test_queues_are_shown_by_the_service_and_by_the_database(cluster: Cluster) -> None:
    job_id = cluster.submit("box", encoded(draw(80, 90)), {"boxes": "[[5,5,60,60]]"})
    cluster.ended(job_id)
    for server in ((), ("--server", cluster.api)):
        status, said, errors = quarry(cluster, "jobs", *server)
        assert status == 0, errors
        assert job_id in said
        assert "succeeded" in said
        assert ("1 workers listen" in said) != bool(server)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["batch", "/proc/self/fd"], "--server"),
        (["batch", "/proc/self/attr", "--server", "http://127.0.0.1:9"], "no pictures"),
        (["batch", "/proc/self/attr", "--server", "x", "--field", "a"], "name=value"),
        (["jobs", "--server", "http://127.0.0.1:9"], "does not answer"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    plain_environment: dict[str, str], arguments: list[str], words: str
) -> None:
    command = [sys.executable, "-m", "orchestrator.cli.main", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | plain_environment, timeout=60)
    assert done.returncode != 0
    assert words in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
