"""Modules → ONNX files: opset 17 and IR 8, which every server's runtime reads."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel
from segment_anything.modeling import Sam
from torch import Tensor, nn

from export.decoder import ImageGraph, MaskGraph, MaskPromptGraph, PointGraph, PromptGraph
from export.encoder import EncoderGraph

Precision = Literal["fp32", "fp16"]

OPSET, IR_VERSION = 17, 8
_EXTERNAL_ABOVE = 1_500_000_000  # bytes; a protobuf file holds 2 GB at most
_IMAGE_OUTPUTS = ["keys", "keys_k", "keys_v", "keys_q"]


@dataclass(frozen=True)
class Graph:
    """One file: the module, an example of its inputs, names, and which axes are free.

    `exact`: in fp32 whatever the export's precision.
    """

    file: str
    module: nn.Module
    example: tuple[Tensor, ...]
    inputs: Sequence[str]
    outputs: Sequence[str]
    free: dict[str, dict[int, str]]
    exact: bool = False


def all_graphs(sam: Sam) -> list[Callable[[], Graph]]:
    """The variant's six graphs, each built when it is called: ViT-H is large."""
    return [
        lambda: encoder_graph(sam),
        lambda: image_graph(sam),
        lambda: point_graph(sam),
        lambda: prompt_graph(sam),
        lambda: mask_graph(sam),
        lambda: mask_prompt_graph(sam),
    ]


def encoder_graph(sam: Sam) -> Graph:
    side: int = sam.image_encoder.img_size
    # An example batch of two keeps the exporter from taking the batch for a constant.
    example = (torch.zeros(2, side, side, 3, dtype=torch.uint8), torch.full((2, 2), side, dtype=torch.int32))
    free = {name: {0: "batch"} for name in ("image", "size", "embedding")}
    return Graph("model.onnx", EncoderGraph(sam), example, ["image", "size"], ["embedding"], free)


def image_graph(sam: Sam) -> Graph:
    example = (_embedding(sam), torch.zeros(_embedding(sam).shape[0], 1, 1))
    free = {"dense": {1: "dense_height", 2: "dense_width"}}
    return Graph("decoder/image.onnx", ImageGraph(sam), example, ["embedding", "dense"], _IMAGE_OUTPUTS, free)


def point_graph(sam: Sam) -> Graph:
    example = (torch.zeros(2, 3, 2), torch.zeros(2, 3, dtype=torch.int32))
    free = {name: {0: "prompts", 1: "tokens_per_prompt"} for name in ("coords", "labels", "prompts")}
    return Graph("decoder/point.onnx", PointGraph(sam), example, ["coords", "labels"], ["prompts"], free, exact=True)


def prompt_graph(sam: Sam) -> Graph:
    shared = ImageGraph(sam)(*image_graph(sam).example)
    prompts = PointGraph(sam)(*point_graph(sam).example)
    free = {name: {0: "prompts"} for name in ("iou", "hyper", "tokens")}
    free |= {"prompts": {0: "prompts", 1: "tokens_per_prompt"}}
    inputs, outputs = [*_IMAGE_OUTPUTS, "prompts"], ["iou", "hyper", "tokens"]
    return Graph("decoder/prompt.onnx", PromptGraph(sam), (*shared, prompts), inputs, outputs, free)


def mask_graph(sam: Sam) -> Graph:
    channels, height, width = _embedding(sam).shape
    example = (torch.zeros(2, height * width, channels), torch.zeros(2, 3, channels // 8))
    free = {
        "tokens": {0: "prompts"},
        "hyper": {0: "prompts", 1: "masks"},
        "logits": {0: "prompts", 1: "masks"},
    }
    return Graph("decoder/mask.onnx", MaskGraph(sam), example, ["tokens", "hyper"], ["logits"], free)


def mask_prompt_graph(sam: Sam) -> Graph:
    _, height, width = _embedding(sam).shape
    example = (torch.zeros(1, 4 * height, 4 * width),)
    return Graph("decoder/mask_prompt.onnx", MaskPromptGraph(sam), example, ["logits"], ["dense"], {})


def write(graph: Graph, folder: Path, precision: Precision) -> None:
    """Export one graph below `folder`; weights over 1.5 GB go to a file beside it."""
    path = folder / graph.file
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), torch.no_grad():
        # The tracer warns of each Python condition on shapes; they are constants of the model.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph.module.eval(),
            graph.example,
            str(path),  # a Path would be taken for a stream, which cannot have the weights of ViT-H beside it
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_axes=graph.free,
            opset_version=OPSET,
            dynamo=False,
        )
    # Above 2 GB the exporter itself leaves the weights in many files beside the graph: gather them into one.
    model = onnx.load(path)
    for stray in path.parent.iterdir():
        if stray.is_file() and stray.suffix != ".onnx":
            stray.unlink()
    model.ir_version = IR_VERSION
    if precision == "fp16" and not graph.exact:
        model = to_half(model)
    else:
        halve_what_is_exact(model)
    if model.ByteSize() > _EXTERNAL_ABOVE:
        onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data")
    else:
        onnx.save(model, path)
    onnx.checker.check_model(str(path))


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Half precision, for GPUs: arrays between graphs too, but for embedded points and predicted IoUs.

    Layer norms sum squares that half precision cannot hold: they are computed in fp32.
    """
    blocked = [*DEFAULT_OP_BLOCK_LIST, "LayerNormalization"]
    converted: onnx.ModelProto = convert_float_to_float16(
        model, keep_io_types=["prompts", "iou"], op_block_list=blocked
    )
    # The converter puts its casts at the end, and one for each reader of a value, all of the same name.
    once = {tuple(node.output): node for node in converted.graph.node}
    del converted.graph.node[:]
    converted.graph.node.extend(once.values())
    OnnxModel(converted).topological_sort()
    return converted


def halve_what_is_exact(model: onnx.ModelProto) -> None:
    """Store as fp16, with a Cast behind it, each large fp32 constant whose every value is an fp16 number.

    The bundled checkpoint is fp16, so its graphs take half the space and compute the very same: runtimes fold the
    Cast when they load. Others stay as they are.
    """
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < 1024:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), values):
            continue
        stored = numpy_helper.from_array(half, f"{tensor.name}.fp16")
        casts.append(helper.make_node("Cast", [stored.name], [tensor.name], to=TensorProto.FLOAT))
        tensor.CopyFrom(stored)
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)


def _embedding(sam: Sam) -> Tensor:
    height, width = sam.prompt_encoder.image_embedding_size
    return torch.zeros(sam.prompt_encoder.embed_dim, height, width)
