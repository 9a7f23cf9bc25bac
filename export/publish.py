"""A variant's folder in the model repository: made beside it, measured, then renamed into place as a whole."""

import ctypes
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from segment_anything.modeling import Sam

from export import graphs, measure, triton_config
from export.errors import ExportError
from export.graphs import Precision
from orchestrator.domain.model import Manifest

RESIZE = "Pillow bilinear, longest side to S, int(x + 0.5)"
"""The preprocessing that is not in the graphs: it counts in the version."""

LARGEST_DIFFERENCE: dict[Precision, dict[str, float]] = {
    "fp32": {"embedding": 1e-3, "predicted_iou": 1e-3, "logits": 1e-2},
    "fp16": {"embedding": 1e-1, "predicted_iou": 2e-2, "logits": 1.0},
}
"""The gate: graphs further from PyTorch in fp32 than this are not published."""

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux' renameat2
_STALE_SECONDS = 6 * 3600
_WHO_CAN_READ = 0o755  # mkdtemp makes 0700, onnx its files 0600, and the server may be another user

Report = Callable[[str], None]


def publish(
    sam: Sam,
    variant: str,
    repository: Path,
    *,
    checkpoint_sha256: str,
    max_batch_size: int,
    report: Report,
    precision: Precision = "fp32",
) -> Manifest:
    """Export `sam` to `repository/variant`; what was there before stays until the new folder is whole.

    Raises `ExportError` where the repository cannot be written or a graph fails the gate; nothing half-written stays.
    """
    try:
        repository.mkdir(parents=True, exist_ok=True)
        _sweep(repository, variant)
        # In the repository itself, so that the rename stays within one file system; Triton loads only what it is told.
        folder = Path(tempfile.mkdtemp(prefix=f".{variant}-", dir=repository))
    except OSError as exc:
        raise ExportError(f"The model repository {repository} cannot be written: {exc.strerror}.") from exc
    try:
        folder.chmod(_WHO_CAN_READ)
        version_folder = folder / "1"
        for build in graphs.all_graphs(sam):
            graph = build()
            report(f"writing {graph.file}")
            graphs.write(graph, version_folder, precision)
        for path in version_folder.rglob("*"):
            path.chmod(_WHO_CAN_READ if path.is_dir() else _WHO_CAN_READ & 0o666)
        report("comparing with PyTorch")
        measured = measure.differences(sam, version_folder)
        _gate(measured, precision)
        manifest = _manifest(sam, variant, version_folder, checkpoint_sha256, measured, precision, max_batch_size)
        (version_folder / "manifest.json").write_text(json.dumps(asdict(manifest), indent=2) + "\n")
        (folder / "config.pbtxt").write_text(_config(manifest))
        report(f"publishing {repository / variant}")
        _swap(folder, repository / variant)
    except OSError as exc:
        raise ExportError(f"The model repository {repository} cannot be written: {exc.strerror or exc}.") from exc
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return manifest


def _gate(measured: dict[str, float], precision: Precision) -> None:
    for name, largest in LARGEST_DIFFERENCE[precision].items():
        # Written so that NaN fails too.
        if not measured[name] <= largest:
            raise ExportError(
                f"The exported graphs differ from PyTorch by {measured[name]:.2g} in {name} (at most {largest:g} "
                f"may be); nothing was published."
            )


def _manifest(
    sam: Sam,
    variant: str,
    folder: Path,
    checkpoint_sha256: str,
    measured: dict[str, float],
    precision: Precision,
    max_batch_size: int,
) -> Manifest:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digests = {}
    for path in files:
        with path.open("rb") as file:
            digests[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    version = hashlib.sha256(json.dumps([RESIZE, digests], sort_keys=True).encode()).hexdigest()[:16]
    return Manifest(
        variant=variant,
        version=version,
        image_side=sam.image_encoder.img_size,
        precision=precision,
        mask_threshold=sam.mask_threshold,
        checkpoint_sha256=checkpoint_sha256,
        licence="MIT" if variant == "tiny" else "Apache-2.0",
        max_batch_size=max_batch_size,
        graphs=digests,
        measured=measured,
    )


def _config(manifest: Manifest) -> str:
    channels, grid, _ = manifest.embedding_shape
    return triton_config.render(
        triton_config.EncoderConfig(
            name=manifest.variant,
            version=manifest.version,
            side=manifest.image_side,
            channels=channels,
            grid=grid,
            max_batch_size=manifest.max_batch_size,
            precision=manifest.precision,
        )
    )


def _swap(new: Path, place: Path) -> None:
    """Put `new` where `place` is; there is always a whole folder there, if there was one."""
    if not place.exists():
        new.rename(place)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(place), _RENAME_EXCHANGE) == 0:
        return  # what was there is in `new` now, which the caller removes
    # A file system that cannot exchange: the old one steps aside for a moment.
    old = new.with_name(f"{new.name}-old")
    place.rename(old)
    try:
        new.rename(place)
    except OSError:
        old.rename(place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sweep(repository: Path, variant: str) -> None:
    """What exports that were killed have left behind."""
    for folder in repository.glob(f".{variant}-*"):
        if time.time() - folder.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
