"""One ONNX file on OpenVINO: faster on Intel's processors, in bfloat16 where they have it (AMX, AVX-512)."""

import queue
import threading
import weakref
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino.preprocess import PrePostProcessor

from orchestrator.domain.errors import Unavailable

Precision = Literal["f32", "bf16"]
Shapes: TypeAlias = tuple[tuple[str, tuple[int, ...]], ...]

MOST_SHAPES = 24
"""Compiled forms that one graph keeps: OpenVINO compiles for fixed shapes, in a few tenths of a second each."""


def must_have(precision: Precision) -> None:
    """Raises `Unavailable` where the processor has no bfloat16: OpenVINO would compute in float32 and say nothing."""
    if precision == "bf16" and "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise Unavailable("This processor has no bfloat16: set CPU_ENGINE to openvino or onnxruntime.")


class Outputs:
    """One run's outputs by name, in OpenVINO's own memory: they are reused when the last reference has gone."""

    def __init__(self, form: "_Form", request: openvino.InferRequest) -> None:
        self.names = form.outputs
        self._request = request
        weakref.finalize(self, form.idle.put, request)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Valid as long as this object is."""
        return np.asarray(self._request.get_tensor(name).data)


class OpenVinoGraph:
    """A graph on `threads` threads. Requests take turns, run by run, as in `OnnxGraph`.

    `halves` names inputs and outputs that pass from graph to graph: in bf16 they stay in it, as opaque arrays of two
    bytes a number. Else OpenVINO computes all that stands between the last products and an output in float32.

    Without `fused_attention` each product and softmax is an operation of its own: much faster where few queries meet
    thousands of keys, as in the decoder.
    """

    def __init__(
        self,
        path: Path,
        threads: int,
        precision: Precision,
        halves: Sequence[str] = (),
        *,
        fused_attention: bool = True,
    ) -> None:
        self._core = openvino.Core()
        self._path = path
        self._halves = halves if precision == "bf16" else ()
        self._hints = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        } | ({} if fused_attention else {"SNIPPETS_MODE": "DISABLE"})
        model = self._model()  # now, so that a damaged file is known at once
        self.inputs = {name for port in model.inputs for name in port.get_names()}
        self.outputs = {name for port in model.outputs for name in port.get_names()}
        self._forms: OrderedDict[Shapes, _Form] = OrderedDict()
        self._turn = threading.Lock()

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Outputs:
        """Arrays that are contiguous and may be written are not copied: OpenVINO shares no others."""
        given = {name: np.require(value, requirements=["C", "W"]) for name, value in inputs.items()}
        with self._turn:
            form = self._form(given)
            request = form.take()
            for name, value in given.items():
                request.set_tensor(name, self._tensor(name, value))
            request.infer()
        return Outputs(form, request)

    def _tensor(self, name: str, value: NDArray[Any]) -> openvino.Tensor:
        if name in self._halves:
            return openvino.Tensor(value.view(np.uint16), openvino.Shape(value.shape), openvino.Type.bf16)
        return openvino.Tensor(value, shared_memory=True)

    def arrays(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """All outputs by name, as copies."""
        outputs = self.run(inputs)
        return {name: outputs[name].copy() for name in outputs.names}

    def _form(self, inputs: Mapping[str, NDArray[Any]]) -> "_Form":
        shapes = tuple(sorted((name, value.shape) for name, value in inputs.items()))
        if shapes in self._forms:
            self._forms.move_to_end(shapes)
            return self._forms[shapes]
        model = self._model()
        model.reshape(dict(shapes))
        if self._halves:
            model = _in_halves(model, self._halves)
        form = self._forms[shapes] = _Form(self._core.compile_model(model, "CPU", self._hints))
        if len(self._forms) > MOST_SHAPES:
            self._forms.popitem(last=False)
        return form

    def _model(self) -> openvino.Model:
        try:
            return self._core.read_model(self._path)
        except RuntimeError as exc:
            raise Unavailable(f"The graph {self._path} cannot be opened: {exc}. Export the model again.") from exc


def _in_halves(model: openvino.Model, names: Sequence[str]) -> openvino.Model:
    """With these inputs and outputs in bfloat16."""
    outside = PrePostProcessor(model)
    for name in names:
        is_input = any(name in given.get_names() for given in model.inputs)
        port = outside.input(name) if is_input else outside.output(name)
        port.tensor().set_element_type(openvino.Type.bf16)
    return outside.build()


class _Form:
    """A graph compiled for one set of shapes, and the requests on it that nobody uses now."""

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        self._compiled = compiled
        # Optimising joins tensors: one may have the graph's name and others.
        self.outputs = [name for output in compiled.outputs for name in output.get_names()]
        self.idle: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()

    def take(self) -> openvino.InferRequest:
        try:
            return self.idle.get_nowait()
        except queue.Empty:
            return self._compiled.create_infer_request()
