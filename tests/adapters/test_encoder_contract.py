"""What every encoder does: Triton's, the in-process one, and the fake."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from orchestrator.adapters.in_process_encoder import EncoderGraph, InProcessEncoder
from orchestrator.adapters.onnx_graph import OnnxGraph
from orchestrator.adapters.openvino_graph import OpenVinoGraph
from orchestrator.adapters.repository import FileModelRepository
from orchestrator.adapters.triton_encoder import TritonEncoder
from orchestrator.domain.errors import ModelNotLoaded, Unavailable
from orchestrator.domain.geometry import to_model_input
from orchestrator.domain.image import Image
from orchestrator.domain.model import Manifest
from orchestrator.local.triton import TritonAddresses
from orchestrator.usecases.ports.engines import Encoder
from tests.conftest import REPOSITORY
from tests.fakes import MANIFEST, FakeEncoder
from tests.pictures import draw


@pytest.fixture(params=["triton", "in process", "openvino", "fake"])
def encoder(request: pytest.FixtureRequest) -> Iterator[Encoder]:
    if request.param == "triton":
        adapter = TritonEncoder(request.getfixturevalue("triton").grpc, 30)
        yield adapter
        adapter.load("tiny")  # others share the server
    elif request.param == "in process":
        yield InProcessEncoder(REPOSITORY, partial(OnnxGraph, threads=2))
    elif request.param == "openvino":
        yield InProcessEncoder(REPOSITORY, partial(OpenVinoGraph, threads=2, precision="f32"))
    else:
        yield FakeEncoder()


@pytest.fixture
def model(encoder: Encoder) -> Manifest:
    return MANIFEST if isinstance(encoder, FakeEncoder) else FileModelRepository(REPOSITORY).manifest("tiny")


def test_a_loaded_model_encodes_to_its_shape_and_the_same_each_time(encoder: Encoder, model: Manifest) -> None:
    encoder.load("tiny")
    picture = to_model_input(Image(draw(100, 200)), model.image_side)
    first = encoder.encode(model, picture)
    assert first.shape == model.embedding_shape
    assert first.dtype == np.float32
    assert np.array_equal(first, encoder.encode(model, picture))


def test_different_pictures_have_different_embeddings(encoder: Encoder, model: Manifest) -> None:
    encoder.load("tiny")
    one, other = (
        encoder.encode(model, to_model_input(Image(draw(100, 200, seed)), model.image_side)) for seed in (1, 2)
    )
    assert not np.array_equal(one, other)


def test_loading_and_unloading_is_seen(encoder: Encoder, model: Manifest) -> None:
    encoder.load("tiny")
    assert encoder.loaded() == {"tiny": model.version}
    encoder.unload("tiny")
    assert encoder.loaded() == {}
    with pytest.raises(ModelNotLoaded):
        encoder.encode(model, to_model_input(Image(draw(10, 20)), model.image_side))


def test_a_model_that_is_not_in_the_repository_cannot_be_loaded(encoder: Encoder) -> None:
    with pytest.raises(Unavailable):
        encoder.load("vit_h")


def test_an_encoder_that_is_there_says_so(encoder: Encoder) -> None:
    encoder.check()


@pytest.mark.parametrize(
    ("open_graph", "near"),
    [
        (partial(OnnxGraph, threads=2), 1e-5),
        (partial(OpenVinoGraph, threads=2, precision="f32"), 1e-4),
        (partial(OpenVinoGraph, threads=2, precision="bf16"), 0.2),
    ],
)
def test_triton_and_the_in_process_encoder_agree(
    triton: TritonAddresses, open_graph: Callable[[Path], EncoderGraph], near: float
) -> None:
    model = FileModelRepository(REPOSITORY).manifest("tiny")
    here = InProcessEncoder(REPOSITORY, open_graph)
    here.load("tiny")
    there = TritonEncoder(triton.grpc, 30)
    picture = to_model_input(Image(draw(300, 200)), model.image_side)
    assert np.abs(here.encode(model, picture) - there.encode(model, picture)).max() <= near


def test_a_damaged_graph_is_one_clear_error(tmp_path: Path) -> None:
    folder = tmp_path / "tiny" / "1"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes((REPOSITORY / "tiny/1/manifest.json").read_bytes())
    (folder / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(Unavailable, match="Export the model again"):
        InProcessEncoder(tmp_path, partial(OnnxGraph, threads=1)).load("tiny")
