"""The service against the official code, with the same checkpoint and the same pictures."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.modeling import Sam

from export import graphs
from export.publish import publish
from export.tiny.architecture import IMAGE_SIDE
from orchestrator.adapters.decoders import FolderDecoders
from orchestrator.adapters.in_process_encoder import InProcessEncoder
from orchestrator.adapters.onnx_decoder import OnnxDecoder
from orchestrator.adapters.onnx_graph import OnnxGraph
from orchestrator.adapters.repository import FileModelRepository
from orchestrator.domain import prompts, rle
from orchestrator.domain.geometry import to_model_input
from orchestrator.domain.image import Image
from orchestrator.domain.masks import Mask
from orchestrator.usecases.embeddings import Embeddings
from orchestrator.usecases.models import Models
from orchestrator.usecases.segment import Segment
from orchestrator.usecases.stopwatch import Stopwatch
from tests.conftest import REPOSITORY
from tests.fakes import FakeCache
from tests.pictures import draw

Float32 = NDArray[np.float32]

ROUNDING = 1e-3
"""Logits closer to zero may have either sign, of up to 30 in size; every other pixel is as the official code has it."""

SIZES = {
    "landscape": (853, 1280),
    "portrait": (1280, 853),
    "square": (700, 700),
    "of the model's side": (IMAGE_SIDE, IMAGE_SIDE),
    "smaller": (120, 200),
    "tiny": (17, 23),
    "thin": (1500, 3),
    "as thin as the official code can take": (2, 1151),
}


@pytest.fixture(scope="module")
def segment() -> Segment:
    return _segment(REPOSITORY)


@pytest.fixture(scope="module")
def predictor(sam: Sam) -> SamPredictor:
    return SamPredictor(sam)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_embeddings_differ_by_at_most_1e_4(predictor: SamPredictor, size: tuple[int, int]) -> None:
    pixels, encoder = draw(*size), InProcessEncoder(REPOSITORY, partial(OnnxGraph, threads=2))
    predictor.set_image(pixels)
    encoder.load("tiny")
    model = FileModelRepository(REPOSITORY).manifest("tiny")
    found = encoder.encode(model, to_model_input(Image(pixels), model.image_side))
    assert np.abs(found - predictor.features[0].numpy()).max() <= 1e-4


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("kind", ["one point", "three points", "box", "points and box"])
@pytest.mark.parametrize("multimask", [True, False])
def test_masks_equal_the_official_predictor(
    segment: Segment, predictor: SamPredictor, size: tuple[int, int], kind: str, multimask: bool
) -> None:
    pixels = draw(*size, seed=1)
    points, labels, box = _prompt(kind, size)
    predictor.set_image(pixels)
    official, ious, _ = predictor.predict(
        np.array(points) if points else None,
        np.array(labels) if points else None,
        np.array(box) if box else None,
        multimask_output=multimask,
        return_logits=True,
    )
    prompt = prompts.from_points(points, labels, box, size)
    answer = segment.single(Image(pixels), prompt, "tiny", Stopwatch(), multimask=multimask)
    best_first = np.argsort(-ious, kind="stable")
    for mask, expected, iou in zip(answer.masks, official[best_first], ious[best_first], strict=True):
        assert_same(mask, expected, iou)


def test_many_boxes_at_once_equal_the_official_predictor_asked_one_by_one(
    segment: Segment, predictor: SamPredictor
) -> None:
    size = (600, 900)
    pixels = draw(*size, seed=2)
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 500, (70, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(20, 400, (70, 2))], axis=1)
    answer = segment.boxes(Image(pixels), prompts.from_boxes(boxes.tolist(), size), "tiny", Stopwatch())
    predictor.set_image(pixels)
    for mask, box in zip(answer.masks, boxes, strict=True):
        expected, iou, _ = predictor.predict(box=box, multimask_output=False, return_logits=True)
        assert_same(mask, expected[0], iou[0])


def test_a_mask_as_prompt_gives_what_the_official_predictor_gives(segment: Segment, predictor: SamPredictor) -> None:
    size = (600, 900)
    pixels = draw(*size, seed=3)
    predictor.set_image(pixels)
    point, label = np.array([[450.0, 300.0]]), np.array([1])
    _, _, logits = predictor.predict(point, label, multimask_output=False)
    expected, iou, _ = predictor.predict(point, label, mask_input=logits, multimask_output=False, return_logits=True)
    prompt = prompts.from_points(point.tolist(), [1], None, size)
    for given in (logits[0], logits[0].astype(np.float16).astype(np.float32)):  # as a handle keeps them
        options = {"multimask": False, "mask_input": given}
        answer = segment.single(Image(pixels), prompt, "tiny", Stopwatch(), **options)
        assert_same(answer.masks[0], expected[0], iou[0])


def test_what_lies_outside_of_size_does_not_count(sam: Sam) -> None:
    """SAM pads after normalising; whatever the canvas holds there must not be seen."""
    picture = to_model_input(Image(draw(200, IMAGE_SIDE)), IMAGE_SIDE)
    spoiled = picture.canvas.copy()
    spoiled[picture.size[0] :] = 77
    module = graphs.encoder_graph(sam).module
    with torch.no_grad():
        clean, dirty = (
            module(torch.from_numpy(canvas[None]), torch.tensor([picture.size], dtype=torch.int32))
            for canvas in (picture.canvas, spoiled)
        )
    assert torch.equal(clean, dirty)


@pytest.mark.timeout(900)
def test_the_real_vit_b_with_seeded_random_weights_agrees(tmp_path: Path) -> None:
    """Embeddings and raw logits; with random weights no mask is worth comparing."""
    torch.manual_seed(0)
    sam = sam_model_registry["vit_b"](checkpoint=None).eval()
    manifest = publish(sam, "vit_b", tmp_path, checkpoint_sha256="seed 0", max_batch_size=1, report=lambda _: None)
    assert manifest.measured["embedding"] <= 1e-4
    assert manifest.measured["logits"] <= 1e-4
    assert manifest.measured["predicted_iou"] <= 1e-4
    assert json.loads((tmp_path / "vit_b/1/manifest.json").read_text())["image_side"] == 1024
    session = onnxruntime.InferenceSession(str(tmp_path / "vit_b/1/model.onnx"), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 1024, 1024, 3]


def _segment(repository: Path) -> Segment:
    encoder = InProcessEncoder(repository, partial(OnnxGraph, threads=2))
    models = Models(FileModelRepository(repository), encoder)
    embeddings = Embeddings(models, encoder, FakeCache())
    return Segment(models, embeddings, FolderDecoders(repository, partial(OnnxDecoder, threads=2)))


def _prompt(kind: str, size: tuple[int, int]) -> tuple[list[list[float]], list[int], list[float] | None]:
    height, width = size
    points = [[width * 0.4, height * 0.5], [width * 0.6, height * 0.5], [width * 0.1, height * 0.9]]
    box = [width * 0.2, height * 0.2, width * 0.8, height * 0.8]
    if kind == "one point":
        return points[:1], [1], None
    if kind == "three points":
        return points, [1, 1, 0], None
    if kind == "box":
        return [], [], box
    return points[1:], [1, 0], box


def assert_same(mask: Mask, logits: Float32, predicted_iou: float) -> None:
    """Each pixel where the official logits [H, W] are not a rounding from zero, and the predicted IoU."""
    assert mask.predicted_iou == pytest.approx(predicted_iou, abs=1e-4)
    sure = np.abs(logits) > ROUNDING
    np.testing.assert_array_equal(rle.decode(mask.segmentation)[sure], logits[sure] > 0)
    assert sure.mean() >= 0.999
