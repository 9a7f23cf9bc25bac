"""Checkpoints: found, downloaded, checked, loaded into the official classes."""

import hashlib
from pathlib import Path
from pickle import UnpicklingError
from zipfile import BadZipFile

import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam

from export.errors import ExportError
from export.tiny import weights as tiny

VARIANTS = ("tiny", "vit_b", "vit_l", "vit_h")
OFFICIAL = ("vit_b", "vit_l", "vit_h")

Variant = str


def load(variant: Variant, path: Path | None = None) -> Sam:
    """The official model of a variant with a checkpoint's weights, in evaluation mode, fp32, on the CPU.

    `path` may be left out for `tiny`, whose checkpoint is part of the project. Raises `ExportError`.
    """
    if variant not in VARIANTS:
        raise ExportError(f"There is no variant {variant!r}; the variants are {', '.join(VARIANTS)}.")
    if variant == "tiny":
        return _load_tiny(path or tiny.PATH)
    if path is None:
        raise ExportError(f"{variant} needs a checkpoint file.")
    state = _read(path)
    sam: Sam = sam_model_registry[variant](checkpoint=None)
    _check(variant, path, sam.state_dict(), state)
    sam.load_state_dict(state)
    return sam.eval()


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load_tiny(path: Path) -> Sam:
    _must_exist(path)
    try:
        return tiny.load(path)
    except Exception as exc:  # safetensors and torch raise several kinds; all mean the same here
        raise ExportError(f"{path} is no checkpoint of tiny: {_first_line(exc)}") from exc


def _read(path: Path) -> dict[str, torch.Tensor]:
    _must_exist(path)
    try:
        # Tensors only: a checkpoint must not be able to run code.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, UnpicklingError, BadZipFile) as exc:
        raise ExportError(
            f"{path} cannot be read as a checkpoint; is it truncated? Fetch it again. ({_first_line(exc)})"
        ) from exc
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ExportError(f"{path} holds no state dict of tensors; an official SAM checkpoint is expected.")
    return state


def _check(variant: Variant, path: Path, expected: dict[str, torch.Tensor], state: dict[str, torch.Tensor]) -> None:
    """Names and shapes are those of the variant; else say which variant it is."""
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if shapes == {name: tuple(tensor.shape) for name, tensor in expected.items()}:
        return
    widths = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
    position = shapes.get("image_encoder.pos_embed", ())
    actual = widths.get(position[-1]) if position else None
    if actual and actual != variant:
        raise ExportError(f"{path} is a checkpoint of {actual}, not of {variant}.")
    raise ExportError(f"{path} is no checkpoint of {variant}: its tensors have other names or shapes.")


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise ExportError(f"There is no checkpoint file {path}.")


def _first_line(exc: Exception) -> str:
    return str(exc).strip().split("\n", 1)[0][:200]
