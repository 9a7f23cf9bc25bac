"""What is done to the averaged weights after the training, without changing a single mask."""

from torch import Tensor

from export.tiny import architecture
from export.tiny.start import grow

SHARPNESS = 4.0
"""Logits times this: a mask of 96 pixels along its side changes more between -1 and +1 than one of
256, and would fail the official stability threshold for its size alone."""


def finished(average: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict to publish, at the final side."""
    state = {name: tensor.clone() for name, tensor in grow(average, architecture.IMAGE_SIDE).items()}
    for output in range(architecture.MULTIMASK_OUTPUTS + 1):
        for kind in ("weight", "bias"):
            state[f"mask_decoder.output_hypernetworks_mlps.{output}.layers.2.{kind}"] *= SHARPNESS
    state["prompt_encoder.mask_downscaling.0.weight"] /= SHARPNESS  # a mask prompt means the same
    return state
