"""Whatever is wrong: the right status, the one shape, soon, and the process stays up."""

import json
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from fastapi.testclient import TestClient

from orchestrator.api.errors import TABLE
from orchestrator.domain import errors
from orchestrator.domain.errors import QuarryError
from orchestrator.local.network import free_ports
from tests.conftest import REPOSITORY, Start
from tests.domain.test_image import _png_header_only
from tests.local.servers import running_triton
from tests.pictures import draw, encoded

PICTURE = encoded(draw(300, 400))
FILE = {"image": ("drawn.png", PICTURE)}
JPEG = encoded(draw(300, 400), "JPEG")


def shape(answer: httpx2.Response) -> str:
    """Checks the one shape; answers the code."""
    body = answer.json()
    assert set(body) == {"error", "detail", "request_id"}
    assert body["detail"].endswith((".", "?"))
    assert body["request_id"] == answer.headers["X-Request-ID"]
    return str(body["error"])


PICTURES = {
    "no picture": (b"hello", 415, "unsupported_picture"),
    "a truncated picture": (JPEG[: len(JPEG) // 2], 400, "invalid_picture"),
    "an empty file": (b"", 400, "invalid_picture"),
    "a bomb of 100 megapixels": (_png_header_only(10_000, 10_000), 413, "too_large"),
    "a picture of no height": (_png_header_only(10, 0), 415, "unsupported_picture"),
    "a format that is not served": (encoded(draw(9, 9), "GIF"), 415, "unsupported_picture"),
}


@pytest.mark.parametrize(("data", "status", "code"), PICTURES.values(), ids=PICTURES)
@pytest.mark.parametrize("route", ["/segment/box", "/segment/single", "/images"])
def test_bad_pictures_are_refused(client: TestClient, route: str, data: bytes, status: int, code: str) -> None:
    started = time.monotonic()
    fields = {"points": "[[1,1]]"} if route == "/segment/single" else {}
    answer = client.post(route, files={"image": ("name.png", data)}, data=fields)
    assert (answer.status_code, shape(answer)) == (status, code)
    assert time.monotonic() - started < 1


MANY = json.dumps([[1, 1]] * 10_000)
PROMPTS = {
    "a box outside": ("/segment/box", {"boxes": "[[500,10,600,20]]"}, 400, "invalid_prompt"),
    "a single box where a list is taken": ("/segment/box", {"box": "[1,1,9,9]"}, 400, "invalid_prompt"),
    "an inverted box": ("/segment/box", {"boxes": "[[50,50,20,20]]"}, 400, "invalid_prompt"),
    "a box of NaN": ("/segment/box", {"boxes": "[[NaN,50,70,80]]"}, 400, "invalid_prompt"),
    "a box of three numbers": ("/segment/box", {"boxes": "[[1,2,3]]"}, 400, "invalid_prompt"),
    "boxes that are no JSON": ("/segment/box", {"boxes": "[[1,2,3"}, 422, "invalid_request"),
    "boxes that are no list": ("/segment/box", {"boxes": "7"}, 422, "invalid_request"),
    "a misspelt field": ("/segment/auto", {"pred_iou_tresh": "0.5"}, 422, "invalid_request"),
    "a field of the form in the address": ("/segment/box?output=png", {}, 422, "invalid_request"),
    "no prompt": ("/segment/single", {}, 400, "invalid_prompt"),
    "a point outside": ("/segment/single", {"points": "[[4000,1]]"}, 400, "invalid_prompt"),
    "a point of infinity": ("/segment/single", {"points": "[[Infinity,1]]"}, 400, "invalid_prompt"),
    "10,000 points": ("/segment/single", {"points": MANY}, 400, "invalid_prompt"),
    "an odd label": ("/segment/single", {"points": "[[1,1]]", "labels": "[5]"}, 400, "invalid_prompt"),
    "a label too many": ("/segment/single", {"points": "[[1,1]]", "labels": "[1,1]"}, 400, "invalid_prompt"),
    "a grid of no points": ("/segment/auto", {"points_per_side": "0"}, 400, "invalid_prompt"),
    "a threshold of NaN": ("/segment/auto", {"pred_iou_thresh": "nan"}, 400, "invalid_prompt"),
    "a region of a huge size": (
        "/segment/auto",
        {"roi": '{"size":[100000,600000],"counts":"4"}'},
        400,
        "invalid_prompt",
    ),
    "a region of another size": ("/segment/auto", {"roi": '{"size":[2,2],"counts":"4"}'}, 400, "invalid_prompt"),
    "a region that is no encoding": (
        "/segment/auto",
        {"roi": '{"size":[300,400],"counts":"~~"}'},
        400,
        "invalid_prompt",
    ),
    "a region of runs that do not fill it": (
        "/segment/auto",
        {"roi": '{"size":[300,400],"counts":[7,-7,99999999999999999999]}'},
        400,
        "invalid_prompt",
    ),
    "a region outside": ("/segment/auto", {"roi": "[900,900,950,950]"}, 400, "invalid_prompt"),
    "points of three numbers": ("/segment/auto", {"points": "[[1,2,3]]"}, 400, "invalid_prompt"),
    "an unknown model": ("/segment/box", {"model": "sam9"}, 404, "not_found"),
    "a model that is not in the repository": ("/segment/box", {"model": "vit_h"}, 409, "model_missing"),
    "an unknown form": ("/segment/box", {"output": "gif"}, 422, "invalid_request"),
    "a picture and an id": ("/segment/box", {"image_id": "x"}, 400, "invalid_picture"),
}


@pytest.mark.parametrize(("route", "fields", "status", "code"), PROMPTS.values(), ids=PROMPTS)
def test_bad_prompts_are_refused(
    client: TestClient, route: str, fields: dict[str, str], status: int, code: str
) -> None:
    started = time.monotonic()
    answer = client.post(route, files=FILE, data=fields)
    assert (answer.status_code, shape(answer)) == (status, code)
    assert time.monotonic() - started < 1


def test_the_message_of_a_misspelt_field_names_the_right_one(client: TestClient) -> None:
    detail = client.post("/segment/auto", files=FILE, data={"pred_iou_tresh": "0.5"}).json()["detail"]
    assert detail == "pred_iou_tresh: there is no such field here, perhaps pred_iou_thresh."


def test_no_picture_at_all_is_refused(client: TestClient) -> None:
    assert shape(client.post("/segment/box", data={"boxes": "[[1,2,3,4]]"})) == "invalid_picture"
    assert client.post("/images").status_code == 422


def test_the_message_of_a_missing_model_names_the_call_that_makes_it(client: TestClient) -> None:
    detail = client.post("/segment/box", files=FILE, data={"model": "vit_b"}).json()["detail"]
    assert "python -m export vit_b" in detail


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing/here", 404, "not_found"),
        ("PUT", "/segment/box", 405, "method_not_allowed"),
        ("GET", "/images/unknown", 404, "not_found"),
        ("DELETE", "/images/unknown", 404, "not_found"),
        ("GET", "/models/sam9", 404, "not_found"),
        ("POST", "/models/vit_h/load", 409, "model_missing"),
    ],
)
def test_bad_addresses_are_refused(client: TestClient, method: str, path: str, status: int, code: str) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, shape(answer)) == (status, code)


def test_a_fault_of_ours_is_told_with_the_request_id_and_not_its_cause(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("orchestrator.domain.prompts.whole_picture", fail)
    answer = client.post("/segment/box", files=FILE, headers={"X-Request-ID": "mine-1"})
    assert answer.status_code == 500
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"] == "mine-1"
    assert "secret" not in answer.text


def test_every_error_of_ours_has_a_row_in_the_table() -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, QuarryError)}
    assert set(TABLE) == kinds - {QuarryError}


def test_a_body_that_is_too_large_is_refused_by_its_header_and_while_it_comes(start_api: Start) -> None:
    address = start_api(MAX_IMAGE_SIZE_MB="1")
    data = b"\x00" * (4 << 20)
    answer = httpx2.post(f"{address}/segment/box", files={"image": data})
    assert (answer.status_code, shape(answer)) == (413, "too_large")

    host, port = urlsplit(address).hostname, urlsplit(address).port
    head = b"POST /images HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    head += b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    with socket.create_connection((host, port), timeout=20) as connection:
        connection.sendall(head + b"%x\r\n%s\r\n" % (len(part), part))
        reply = b""
        for _ in range(64):
            try:
                connection.sendall(b"10000\r\n" + b"\x00" * 65536 + b"\r\n")
            except OSError:
                break
        while chunk := connection.recv(65536):
            reply += chunk
            if b"too_large" in reply:
                break
    assert reply.startswith(b"HTTP/1.1 413")
    assert httpx2.get(f"{address}/health/live").is_success


def test_triton_away_is_told_with_when_to_try_again_and_heals(start_api: Start, tmp_path: Path) -> None:
    (port,) = free_ports(1, "127.0.0.1")
    address = start_api(TRITON_URL=f"127.0.0.1:{port}")
    started = time.monotonic()
    answer = httpx2.post(f"{address}/segment/box", files=FILE)
    assert time.monotonic() - started < 1
    assert (answer.status_code, shape(answer)) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    ready = httpx2.get(f"{address}/health/ready")
    assert ready.status_code == 503
    assert not ready.json()["parts"]["encoder"]["ok"]
    assert httpx2.get(f"{address}/health/live").is_success
    with running_triton(REPOSITORY, tmp_path, ["tiny"], extra_args=[f"--grpc-port={port}"]):
        healed = _eventually(address)
    assert healed
    # What was seen before is known still; anything else needs Triton.
    assert httpx2.post(f"{address}/segment/box", files=FILE).status_code == 200
    another = {"image": encoded(draw(300, 400, seed=1))}
    assert httpx2.post(f"{address}/segment/box", files=another).status_code == 503


def _eventually(address: str) -> bool:
    for _ in range(100):
        if httpx2.post(f"{address}/segment/box", files=FILE, timeout=20).is_success:
            return True
        time.sleep(0.1)
    return False
