from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

from orchestrator.adapters.decoders import FolderDecoders
from orchestrator.adapters.onnx_decoder import OnnxDecoder
from orchestrator.adapters.openvino_decoder import OpenVinoDecoder
from orchestrator.adapters.repository import FileModelRepository
from orchestrator.domain.errors import ModelMissing
from orchestrator.usecases.ports.engines import Decoder, Float32
from tests.conftest import REPOSITORY

MODEL = FileModelRepository(REPOSITORY).manifest("tiny")


TOLERANCE = {"onnxruntime": 1e-6, "openvino": 1e-5, "openvino-bf16": 0.05}
"""Of the largest low-res logit, and of 1 in predicted IoUs, for a random embedding; bfloat16 keeps three digits."""


def open_decoder(engine: str) -> Decoder:
    made: Callable[..., Decoder] = OnnxDecoder
    if engine != "onnxruntime":
        made = partial(OpenVinoDecoder, precision="bf16" if engine == "openvino-bf16" else "f32")
    return FolderDecoders(REPOSITORY, partial(made, threads=2)).get(MODEL)


@pytest.fixture(scope="module", params=TOLERANCE)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def decoder(engine: str) -> Decoder:
    return open_decoder(engine)


@pytest.fixture
def near(engine: str) -> float:
    return TOLERANCE[engine]


def error(found: Float32, expected: Float32) -> float:
    """The largest difference, as a part of the largest expected number or of 1."""
    return float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))


def prompts(
    count: int,
) -> tuple[np.ndarray[tuple[int, int, int], np.dtype[np.float32]], np.ndarray[tuple[int, int], np.dtype[np.int32]]]:
    rng = np.random.default_rng(count)
    coords = np.zeros((count, 2, 2), np.float32)
    coords[:, 0] = rng.uniform(0, MODEL.image_side, (count, 2))
    return coords, np.tile(np.array([1, -1], np.int32), (count, 1))


def test_only_the_masks_that_are_kept_are_made_in_their_order(decoder: Decoder, near: float) -> None:
    embedding = np.random.default_rng(0).normal(0, 1, MODEL.embedding_shape).astype(np.float32)
    scores = decoder.open(embedding).scores(*prompts(11))
    assert scores.iou.shape == (11, 4)
    everything = scores.masks(np.ones((11, 4), np.bool_)).reshape(11, 4, MODEL.low_res_side, MODEL.low_res_side)
    keep = np.random.default_rng(1).random((11, 4)) < 0.4
    keep[3] = False
    some = scores.masks(keep)
    assert len(some) == keep.sum()
    assert error(some, everything[keep]) <= near


def test_keeping_none_makes_none(decoder: Decoder) -> None:
    scores = decoder.open(np.zeros(MODEL.embedding_shape, np.float32)).scores(*prompts(2))
    assert len(scores.masks(np.zeros((2, 4), np.bool_))) == 0


def test_a_prompt_is_answered_in_a_batch_as_it_is_alone(decoder: Decoder, near: float) -> None:
    embedding = np.random.default_rng(0).normal(0, 1, MODEL.embedding_shape).astype(np.float32)
    session = decoder.open(embedding)
    coords, labels = prompts(7)
    together = session.scores(coords, labels)
    for index in range(7):
        alone = session.scores(coords[index : index + 1], labels[index : index + 1])
        assert error(alone.iou, together.iou[index]) <= near


def test_every_engine_answers_alike(decoder: Decoder, near: float) -> None:
    embedding = np.random.default_rng(0).normal(0, 1, MODEL.embedding_shape).astype(np.float32)
    keep = np.ones((5, 4), np.bool_)
    expected = open_decoder("onnxruntime").open(embedding).scores(*prompts(5))
    scores = decoder.open(embedding).scores(*prompts(5))
    assert error(scores.iou, expected.iou) <= near
    assert error(scores.masks(keep), expected.masks(keep)) <= near


def test_a_mask_given_as_a_prompt_counts_alike(decoder: Decoder, near: float) -> None:
    rng = np.random.default_rng(0)
    embedding = rng.normal(0, 1, MODEL.embedding_shape).astype(np.float32)
    given = rng.normal(0, 5, (MODEL.low_res_side,) * 2).astype(np.float32)
    expected = open_decoder("onnxruntime").open(embedding, given).scores(*prompts(1)).iou
    assert error(decoder.open(embedding, given).scores(*prompts(1)).iou, expected) <= near


def test_an_embedding_that_a_cache_keeps_from_being_written_is_decoded(decoder: Decoder) -> None:
    embedding = np.zeros(MODEL.embedding_shape, np.float32)
    embedding.setflags(write=False)
    assert decoder.open(embedding).scores(*prompts(1)).iou.shape == (1, 4)


def test_an_answer_that_is_still_held_is_not_overwritten(decoder: Decoder) -> None:
    embedding = np.random.default_rng(0).normal(0, 1, MODEL.embedding_shape).astype(np.float32)
    keep = np.ones((3, 4), np.bool_)
    first = decoder.open(embedding).scores(*prompts(3))
    before = first.masks(keep)
    other = decoder.open(-embedding).scores(*prompts(3))
    assert not np.array_equal(other.masks(keep), before)
    assert np.array_equal(first.masks(keep), before)


def test_a_decoder_that_the_manifest_does_not_name_is_not_opened(tmp_path: Path) -> None:
    copytree(REPOSITORY / "tiny", tmp_path / "tiny")
    graph = tmp_path / "tiny/1/decoder/mask.onnx"
    graph.write_bytes(graph.read_bytes() + b" ")
    with pytest.raises(ModelMissing, match=r"mask\.onnx"):
        FolderDecoders(tmp_path, partial(OnnxDecoder, threads=1)).get(MODEL)


def test_a_decoder_is_opened_once_per_version() -> None:
    decoders = FolderDecoders(REPOSITORY, partial(OnnxDecoder, threads=1))
    assert decoders.get(MODEL) is decoders.get(replace(MODEL))
