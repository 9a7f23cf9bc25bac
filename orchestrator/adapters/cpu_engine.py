"""The engine that CPU_ENGINE names: what it computes in, and whether it can run here."""

from typing import TYPE_CHECKING

from orchestrator.domain.errors import Unavailable

if TYPE_CHECKING:
    from orchestrator.adapters.openvino_graph import Precision


def openvino_precision(engine: str) -> "Precision | None":
    """What OpenVINO is to compute in; None where ONNX Runtime is asked for.

    Raises `Unavailable` where OpenVINO is not installed, or the processor has no bfloat16.
    """
    if engine == "onnxruntime":
        return None
    try:
        from orchestrator.adapters.openvino_graph import must_have
    except ImportError as exc:
        raise Unavailable(
            "CPU_ENGINE names OpenVINO, which is not installed: pip install 'image-quarry[openvino]'."
        ) from exc
    precision: Precision = "bf16" if engine == "openvino-bf16" else "f32"
    must_have(precision)
    return precision
