"""What every model repository and every decoder do: the real ones and their fakes."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from orchestrator.adapters.decoders import FolderDecoders
from orchestrator.adapters.onnx_decoder import OnnxDecoder
from orchestrator.adapters.repository import FileModelRepository
from orchestrator.domain.errors import ModelMissing
from orchestrator.domain.model import Manifest
from orchestrator.usecases.ports.engines import Decoder, ModelRepository
from tests.conftest import REPOSITORY
from tests.fakes import MANIFEST, FakeDecoder, FakeRepository


@pytest.fixture(params=["files", "fake"])
def repository(request: pytest.FixtureRequest) -> ModelRepository:
    return FileModelRepository(REPOSITORY) if request.param == "files" else FakeRepository()


@pytest.fixture(params=["onnx", "fake"])
def opened(request: pytest.FixtureRequest) -> tuple[Decoder, Manifest]:
    if request.param == "fake":
        return FakeDecoder(), MANIFEST
    model = FileModelRepository(REPOSITORY).manifest("tiny")
    return FolderDecoders(REPOSITORY, partial(OnnxDecoder, threads=2)).get(model), model


def test_a_model_has_the_name_it_is_asked_for_by(repository: ModelRepository) -> None:
    assert "tiny" in list(repository.names())
    assert repository.manifest("tiny").variant == "tiny"


def test_a_missing_model_is_told_with_the_command_that_makes_it(repository: ModelRepository) -> None:
    assert "vit_h" not in list(repository.names())
    with pytest.raises(ModelMissing, match="python -m export vit_h"):
        repository.manifest("vit_h")


def test_a_folder_that_holds_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine/1").mkdir(parents=True)
    (tmp_path / "mine/1/manifest.json").write_bytes((REPOSITORY / "tiny/1/manifest.json").read_bytes())
    with pytest.raises(ModelMissing, match="holds tiny"):
        FileModelRepository(tmp_path).manifest("mine")


def test_a_decoder_scores_each_prompt_and_makes_the_masks_that_are_kept(opened: tuple[Decoder, Manifest]) -> None:
    decoder, model = opened
    session = decoder.open(np.zeros(model.embedding_shape, np.float32))
    coords = np.full((3, 2, 2), 5, np.float32)
    scores = session.scores(coords, np.tile(np.array([1, -1], np.int32), (3, 1)))
    assert scores.iou.shape == (3, 4)
    every = scores.masks(np.ones((3, 4), np.bool_))
    keep = np.zeros((3, 4), np.bool_)
    keep[0, 2] = keep[2, 1] = True
    some = scores.masks(keep)
    assert some.shape == (2, model.low_res_side, model.low_res_side)
    assert np.abs(some - every[[2, 9]]).max() < 1e-4
    assert decoder.prompts_at_once >= 1


def test_a_decoder_takes_a_mask_as_prompt(opened: tuple[Decoder, Manifest]) -> None:
    decoder, model = opened
    given = np.zeros((model.low_res_side, model.low_res_side), np.float32)
    session = decoder.open(np.zeros(model.embedding_shape, np.float32), given)
    assert session.scores(np.zeros((1, 2, 2), np.float32), np.array([[1, -1]], np.int32)).iou.shape == (1, 4)
