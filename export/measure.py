"""How far the exported graphs are from PyTorch on this machine."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from segment_anything.modeling import Sam

from export.encoder import EncoderGraph

Array = NDArray[Any]


def differences(sam: Sam, folder: Path) -> dict[str, float]:
    """Largest absolute differences of `embedding`, `predicted_iou` and `logits` on a drawn picture with two prompts."""
    side: int = sam.image_encoder.img_size
    picture, size = _picture(side), np.array([[side, side * 3 // 4]], np.int32)
    with torch.no_grad():
        expected = EncoderGraph(sam)(torch.from_numpy(picture), torch.from_numpy(size))
    embedding = _run(folder / "model.onnx", {"image": picture, "size": size})["embedding"]
    coords = np.array([[[side * 0.3, side * 0.4], [0, 0]], [[side * 0.6, side * 0.5], [0, 0]]], np.float32)
    labels = np.array([[1, -1], [1, -1]], np.int32)
    iou, logits = _official_masks(sam, expected, coords, labels)
    dense = np.zeros((expected.shape[1], 1, 1), np.float32)
    shared = _run(folder / "decoder/image.onnx", {"embedding": expected[0].numpy(), "dense": dense})
    points = _run(folder / "decoder/point.onnx", {"coords": coords, "labels": labels})
    prompt = _run(folder / "decoder/prompt.onnx", {**shared, **points})
    mask = _run(folder / "decoder/mask.onnx", {"tokens": prompt["tokens"], "hyper": prompt["hyper"]})
    return {
        "embedding": _largest(embedding, expected.numpy()),
        "predicted_iou": _largest(prompt["iou"], iou),
        "logits": _largest(mask["logits"], logits),
    }


def _official_masks(sam: Sam, embedding: torch.Tensor, coords: Array, labels: Array) -> tuple[Array, Array]:
    points = (torch.from_numpy(coords[:, :1]), torch.from_numpy(labels[:, :1]))
    with torch.no_grad():
        sparse, dense = sam.prompt_encoder(points=points, boxes=None, masks=None)
        masks, iou = sam.mask_decoder.predict_masks(
            image_embeddings=embedding,
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
        )
    return iou.numpy(), masks.numpy()


def _picture(side: int) -> Array:
    """A seeded picture of soft blotches, uint8 [1, S, S, 3]: closer to a photo than noise is."""
    coarse = np.random.default_rng(0).integers(0, 256, (side // 16, side // 16, 3), np.uint8)
    picture = torch.from_numpy(coarse).permute(2, 0, 1).unsqueeze(0).float()
    smooth = torch.nn.functional.interpolate(picture, (side, side), mode="bicubic", align_corners=False)
    return smooth.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def _run(path: Path, inputs: dict[str, Array]) -> dict[str, Array]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    # A graph of half precision takes and gives half-precision arrays.
    halves = {entry.name for entry in session.get_inputs() if entry.type == "tensor(float16)"}
    given = {name: value.astype(np.float16) if name in halves else value for name, value in inputs.items()}
    answers = zip(names, session.run(names, given), strict=True)
    return {name: value.astype(np.float32) for name, value in answers}


def _largest(actual: Array, expected: Array) -> float:
    return float(np.abs(actual - expected).max())
