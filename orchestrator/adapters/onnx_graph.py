"""One ONNX file on ONNX Runtime, on the GPU where there is one, with its arrays staying where they are made."""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime import OrtValue

from orchestrator.domain.errors import Unavailable


@dataclass(frozen=True)
class Slice:
    """Rows `start` to `stop` of a tensor's first axis, without a copy."""

    tensor: OrtValue
    start: int
    stop: int


log = logging.getLogger(__name__)

Input: TypeAlias = NDArray[np.float32] | NDArray[np.int32] | NDArray[np.uint8] | OrtValue | Slice

_DTYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
}


def has_gpu() -> bool:
    """Whether this ONNX Runtime was built with CUDA; whether it works shows when a graph is opened."""
    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


class OnnxGraph:
    """A graph on `threads` threads. Requests take turns, run by run.

    One run fills all cores, so two at a time would be no faster, and would take twice the memory.
    """

    def __init__(self, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Threads that spin between two runs take the cores from Triton and from other requests.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # The arena keeps what the largest run took, which the batch bounds: 0.4 GB at ViT-B's shapes. Growing it by
        # what is asked, instead of by powers of two, made it no smaller.
        if gpu := has_gpu():
            onnxruntime.preload_dlls()
        providers = ["CUDAExecutionProvider"] * gpu + ["CPUExecutionProvider"]
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as exc:  # ONNX Runtime's errors have no common class
            raise Unavailable(f"The graph {path} cannot be opened: {exc}. Export the model again.") from exc
        self.device = "cuda" if self._session.get_providers()[0].startswith("CUDA") else "cpu"
        self._turn = threading.Lock()
        if gpu and self.device == "cpu":
            log.warning("%s runs on the CPU: ONNX Runtime could not use the GPU; its log says why", path)
        self._inputs = {entry.name: _DTYPES[entry.type] for entry in self._session.get_inputs()}
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, Input], host: Sequence[str] = ()) -> dict[str, OrtValue]:
        """All outputs by name, on the session's device; those named in `host` in this process's memory."""
        binding = self._session.io_binding()
        for name, value in inputs.items():
            if isinstance(value, OrtValue):
                binding.bind_ortvalue_input(name, value)
            elif isinstance(value, Slice):
                shape, dtype = value.tensor.shape(), self._inputs[name]
                row = int(np.prod(shape[1:])) * np.dtype(dtype).itemsize
                binding.bind_input(
                    name,
                    self.device,
                    0,
                    dtype,
                    [value.stop - value.start, *shape[1:]],
                    value.tensor.data_ptr() + value.start * row,
                )
            else:
                # A graph of half precision takes half-precision arrays.
                binding.bind_cpu_input(name, np.ascontiguousarray(value, self._inputs[name]))
        for name in self._outputs:
            binding.bind_output(name, "cpu" if name in host else self.device)
        with self._turn:
            self._session.run_with_iobinding(binding)
        return dict(zip(self._outputs, binding.get_outputs(), strict=True))

    def arrays(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """All outputs by name, in this process's memory."""
        return {name: value.numpy() for name, value in self.run(inputs, host=self._outputs).items()}
