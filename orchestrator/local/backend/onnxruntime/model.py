"""Triton's `onnxruntime` backend in Python: serves `model.onnx` as the C++ one of that name does.

Triton's Python backend runs this file in a process per model instance, wherever the C++ backend is
not at hand, so that one `config.pbtxt` serves both. It reads the C++ backend's own parameters:
`intra_op_thread_count`, `inter_op_thread_count`, `execution_mode`, `enable_mem_arena`,
`enable_mem_pattern`, `memory.enable_memory_arena_shrinkage`, `session.*`, the graph optimization
`level`, and the `cuda` accelerator's options. All requests of one call run as one batch.

Beyond the C++ backend: without a GPU the engine is the one that CPU_ENGINE names, as in the orchestrator.
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils

from orchestrator.adapters.cpu_engine import openvino_precision

Arrays = dict[str, np.ndarray[Any, Any]]
TRUE = ("1", "true", "True", "TRUE")

if int(np.__version__.split(".")[0]) >= 2:
    raise RuntimeError(
        f"numpy {np.__version__} is installed, and with numpy 2 Triton's Python backend returns "
        "empty tensors without an error: install 'numpy<2'."
    )


class TritonPythonModel:
    """One model instance. Triton calls `initialize` once, then `execute` for each batch."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"], args["model_version"])
        parameters = {name: entry["string_value"] for name, entry in config["parameters"].items()}
        self.batches = config["max_batch_size"] > 0
        self.inputs = [entry["name"] for entry in config["input"]]
        self.outputs = {entry["name"]: element(entry) for entry in config["output"]}
        path = folder / (config["default_model_filename"] or "model.onnx")
        on_gpu = args["model_instance_kind"] == "GPU"
        precision = None if on_gpu else openvino_precision(os.environ.get("CPU_ENGINE", "onnxruntime"))
        self.graph: OnOnnxRuntime | OnOpenVino
        if precision is None:
            self.graph = OnOnnxRuntime(path, args, parameters, config["optimization"])
        else:
            threads = int(parameters.get("intra_op_thread_count", 0)) or len(os.sched_getaffinity(0))
            self.graph = OnOpenVino(path, precision, threads, self.batches)
        pb_utils.Logger.log_info(f"{args['model_instance_name']} runs on {self.graph.device}")
        if self.graph.inputs != set(self.inputs) or not self.graph.outputs >= set(self.outputs):
            raise pb_utils.TritonModelException(
                f"config.pbtxt names inputs {sorted(self.inputs)} and outputs {sorted(self.outputs)}, "
                f"the graph has {sorted(self.graph.inputs)} and {sorted(self.graph.outputs)}"
            )

        for sample in config["model_warmup"]:
            # Triton runs these too, but may crash as a whole when one fails; here, loading fails
            try:
                self.infer(warmup_feed(sample, folder.parent / "warmup"))
            except Exception as error:
                raise pb_utils.TritonModelException(f"warm-up '{sample['name']}' failed: {error}") from error

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request, in order; a request that fails does not hurt the others."""
        responses: list[Any] = [None] * len(requests)
        batches: dict[object, dict[int, Arrays]] = {}
        for index, request in enumerate(requests):
            if request.is_cancelled():
                responses[index] = failure("the client has gone", pb_utils.TritonError.CANCELLED)
                continue
            try:
                arrays = self.read(request)
            except Exception as error:  # noqa: BLE001 - it becomes this request's answer
                responses[index] = failure(error, pb_utils.TritonError.INVALID_ARG)
                continue
            # only what has the same shape can be one batch; without a batch axis, nothing can
            shapes = tuple(array.shape[1:] for array in arrays.values())
            batches.setdefault(shapes if self.batches else index, {})[index] = arrays
        for batch in batches.values():
            for index, result in self.run(batch).items():
                responses[index] = respond(requests[index], result)
        return responses

    def read(self, request: Any) -> Arrays:
        arrays = {}
        for name in self.inputs:
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            if tensor is None:
                raise ValueError(f"input '{name}' is missing")
            arrays[name] = tensor.as_numpy()
        if self.batches and len({len(array) for array in arrays.values()}) != 1:
            raise ValueError("the inputs differ in their batch size")
        return arrays

    def run(self, batch: dict[int, Arrays]) -> dict[int, Arrays | Exception]:
        """Outputs by request. A batch that fails is run again one by one, to find the culprit."""
        feeds = list(batch.values())
        try:
            if len(feeds) == 1:
                return {next(iter(batch)): self.infer(feeds[0])}
            whole = self.infer({name: np.concatenate([f[name] for f in feeds]) for name in feeds[0]})
        except Exception as error:  # noqa: BLE001 - it becomes the answer of whoever caused it
            if len(feeds) == 1:
                return {next(iter(batch)): error}
            return {i: r for i, feed in batch.items() for i, r in self.run({i: feed}).items()}
        ends = np.cumsum([len(feed[self.inputs[0]]) for feed in feeds])[:-1]
        parts = {name: np.split(array, ends) for name, array in whole.items()}
        return {index: {name: parts[name][n] for name in parts} for n, index in enumerate(batch)}

    def infer(self, feed: Arrays) -> Arrays:
        names = list(self.outputs)
        outputs = dict(zip(names, self.graph.run(names, feed), strict=True))
        size = [len(feed[self.inputs[0]])] if self.batches else []
        for name, array in outputs.items():
            dtype, dims = self.outputs[name]
            expected = [*size, *dims]
            fits = array.ndim == len(expected) and all(
                want in (-1, has) for want, has in zip(expected, array.shape, strict=True)
            )
            if not fits or array.dtype != dtype:
                raise ValueError(
                    f"output '{name}' is {array.dtype} {list(array.shape)}, "
                    f"config.pbtxt says {np.dtype(dtype)} {expected}"
                )
        return outputs

    def finalize(self) -> None:
        del self.graph


class OnOnnxRuntime:
    """A session on CUDA or on the CPU."""

    def __init__(
        self, path: Path, args: dict[str, str], parameters: dict[str, str], optimization: dict[str, Any]
    ) -> None:
        self.options = run_options(parameters)
        options = session_options(parameters, optimization)
        self.session = ort.InferenceSession(path, options, providers=providers(args, optimization))
        self.device = ", ".join(self.session.get_providers())
        self.inputs = {entry.name for entry in self.session.get_inputs()}
        self.outputs = {entry.name for entry in self.session.get_outputs()}

    def run(self, names: list[str], feed: Arrays) -> list[Any]:
        outputs: list[Any] = self.session.run(names, feed, self.options)
        return outputs


class OnOpenVino:
    """One picture at a time: each size of a batch would be compiled and held apart, and be slower by a tenth."""

    def __init__(self, path: Path, precision: Literal["f32", "bf16"], threads: int, batches: bool) -> None:
        from orchestrator.adapters.openvino_graph import OpenVinoGraph

        self.graph = OpenVinoGraph(path, threads, precision)
        self.batches = batches
        self.device = f"OpenVINO, {precision}"
        self.inputs, self.outputs = self.graph.inputs, self.graph.outputs

    def run(self, names: list[str], feed: Arrays) -> list[Any]:
        if not self.batches:
            return [self.graph.arrays(feed)[name] for name in names]
        count = len(next(iter(feed.values())))
        rows = [self.graph.arrays({name: array[row : row + 1] for name, array in feed.items()}) for row in range(count)]
        return [np.concatenate([row[name] for row in rows]) for name in names]


def element(entry: dict[str, Any]) -> tuple[Any, list[int]]:
    """A tensor's dtype, and its dims without the batch axis."""
    return pb_utils.triton_string_to_numpy(entry["data_type"]), [int(dim) for dim in entry["dims"]]


def warmup_feed(sample: dict[str, Any], files: Path) -> Arrays:
    """What Triton sends for a `model_warmup` entry: zeros, noise, or a file's bytes."""
    feed = {}
    for name, entry in sample["inputs"].items():
        dtype, dims = element(entry)
        if file := entry.get("input_data_file"):
            one = np.fromfile(files / file, dtype).reshape(dims)
        elif entry.get("random_data"):
            one = (np.random.default_rng(0).random(dims) * 100).astype(dtype)
        else:
            one = np.zeros(dims, dtype)
        feed[name] = np.stack([one] * sample["batch_size"]) if sample["batch_size"] else one
    return feed


def session_options(parameters: dict[str, str], optimization: dict[str, Any]) -> Any:
    levels = {
        "-1": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        "1": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
        "2": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    }
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(parameters.get("intra_op_thread_count", 0))
    options.inter_op_num_threads = int(parameters.get("inter_op_thread_count", 0))
    options.enable_cpu_mem_arena = parameters.get("enable_mem_arena", "1") in TRUE
    options.enable_mem_pattern = parameters.get("enable_mem_pattern", "1") in TRUE
    if parameters.get("execution_mode", "0") == "1":
        options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
    level = str(optimization.get("graph", {}).get("level", 0))
    options.graph_optimization_level = levels.get(level, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    for name, value in parameters.items():
        if name.startswith("session."):
            options.add_session_config_entry(name, value)
    return options


def run_options(parameters: dict[str, str]) -> Any:
    options = ort.RunOptions()
    name = "memory.enable_memory_arena_shrinkage"
    if name in parameters:
        options.add_run_config_entry(name, parameters[name])
    return options


def providers(args: dict[str, str], optimization: dict[str, Any]) -> list[Any]:
    """CUDA for an instance on a GPU where this ONNX Runtime has it, else the CPU."""
    if args["model_instance_kind"] != "GPU":
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        pb_utils.Logger.log_warn("onnxruntime has no CUDA here: this GPU instance runs on the CPU")
        return ["CPUExecutionProvider"]
    ort.preload_dlls()  # CUDA's libraries may come from wheels
    options = {"device_id": args["model_instance_device_id"]}
    for accelerator in accelerators(optimization):
        if accelerator["name"] == "cuda":
            options |= accelerator.get("parameters", {})
        else:
            pb_utils.Logger.log_warn(f"the accelerator '{accelerator['name']}' is not used here")
    return [("CUDAExecutionProvider", options), "CPUExecutionProvider"]


def accelerators(optimization: dict[str, Any]) -> Iterable[dict[str, Any]]:
    found: list[dict[str, Any]] = optimization.get("execution_accelerators", {}).get("gpu_execution_accelerator", [])
    return found


def failure(reason: object, code: Any) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(reason), code))


def respond(request: Any, result: Arrays | Exception) -> Any:
    if isinstance(result, Exception):
        return failure(result, pb_utils.TritonError.INTERNAL)
    wanted = set(request.requested_output_names())
    return pb_utils.InferenceResponse(
        [pb_utils.Tensor(name, array) for name, array in result.items() if name in wanted]
    )
