"""Pictures are encoded once, and what is made of them goes when they go."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from orchestrator import bootstrap
from orchestrator.adapters.layered_cache import NEWS_SECONDS
from orchestrator.api.app import build
from orchestrator.domain import image as images
from orchestrator.local.triton import TritonAddresses
from orchestrator.settings import Settings
from tests.adapters.test_triton_encoder import counts
from tests.local.servers import running_redis
from tests.pictures import draw, encoded

LOOSE = {"points_per_side": "4", "pred_iou_thresh": "0.2", "stability_score_thresh": "0.2"}


def picture(seed: int) -> bytes:
    return encoded(draw(300, 400, seed=seed), "JPEG")


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def replicas(settings: Settings, redis_url: str) -> Iterator[list[TestClient]]:
    """Two services that share database, files and Redis."""
    shared = settings.model_copy(update={"redis_url": type(settings.redis_url)(redis_url)})
    with ExitStack() as stack:
        yield [
            stack.enter_context(TestClient(build(bootstrap.services(shared)), raise_server_exceptions=False))
            for _ in range(2)
        ]


def upload(client: TestClient, data: bytes) -> str:
    return str(client.post("/images", files={"image": data}).json()["id"])


def ask(client: TestClient, image_id: str, route: str = "/segment/single", **fields: str) -> Any:
    prompt = {"points": "[[120,130]]"} if route == "/segment/single" else {}
    answer = client.post(route, data=prompt | fields | {"image_id": image_id})
    assert answer.status_code == 200, answer.text
    return answer.json()


def encodings(triton: TritonAddresses) -> int:
    return counts(triton)[0]


def test_ten_clicks_and_two_automatic_runs_are_one_encoding(client: TestClient, triton: TritonAddresses) -> None:
    image_id, before = upload(client, picture(101)), encodings(triton)
    caches = [ask(client, image_id, points=f"[[{20 + 30 * click},150]]")["timings_ms"]["cache"] for click in range(10)]
    caches += [ask(client, image_id, "/segment/auto", **LOOSE)["timings_ms"]["cache"] for _ in range(2)]
    assert encodings(triton) - before == 1
    assert caches == ["miss"] + ["hit"] * 11


def test_a_file_that_was_seen_before_is_not_encoded_again(client: TestClient, triton: TritonAddresses) -> None:
    data, before = picture(102), encodings(triton)
    answers = [client.post("/segment/box", files={"image": data}).json() for _ in range(2)]
    assert encodings(triton) - before == 1
    assert answers[0]["masks"] == answers[1]["masks"]


def test_a_known_picture_is_not_even_decoded(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    image_id = upload(client, picture(103))
    ask(client, image_id)

    def fail(*_: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(images, "decode", fail)
    assert ask(client, image_id)["masks"]
    assert ask(client, image_id, "/segment/auto", output="polygon", **LOOSE)["timings_ms"]["cache"] == "hit"
    assert client.post("/segment/box", data={"image_id": image_id, "output": "overlay"}).status_code == 500


def test_replicas_share_embeddings_and_handles(replicas: list[TestClient], triton: TritonAddresses) -> None:
    image_id, before = upload(replicas[0], picture(104)), encodings(triton)
    first = ask(replicas[0], image_id, refine="true")
    second = ask(replicas[1], image_id, mask_input=first["mask_inputs"][0], multimask="false")
    assert encodings(triton) - before == 1
    assert (first["timings_ms"]["cache"], second["timings_ms"]["cache"]) == ("miss", "hit")
    assert ask(replicas[1], image_id)["masks"] == first["masks"]


def test_what_is_deleted_is_forgotten_by_all_replicas(replicas: list[TestClient], triton: TritonAddresses) -> None:
    data = picture(105)
    image_id = upload(replicas[0], data)
    handle = ask(replicas[0], image_id, refine="true")["mask_inputs"][0]
    assert ask(replicas[1], image_id)["timings_ms"]["cache"] == "hit"
    assert replicas[0].delete(f"/images/{image_id}").status_code == 204
    time.sleep(NEWS_SECONDS)  # the other had it in its memory, and hears of it before it answers from there
    before = encodings(triton)
    again = upload(replicas[1], data)
    assert ask(replicas[1], again)["timings_ms"]["cache"] == "miss"
    assert encodings(triton) - before == 1
    gone = replicas[0].post("/segment/single", data={"image_id": again, "points": "[[9,9]]", "mask_input": handle})
    assert gone.status_code == 404


def test_a_picture_that_somebody_else_has_too_is_not_forgotten(client: TestClient) -> None:
    data = picture(106)
    mine, theirs = upload(client, data), upload(client, data)
    ask(client, mine)
    client.delete(f"/images/{mine}")
    assert ask(client, theirs)["timings_ms"]["cache"] == "hit"


def test_without_its_redis_the_service_goes_on(settings: Settings, tmp_path: Path) -> None:
    away = settings.model_copy(update={"redis_url": type(settings.redis_url)(f"unix://{tmp_path}/none.sock")})
    with TestClient(build(bootstrap.services(away)), raise_server_exceptions=False) as client:
        image_id = upload(client, picture(107))
        assert ask(client, image_id)["timings_ms"]["cache"] == "miss"
        assert ask(client, image_id)["timings_ms"]["cache"] == "hit"
        deleted = client.delete(f"/images/{image_id}")
        assert deleted.status_code == 503
        assert "Redis" in deleted.json()["detail"]
        assert client.get(f"/images/{image_id}").status_code == 404


def test_a_mask_is_refined_by_giving_its_handle_back(client: TestClient) -> None:
    image_id = upload(client, picture(108))
    first = ask(client, image_id, refine="true")
    assert len(first["mask_inputs"]) == 3
    refined = ask(client, image_id, mask_input=first["mask_inputs"][0], multimask="false")
    plain = ask(client, image_id, multimask="false")
    assert "mask_inputs" not in plain
    assert refined["masks"] != plain["masks"]


def test_a_handle_is_of_its_picture_alone(client: TestClient) -> None:
    handle = ask(client, upload(client, picture(109)), refine="true")["mask_inputs"][0]
    for wrong in (handle, "nonsense"):
        other = upload(client, picture(110))
        answer = client.post("/segment/single", data={"image_id": other, "points": "[[9,9]]", "mask_input": wrong})
        assert answer.status_code == 404
        assert "mask_input" in answer.json()["detail"]
