"""ViT-B's architecture with what tiny has learned: its time and its memory, and masks of things rather than of noise.

Every channel of tiny stands in ViT-B three times, so each product's columns are divided by three and a norm sees the
same mean and deviation; the blocks that ViT-B has more answer zero; the decoder's wider layer is filled with zeros. All
of it is multiplied as any weights are. Only positions and windows differ from tiny, so masks are worse than tiny's.
"""

import sys
from pathlib import Path

import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam
from torch import Tensor
from torch.nn import functional

from export import checkpoint
from export.publish import publish

NAME = "vit_b"
EXPORT = Path(publish.__code__.co_filename).parent

TIMES = 3
"""ViT-B's width, heads and perceptrons over tiny's."""

BLOCKS = {0: 0, 2: 1, 3: 2, 5: 3, 6: 4, 8: 5}
"""ViT-B's blocks → tiny's, global ones to global ones."""


def model() -> Sam:
    """In evaluation mode, as `sam_model_registry` builds it."""
    sam: Sam = sam_model_registry[NAME](checkpoint=None)
    given = checkpoint.load("tiny").state_dict()
    filled = {name: _filled(name, tensor, given) for name, tensor in sam.state_dict().items()}
    sam.load_state_dict(filled)
    return sam.eval()


def _filled(name: str, target: Tensor, given: dict[str, Tensor]) -> Tensor:
    """What ViT-B holds under this name."""
    parts = name.split(".")
    if parts[:2] == ["image_encoder", "blocks"]:
        block = BLOCKS.get(int(parts[2]))
        if block is None:
            return torch.zeros_like(target)
        parts[2] = str(block)
    source = given[".".join(parts)]
    if name.startswith("image_encoder"):
        return _widened(parts[1:], source, target)
    padding = [
        side for own, wide in zip(source.shape[::-1], target.shape[::-1], strict=True) for side in (0, wide - own)
    ]
    return functional.pad(source, padding)


def _widened(parts: list[str], source: Tensor, target: Tensor) -> Tensor:
    """A tensor of tiny's encoder for three times its channels."""
    if parts[0] == "pos_embed":
        grown = functional.interpolate(source.permute(0, 3, 1, 2), size=target.shape[1:3], mode="bicubic")
        return grown.permute(0, 2, 3, 1).repeat(1, 1, 1, TIMES)
    if "rel_pos" in parts[-1]:  # offsets beyond tiny's are as its farthest
        more = (len(target) - len(source)) // 2
        return functional.pad(source.T[None], (more, more), mode="replicate")[0].T
    if parts[0] == "neck":
        return source if source.shape == target.shape else source.repeat(1, TIMES, 1, 1) / TIMES
    if parts[0] == "patch_embed":
        return source.repeat(TIMES, *[1] * (source.dim() - 1))
    rows = 3 if "qkv" in parts else 1  # queries, keys and values each have channels of their own
    taller = source.reshape(rows, -1, *source.shape[1:]).repeat(1, TIMES, *[1] * (source.dim() - 1)).flatten(0, 1)
    return taller.repeat(1, TIMES) / TIMES if source.dim() == 2 else taller


def repository(output: Path) -> Path:
    """A model repository below `output` that holds `NAME`; exported anew when `export` is newer."""
    folder = output / "repository"
    manifest = folder / NAME / "1" / "manifest.json"
    newest = max(path.stat().st_mtime for path in [*EXPORT.glob("*.py"), *EXPORT.glob("tiny/*.safetensors")])
    if not manifest.exists() or manifest.stat().st_mtime < max(newest, Path(__file__).stat().st_mtime):
        publish(model(), NAME, folder, checkpoint_sha256="tiny's", max_batch_size=1, report=lambda _: None)
    return folder


if __name__ == "__main__":
    repository(Path(sys.argv[1]))
