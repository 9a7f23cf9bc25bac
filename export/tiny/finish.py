"""What is done to the averaged weights after the training, without changing a single mask."""

from torch import Tensor

from export.tiny import architecture
from export.tiny.start import grow

SHARPNESS = 8.0
"""Logits times this: a mask of 216 pixels along its side changes more between -1 and +1 than one of
256, and would fail the official stability threshold for its size alone."""


def finished(average: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict to publish, at the final side."""
    return _sharper(grow(average, architecture.IMAGE_SIDE), SHARPNESS)


def unfinished(published: dict[str, Tensor], side: int) -> dict[str, Tensor]:
    """A published state dict as the training had it, at this side."""
    return _sharper(grow(published, side), 1 / SHARPNESS)


def _sharper(state: dict[str, Tensor], factor: float) -> dict[str, Tensor]:
    changed = {name: tensor.clone() for name, tensor in state.items()}
    for output in range(architecture.MULTIMASK_OUTPUTS + 1):
        for kind in ("weight", "bias"):
            changed[f"mask_decoder.output_hypernetworks_mlps.{output}.layers.2.{kind}"] *= factor
    changed["prompt_encoder.mask_downscaling.0.weight"] /= factor  # a mask prompt means the same
    return changed
