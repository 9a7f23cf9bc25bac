"""What only the real Triton shows: batches, bounds, and being away."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from orchestrator.adapters.repository import FileModelRepository
from orchestrator.adapters.triton_encoder import TritonEncoder
from orchestrator.domain.errors import (
    DeadlineExceeded,
    ModelNotLoaded,
    Overloaded,
    QuarryError,
    Unavailable,
)
from orchestrator.domain.geometry import to_model_input
from orchestrator.domain.image import Image
from orchestrator.local.network import free_ports
from orchestrator.local.triton import TritonAddresses
from tests.conftest import REPOSITORY
from tests.pictures import draw

MODEL = FileModelRepository(REPOSITORY).manifest("tiny")


@pytest.fixture
def encoder(triton: TritonAddresses) -> TritonEncoder:
    adapter = TritonEncoder(triton.grpc, 30)
    adapter.load("tiny")
    return adapter


def counts(triton: TritonAddresses) -> tuple[int, int]:
    """Triton's own (inferences, executions) of tiny."""
    client = grpc.InferenceServerClient(triton.grpc)
    (stats,) = client.get_inference_statistics("tiny").model_stats
    return stats.inference_count, stats.execution_count


def settled(triton: TritonAddresses, inferences: int) -> tuple[int, int]:
    """The counts once there are so many: Triton answers first and counts a moment later."""
    for _ in range(50):
        if (found := counts(triton))[0] >= inferences:
            break
        time.sleep(0.1)
    return found


def test_concurrent_requests_become_batches_and_answer_as_if_alone(
    triton: TritonAddresses, encoder: TritonEncoder
) -> None:
    pictures = [to_model_input(Image(draw(200, 300, seed)), MODEL.image_side) for seed in range(8)]
    start = counts(triton)[0]
    alone = [encoder.encode(MODEL, picture) for picture in pictures]
    before = settled(triton, start + 8)
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda picture: encoder.encode(MODEL, picture), pictures * 3))
    inferences, executions = (now - then for now, then in zip(settled(triton, start + 32), before, strict=True))
    assert inferences == 24
    assert executions < inferences
    # A batch's matrix products are blocked otherwise than one picture's: the last bits differ, the masks do not.
    for answer, expected in zip(together, alone * 3, strict=True):
        assert np.abs(answer - expected).max() <= 1e-5


def test_a_request_that_may_not_wait_is_told_so(triton: TritonAddresses, encoder: TritonEncoder) -> None:
    hurried = TritonEncoder(triton.grpc, 0.0005)
    with pytest.raises(DeadlineExceeded):
        hurried.encode(MODEL, to_model_input(Image(draw(200, 300)), MODEL.image_side))


def test_a_triton_that_is_away_is_unavailable_at_once() -> None:
    (port,) = free_ports(1, "127.0.0.1")
    encoder = TritonEncoder(f"127.0.0.1:{port}", 5)
    calls: list[Callable[[], object]] = [
        encoder.check,
        encoder.loaded,
        lambda: encoder.load("tiny"),
        lambda: encoder.unload("tiny"),
    ]
    for call in calls:
        with pytest.raises(Unavailable):
            call()
    with pytest.raises(Unavailable):
        encoder.encode(MODEL, to_model_input(Image(draw(20, 30)), MODEL.image_side))


FOREIGN: Sequence[tuple[str, str, type[QuarryError]]] = [
    ("StatusCode.DEADLINE_EXCEEDED", "Deadline Exceeded", DeadlineExceeded),
    ("StatusCode.UNAVAILABLE", "[request id: x] Request timeout expired", DeadlineExceeded),
    ("StatusCode.UNAVAILABLE", "in ensemble, Exceeds maximum queue size", Overloaded),
    ("StatusCode.UNAVAILABLE", "failed to connect to all addresses", Unavailable),
    ("StatusCode.NOT_FOUND", "Request for unknown model: 'tiny' is not found", ModelNotLoaded),
    ("StatusCode.UNAVAILABLE", "Request for unknown model: 'tiny' has no available versions", ModelNotLoaded),
    ("StatusCode.INTERNAL", "failed to load 'tiny', no version is available", Unavailable),
    ("StatusCode.INTERNAL", "something else", Unavailable),
]


@pytest.mark.parametrize(("status", "message", "expected"), FOREIGN)
def test_tritons_errors_become_ours(status: str, message: str, expected: type[QuarryError], tmp_path: Path) -> None:
    encoder = TritonEncoder("127.0.0.1:1", 1)
    with pytest.raises(QuarryError) as caught, encoder._translated("tiny"):
        raise InferenceServerException(message, status)
    assert type(caught.value) is expected
