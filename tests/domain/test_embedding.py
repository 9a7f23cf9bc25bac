import numpy as np
import pytest

from orchestrator.domain import embedding


@pytest.mark.parametrize("scale", [1e-6, 1.0, 3e5])
def test_an_embedding_comes_back_within_half_a_step_of_its_channel(scale: float) -> None:
    rng = np.random.default_rng(0)
    given = (rng.normal(0, 1, (8, 5, 6)) * rng.uniform(0.1, 10, (8, 1, 1)) * scale).astype(np.float32)
    packed = embedding.pack(given)
    found = embedding.unpack(packed, (8, 5, 6))
    step = np.ptp(given, axis=(1, 2), keepdims=True) / 65535
    assert packed.dtype == np.uint16
    assert found.dtype == np.float32
    assert (np.abs(found - given) <= 0.51 * step + 1e-6 * np.abs(given)).all()


def test_a_channel_of_one_value_stays_so() -> None:
    given = np.full((2, 3, 3), 7.5, np.float32)
    assert np.array_equal(embedding.unpack(embedding.pack(given), (2, 3, 3)), given)
