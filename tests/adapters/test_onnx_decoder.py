from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

from orchestrator.adapters.onnx_decoder import OnnxDecoder, OnnxDecoders
from orchestrator.adapters.repository import FileModelRepository
from orchestrator.domain.errors import ModelMissing
from tests.conftest import REPOSITORY

MODEL = FileModelRepository(REPOSITORY).manifest("tiny")


@pytest.fixture(scope="module")
def decoder() -> OnnxDecoder:
    return OnnxDecoders(REPOSITORY, threads=2).get(MODEL)


def prompts(
    count: int,
) -> tuple[np.ndarray[tuple[int, int, int], np.dtype[np.float32]], np.ndarray[tuple[int, int], np.dtype[np.int32]]]:
    rng = np.random.default_rng(count)
    coords = np.zeros((count, 2, 2), np.float32)
    coords[:, 0] = rng.uniform(0, MODEL.image_side, (count, 2))
    return coords, np.tile(np.array([1, -1], np.int32), (count, 1))


def test_only_the_masks_that_are_kept_are_made_in_their_order(decoder: OnnxDecoder) -> None:
    embedding = np.random.default_rng(0).normal(0, 1, MODEL.embedding_shape).astype(np.float32)
    scores = decoder.open(embedding).scores(*prompts(11))
    assert scores.iou.shape == (11, 4)
    everything = scores.masks(np.ones((11, 4), np.bool_)).reshape(11, 4, MODEL.low_res_side, MODEL.low_res_side)
    keep = np.random.default_rng(1).random((11, 4)) < 0.4
    keep[3] = False
    some = scores.masks(keep)
    assert len(some) == keep.sum()
    assert np.abs(some - everything[keep]).max() < 1e-5


def test_keeping_none_makes_none(decoder: OnnxDecoder) -> None:
    scores = decoder.open(np.zeros(MODEL.embedding_shape, np.float32)).scores(*prompts(2))
    assert len(scores.masks(np.zeros((2, 4), np.bool_))) == 0


def test_a_prompt_is_answered_in_a_batch_as_it_is_alone(decoder: OnnxDecoder) -> None:
    embedding = np.random.default_rng(0).normal(0, 1, MODEL.embedding_shape).astype(np.float32)
    session = decoder.open(embedding)
    coords, labels = prompts(7)
    together = session.scores(coords, labels)
    for index in range(7):
        alone = session.scores(coords[index : index + 1], labels[index : index + 1])
        assert np.abs(alone.iou - together.iou[index]).max() < 1e-5


def test_a_decoder_that_the_manifest_does_not_name_is_not_opened(tmp_path: Path) -> None:
    copytree(REPOSITORY / "tiny", tmp_path / "tiny")
    graph = tmp_path / "tiny/1/decoder/mask.onnx"
    graph.write_bytes(graph.read_bytes() + b" ")
    with pytest.raises(ModelMissing, match=r"mask\.onnx"):
        OnnxDecoders(tmp_path, threads=1).get(MODEL)


def test_a_decoder_is_opened_once_per_version() -> None:
    decoders = OnnxDecoders(REPOSITORY, threads=1)
    assert decoders.get(MODEL) is decoders.get(replace(MODEL))
