"""The committed weights, and the official model that holds them."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from segment_anything.modeling import Sam

from export.tiny import architecture

PATH = Path(__file__).with_name("weights.safetensors")
"""fp16 tensors under the names of `Sam.state_dict()`."""


def load(path: Path = PATH) -> Sam:
    """The model in evaluation mode, fp32 numbers that are exactly the file's fp16 ones.

    Raises RuntimeError if a name or a shape is not the architecture's own.
    """
    sam = architecture.build()
    state = {name: tensor.float() for name, tensor in load_file(path).items()}
    sam.load_state_dict(state, strict=True)
    return sam.eval()


def save(state: dict[str, torch.Tensor], path: Path = PATH) -> None:
    """Write `Sam.state_dict()` in fp16; a reader sees the old file or the whole new one."""
    unfinished = path.with_suffix(".unfinished")
    save_file({name: tensor.half().contiguous() for name, tensor in state.items()}, unfinished)
    unfinished.chmod(0o644)
    unfinished.replace(path)
