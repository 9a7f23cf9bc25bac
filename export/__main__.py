"""`python -m export VARIANT`: a checkpoint → graphs, configuration and manifest in the model repository."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn

from export import checkpoint, download, publish
from export.errors import ExportError
from export.tiny import weights as tiny
from orchestrator.settings import Settings


class Variant(StrEnum):
    tiny = "tiny"
    vit_b = "vit_b"
    vit_l = "vit_l"
    vit_h = "vit_h"


class Precision(StrEnum):
    fp32 = "fp32"
    fp16 = "fp16"


console = Console(stderr=True)


def main(
    variant: Annotated[Variant, typer.Argument(help="Which SAM.")],
    checkpoint_file: Annotated[
        Path | None,
        typer.Option("--checkpoint", help="A .pth file; without it the official one is downloaded once."),
    ] = None,
    repository: Annotated[Path | None, typer.Option(help="The model repository; MODEL_REPOSITORY without it.")] = None,
    precision: Annotated[Precision, typer.Option(help="Of weights and arithmetic; fp16 is for GPUs.")] = Precision.fp32,
    max_batch_size: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Pictures encoded at once; by default 8, or 1 for the large ones on a CPU."),
    ] = None,
) -> None:
    """Export a checkpoint to ONNX for Triton: encoder, decoder, config.pbtxt and manifest.json."""
    settings = Settings()
    try:
        path = checkpoint_file or _default_checkpoint(variant, settings)
        columns = (SpinnerColumn(), TextColumn("{task.description}"))
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(f"loading {path}")
            sam = checkpoint.load(variant, path)
            manifest = publish.publish(
                sam,
                variant,
                repository or settings.model_repository,
                checkpoint_sha256=checkpoint.sha256(path),
                max_batch_size=max_batch_size or _default_batch(variant),
                report=lambda text: progress.update(task, description=text),
                precision=precision.value,
            )
    except ExportError as exc:
        console.print("[red]error:[/red]", escape(str(exc)), highlight=False, soft_wrap=True)
        raise typer.Exit(1) from exc
    differences = ", ".join(f"{name} {value:.1e}" for name, value in manifest.measured.items())
    console.print(f"{variant} {manifest.version} ({precision}) is in {repository or settings.model_repository}")
    console.print(f"largest differences from PyTorch: {differences}")


def _default_checkpoint(variant: Variant, settings: Settings) -> Path:
    if variant is Variant.tiny:
        return tiny.PATH
    url = settings.sam_model_urls.get(variant)
    if url is None:
        raise ExportError(f"SAM_MODEL_URLS names no checkpoint of {variant}; give one with --checkpoint.")
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"downloading {url.rsplit('/', 1)[-1]}", total=None)
        return download.fetch(
            url,
            settings.model_cache_dir,
            lambda done, total: progress.update(task, completed=done, total=total),
        )


def _default_batch(variant: Variant) -> int:
    """On a CPU a batch of a large encoder takes as long as its pictures one by one, and more memory."""
    import torch

    return 8 if variant is Variant.tiny or torch.cuda.is_available() else 1


if __name__ == "__main__":
    typer.run(main)
