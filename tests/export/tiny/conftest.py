"""What all tests of the tiny variant need."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from export.tiny import pool


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other on busy cores make these small sums many times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def _chunk_of_six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "CHUNK", 6)
        pool.draw_chunk(folder, 0)
    return folder


@pytest.fixture
def scenes(_chunk_of_six: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pool's folder of six scenes, and chunks of six."""
    monkeypatch.setattr(pool, "CHUNK", 6)
    return _chunk_of_six
