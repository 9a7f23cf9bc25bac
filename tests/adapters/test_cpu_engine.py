import sys

import pytest

from orchestrator.adapters.cpu_engine import of_triton, openvino_precision


def test_a_triton_takes_openvino_by_itself_where_it_is_installed() -> None:
    assert of_triton("auto") == "openvino"
    assert of_triton("onnxruntime") == "onnxruntime"


def test_a_triton_takes_onnx_runtime_where_openvino_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "orchestrator.adapters.openvino_graph", None)  # importing it fails
    assert of_triton("auto") == "onnxruntime"


def test_what_is_no_server_takes_onnx_runtime_unless_openvino_is_named() -> None:
    assert openvino_precision("auto") is None
    assert openvino_precision("openvino") == "f32"
