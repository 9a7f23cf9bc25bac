"""The real architectures with seeded random weights: for time and memory, not for masks."""

import sys
from pathlib import Path

import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam

from export.publish import publish

EXPORT = Path(publish.__code__.co_filename).parent


def model(name: str) -> Sam:
    torch.manual_seed(0)
    sam: Sam = sam_model_registry[name](checkpoint=None).eval()
    return sam


def repository(name: str, output: Path) -> Path:
    """A model repository below `output` that holds `name`; exported anew when `export` is newer."""
    folder = output / "repository"
    manifest = folder / name / "1" / "manifest.json"
    newest = max(path.stat().st_mtime for path in EXPORT.glob("*.py"))
    if not manifest.exists() or manifest.stat().st_mtime < newest:
        publish(model(name), name, folder, checkpoint_sha256="seed 0", max_batch_size=1, report=lambda _: None)
    return folder


if __name__ == "__main__":
    repository(sys.argv[1], Path(sys.argv[2]))
