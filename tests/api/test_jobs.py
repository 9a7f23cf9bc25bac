"""Jobs over HTTP where there is no queue, and none of the jobs asked for."""

import pytest
from fastapi.testclient import TestClient

from tests.api.test_errors import FILE, shape


@pytest.mark.parametrize("route", ["box/async", "auto/async", "objects/extract/async"])
def test_without_a_redis_nothing_is_promised(client: TestClient, route: str) -> None:
    answer = client.post(f"/segment/{route}", files=FILE)
    assert (answer.status_code, shape(answer)) == (503, "unavailable")
    assert "REDIS_URL" in answer.json()["detail"]
    assert int(answer.headers["Retry-After"]) > 0
    assert client.get("/jobs/").json()["total"] == 0


@pytest.mark.parametrize("path", ["", "/status", "/result", "/events", "/files/mask_0.png"])
def test_a_job_that_is_not_there_is_not_found(client: TestClient, path: str) -> None:
    answer = client.get(f"/jobs/unknown{path}")
    assert (answer.status_code, shape(answer)) == (404, "not_found")


def test_a_job_that_is_not_there_cannot_be_erased(client: TestClient) -> None:
    assert client.delete("/jobs/unknown").status_code == 404


def test_the_description_has_the_asynchronous_routes_with_their_refusals(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for route in ("auto/async", "box/async", "objects/extract/async", "batch"):
        responses = paths[f"/segment/{route}"]["post"]["responses"]
        assert {"202", "400", "404", "409", "422", "429", "503"} <= set(responses)
    assert {"200", "404", "409"} <= set(paths["/jobs/{job_id}/result"]["get"]["responses"])


@pytest.mark.parametrize(
    "asked", ["status=odd", "kind=odd", "since=yesterday", "limit=0", "offset=-1", f"offset={10**20}"]
)
def test_a_list_that_makes_no_sense_is_refused(client: TestClient, asked: str) -> None:
    answer = client.get(f"/jobs/?{asked}")
    assert (answer.status_code, shape(answer)) == (422, "invalid_request")
