"""The application in this process, for all that needs no socket."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from orchestrator.api.app import build
from orchestrator.bootstrap import Services


@pytest.fixture
def client(services: Services) -> Iterator[TestClient]:
    with TestClient(build(services), raise_server_exceptions=False) as client:
        yield client
