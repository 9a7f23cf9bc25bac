"""The engine that CPU_ENGINE names: what it computes in, and whether it can run here."""

from typing import TYPE_CHECKING

from orchestrator.domain.errors import Unavailable

if TYPE_CHECKING:
    from orchestrator.adapters.openvino_graph import Precision


def openvino_precision(engine: str) -> "Precision | None":
    """What OpenVINO is to compute in; None where ONNX Runtime is asked for, or nothing by name.

    Raises `Unavailable` where OpenVINO is not installed, or the processor has no bfloat16.
    """
    if engine in ("auto", "onnxruntime"):
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


def of_triton(engine: str) -> str:
    """What a Triton that is started here runs the encoder on: OpenVINO in float32 if nothing is named and it is there.

    It takes a sixth less than ONNX Runtime and gives the same masks. A server compiles the encoder's one shape as it
    starts; a click would wait for that whenever the number of its points is new, so all else stays on ONNX Runtime.
    """
    if engine != "auto":
        return engine
    try:
        openvino_precision("openvino")
    except Unavailable:
        return "onnxruntime"
    return "openvino"
