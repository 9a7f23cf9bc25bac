"""Small models for the local Triton: the real one's inputs and outputs, without its weights."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

SIDE = 32
TABLE = np.array([0.25, 0.5, 1.0, 2.0], np.float32)

CONFIG = """
name: "{name}"
backend: "onnxruntime"
max_batch_size: {max_batch_size}
input [ {inputs} ]
output [ {outputs} ]
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
dynamic_batching {{
  max_queue_delay_microseconds: {delay_us}
  default_queue_policy {{
    timeout_action: REJECT
    default_timeout_microseconds: 30000000
    max_queue_size: 64
  }}
}}
parameters {{ key: "intra_op_thread_count" value {{ string_value: "1" }} }}
parameters {{ key: "enable_mem_arena" value {{ string_value: "1" }} }}
parameters {{
  key: "memory.enable_memory_arena_shrinkage" value {{ string_value: "cpu:0" }}
}}
"""

WARMUP = f"""
model_warmup [ {{
  name: "zeros" batch_size: 1
  inputs {{ key: "image" value {{
    data_type: TYPE_UINT8 dims: [{SIDE}, {SIDE}, 3] zero_data: true }} }}
  inputs {{ key: "size" value {{ data_type: TYPE_INT32 dims: [2] zero_data: true }} }}
}} ]
"""


def tensor(name: str, kind: str, *dims: int) -> str:
    return f'{{ name: "{name}" data_type: TYPE_{kind} dims: {list(dims)} }}'


def write_encoder(
    repository: Path,
    name: str,
    *,
    claimed_dims: tuple[int, ...] = (1, SIDE, SIDE),
    delay_us: int = 0,
) -> None:
    """embedding = mean of the channels * TABLE[size[0]]; a size[0] past the table fails to run.

    The table is external data, beside the graph, as the weights of large models are.
    """
    config = CONFIG.format(
        name=name,
        max_batch_size=8,
        delay_us=delay_us,
        inputs=", ".join([tensor("image", "UINT8", SIDE, SIDE, 3), tensor("size", "INT32", 2)]),
        outputs=tensor("embedding", "FP32", *claimed_dims),
    )
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real"], ["mean"], axes=[3], keepdims=0),
        helper.make_node("Gather", ["size", "zero"], ["height"], axis=1),
        helper.make_node("Gather", ["table", "height"], ["scale"]),
        helper.make_node("Unsqueeze", ["mean", "one"], ["channel"]),
        helper.make_node("Reshape", ["scale", "shape"], ["factor"]),
        helper.make_node("Mul", ["channel", "factor"], ["embedding"]),
    ]
    constants = [
        helper.make_tensor("zero", TensorProto.INT64, [], [0]),
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        helper.make_tensor("shape", TensorProto.INT64, [4], [-1, 1, 1, 1]),
        helper.make_tensor("table", TensorProto.FLOAT, [len(TABLE)], TABLE.tobytes(), raw=True),
    ]
    graph = helper.make_graph(
        nodes,
        name,
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", SIDE, SIDE, 3]),
            helper.make_tensor_value_info("size", TensorProto.INT32, ["n", 2]),
        ],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 1, SIDE, SIDE])],
        constants,
    )
    write(repository, name, graph, config + WARMUP)


def write_echo(repository: Path, name: str) -> None:
    """Returns each input, one of every element type the service uses."""
    kinds = {"FP16": TensorProto.FLOAT16, "FP32": TensorProto.FLOAT}
    kinds |= {"UINT8": TensorProto.UINT8, "INT32": TensorProto.INT32}
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"in_{kind}"], [f"out_{kind}"]) for kind in kinds],
        name,
        [helper.make_tensor_value_info(f"in_{k}", t, ["n", 3]) for k, t in kinds.items()],
        [helper.make_tensor_value_info(f"out_{k}", t, ["n", 3]) for k, t in kinds.items()],
    )
    config = CONFIG.format(
        name=name,
        max_batch_size=4,
        delay_us=50_000,
        inputs=", ".join(tensor(f"in_{kind}", kind, 3) for kind in kinds),
        outputs=", ".join(tensor(f"out_{kind}", kind, 3) for kind in kinds),
    )
    write(repository, name, graph, config)


def write(repository: Path, name: str, graph: onnx.GraphProto, config: str) -> None:
    version = repository / name / "1"
    version.mkdir(parents=True)
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    onnx.save(
        model,
        version / "model.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    (repository / name / "config.pbtxt").write_text(config)


def expected(image: npt.NDArray[np.uint8], size: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """What the encoder gives for one picture [SIDE, SIDE, 3] and its size [2]."""
    mean = image.astype(np.float32).mean(axis=2, dtype=np.float32)
    return np.asarray(mean[None] * TABLE[size[0]], np.float32)
