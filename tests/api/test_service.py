"""The API as a process: many callers, health, models, its own description."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from orchestrator.api.admission import THREADS_PER_CORE
from orchestrator.api.app import build
from orchestrator.bootstrap import Services
from orchestrator.domain.errors import Overloaded
from tests.pictures import draw, encoded

THREADS, CALLS = 50, 20


@pytest.mark.timeout(900)  # a thousand pictures
def test_fifty_callers_at_once_get_what_each_would_get_alone(api: str) -> None:
    """No state is shared: 50 threads with 20 different prompts and pictures each."""
    pictures = [encoded(draw(150 + 10 * index, 260 - 5 * index, seed=index), "JPEG") for index in range(CALLS)]

    def ask(client: httpx2.Client, index: int) -> Any:
        box = [10 + index, 12, 120 + index, 130]
        answer = client.post("/segment/box", files={"image": pictures[index]}, data={"boxes": f"[{box}]"})
        assert answer.status_code == 200, answer.text
        return [(mask["segmentation"], round(mask["predicted_iou"], 4)) for mask in answer.json()["masks"]]

    def all_calls(offset: int) -> list[Any]:
        with httpx2.Client(base_url=api, timeout=120) as client:
            order = [(offset + step) % CALLS for step in range(CALLS)]
            answers = {index: ask(client, index) for index in order}
        return [answers[index] for index in range(CALLS)]

    alone = all_calls(0)
    with ThreadPoolExecutor(THREADS) as threads:
        for answers in threads.map(all_calls, range(THREADS)):
            assert answers == alone


def test_health_answers_in_under_100_ms_with_each_part(api: str) -> None:
    with httpx2.Client(base_url=api) as client:
        client.get("/health/ready")
        times = []
        for _ in range(5):
            started = time.monotonic()
            body = client.get("/health/").json()
            times.append(time.monotonic() - started)
    assert set(body["parts"]) == {"encoder", "model", "database", "uploads", "results"}
    assert all(set(part) == {"ok", "detail", "milliseconds"} for part in body["parts"].values())
    assert sorted(times)[len(times) // 2] < 0.1


def test_models_are_listed_loaded_and_unloaded(client: TestClient) -> None:
    listed = client.get("/models/").json()
    assert listed["default"] == "tiny"
    states = {model["name"]: model["state"] for model in listed["models"]}
    assert {name: states[name] for name in ("vit_b", "vit_l", "vit_h")} == dict.fromkeys(
        ("vit_b", "vit_l", "vit_h"), "missing"
    )
    assert client.post("/models/tiny/load").json()["state"] == "loaded"
    details = client.get("/models/tiny").json()["manifest"]
    assert details["image_side"] % 16 == 0
    assert "no replacement" in details["notice"]
    assert client.delete("/models/tiny/unload").json()["state"] == "not_loaded"
    ready = client.get("/health/ready")
    assert ready.status_code == 200, ready.text  # the next request loads it
    assert client.post("/segment/box", files={"image": encoded(draw(50, 60))}).status_code == 200
    assert client.get("/models/tiny").json()["state"] == "loaded"


def test_the_api_describes_itself_with_examples_and_errors(client: TestClient) -> None:
    description = client.get("/openapi.json").json()
    assert "image-quarry-api" in client.get("/docs").text
    route = description["paths"]["/segment/box"]["post"]
    assert {"200", "400", "404", "409", "413", "415", "422", "503"} <= set(route["responses"])
    for status in ("400", "422"):
        schema = route["responses"][status]["content"]["application/json"]["schema"]
        assert schema["$ref"].endswith("ErrorBody")
    form = route["requestBody"]["content"]["multipart/form-data"]["schema"]["$ref"].rsplit("/", 1)[-1]
    assert description["components"]["schemas"][form]["properties"]["boxes"]["examples"]


def test_past_the_bound_callers_are_told_to_come_again(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.api.app.MOST_WAITING", 0)
    with TestClient(build(services)) as client:
        answer = client.post("/segment/box", files={"image": b"never read"})
        assert client.get("/health/live").is_success
    assert answer.status_code == 503
    assert answer.json()["error"] == "overloaded"
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["X-Request-ID"]


def test_health_answers_while_every_thread_of_the_heavy_routes_is_taken(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def work(*_: object, **__: object) -> None:
        release.wait(20)
        raise Overloaded("enough")

    monkeypatch.setattr(type(services.segment), "boxes", work)
    calls = 2 * THREADS_PER_CORE * services.settings.cores
    with TestClient(build(services)) as client, ThreadPoolExecutor(calls) as threads:
        files = {"image": encoded(draw(20, 30))}
        busy = [threads.submit(client.post, "/segment/box", files=files) for _ in range(calls)]
        time.sleep(1)
        started = time.monotonic()
        health = client.get("/health/")
        taken = time.monotonic() - started
        release.set()
        assert {future.result().status_code for future in busy} == {503}
    assert health.status_code == 200
    assert taken < 1


def test_the_start_page_points_to_the_description(client: TestClient) -> None:
    assert "/docs" in client.get("/").text


@pytest.mark.parametrize("given", ["two words", "x" * 65, "tab\there"])
def test_a_request_id_that_is_not_plain_is_replaced(client: TestClient, given: str) -> None:
    answer = client.get("/health/live", headers={"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] != given
    assert client.get("/health/live", headers={"X-Request-ID": "abc-1"}).headers["X-Request-ID"] == "abc-1"


@pytest.mark.parametrize("path", ["/health/live", "/docs", "/jobs/", "/jobs", "/models", "/health"])
def test_head_answers_what_get_does_without_a_body(api: str, path: str) -> None:
    for _ in range(20 if path == "/health" else 1):  # whose milliseconds have more digits one time than another
        asked, answer = httpx2.get(api + path), httpx2.head(api + path)
        assert (answer.status_code, answer.content) == (200, b"")
        if answer.headers["Content-Length"] == asked.headers["Content-Length"]:
            return
    pytest.fail(f"{answer.headers['Content-Length']} bytes instead of {asked.headers['Content-Length']}")


@pytest.mark.parametrize("module", ["orchestrator.api", "orchestrator.worker"])
def test_an_engine_that_is_not_installed_is_one_sentence_and_not_a_traceback(module: str, tmp_path: Path) -> None:
    (tmp_path / "openvino.py").write_text("raise ImportError('not installed')")
    given = {"CPU_ENGINE": "openvino", "REDIS_URL": "redis://127.0.0.1:1", "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-m", module], cwd=tmp_path, env=os.environ | given, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        "error: CPU_ENGINE names OpenVINO, which is not installed: pip install 'image-quarry[openvino]'.\n"
    )
