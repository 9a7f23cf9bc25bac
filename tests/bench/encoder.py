"""`make bench-encoder`: one picture through the encoder, the official code's and the exported graph's, in turn.

    python -m tests.bench.encoder [--models tiny,vit_b] [--repeats N] [--output DIR]

Beside the graph that is served stands the official module exported as it is. One process, all cores; a table goes to
the terminal, the figures to `encoder.json`. `vit_b` stands for ViT-B's shapes (tests/bench/large.py).
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from segment_anything.modeling import Sam
from torch import Tensor, nn

from export import checkpoint, graphs
from orchestrator.adapters.onnx_graph import OnnxGraph
from orchestrator.adapters.openvino_graph import OpenVinoGraph, must_have
from tests.bench import large
from tests.pictures import draw

Pixels = NDArray[np.uint8]
Embedding = NDArray[np.float32]
Encode = Callable[[Pixels], Embedding]


class AsItIs(nn.Module):
    """The official encoder behind the official preprocessing, for a picture that fills the input."""

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.sam = sam

    def forward(self, image: Tensor) -> Tensor:
        embedding: Tensor = self.sam.image_encoder(self.sam.preprocess(image.permute(0, 3, 1, 2).float()))
        return embedding


@dataclass(frozen=True)
class Result:
    """Seconds of each run; `difference`: the largest from the official embedding, whose values reach about 10."""

    model: str
    form: str
    seconds: list[float]
    difference: float


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-encoder", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--models", default="tiny,vit_b", help="(%(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="(%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("bench-output"), help="for encoder.json (%(default)s)")
    chosen = parser.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    results = []
    for name in chosen.models.split(","):
        sam = large.model() if name == large.NAME else checkpoint.load(name)
        with tempfile.TemporaryDirectory() as folder:
            results += measure(name, forms(sam, Path(folder)), sam.image_encoder.img_size, chosen.repeats)
    show(results)
    (chosen.output / "encoder.json").write_text(json.dumps([asdict(result) for result in results], indent=2))


def forms(sam: Sam, folder: Path) -> dict[str, Encode]:
    """All ways to encode by their names, the official one first."""
    threads, side = len(os.sched_getaffinity(0)), sam.image_encoder.img_size
    size = np.array([[side, side]], np.int32)
    served = graphs.encoder_graph(sam)
    straight = replace(served, module=AsItIs(sam), example=served.example[:1], inputs=["image"])
    must_have("bf16")
    encodes: dict[str, Encode] = {"official, PyTorch": _in_torch(straight.module)}
    for name, graph, more in (("exported as it is", straight, {}), ("served", served, {"size": size})):
        graphs.write(graph, folder / name, "fp32")
        path = folder / name / graph.file
        encodes[f"{name}, onnxruntime"] = _on(OnnxGraph(path, threads), more)
        encodes[f"{name}, openvino-bf16"] = _on(OpenVinoGraph(path, threads, "bf16"), more)
    return encodes


def _in_torch(module: nn.Module) -> Encode:
    def encode(image: Pixels) -> Embedding:
        with torch.inference_mode():
            return np.asarray(module(torch.from_numpy(image)).numpy())

    return encode


def _on(graph: OnnxGraph | OpenVinoGraph, more: dict[str, NDArray[np.int32]]) -> Encode:
    return lambda image: graph.arrays({"image": image, **more})["embedding"]


def measure(model: str, encodes: dict[str, Encode], side: int, repeats: int) -> list[Result]:
    """Each once to warm up and to compare, then all in turn."""
    image = draw(side, side, seed=5)[None]
    embeddings = {name: encode(image) for name, encode in encodes.items()}
    seconds: dict[str, list[float]] = {name: [] for name in encodes}
    for _ in range(repeats):
        for name, encode in encodes.items():
            begun = time.perf_counter()
            encode(image)
            seconds[name].append(time.perf_counter() - begun)
    wanted = embeddings["official, PyTorch"]
    return [Result(model, name, seconds[name], float(np.abs(embeddings[name] - wanted).max())) for name in encodes]


def show(results: list[Result]) -> None:
    table = Table("model", "encoder", "median", "least to most", "times as fast", "largest difference")
    for result in results:
        middle = statistics.median(result.seconds)
        official = next(other for other in results if other.model == result.model)
        table.add_row(
            result.model,
            result.form,
            f"{middle * 1000:.0f} ms",
            f"{min(result.seconds) * 1000:.0f}–{max(result.seconds) * 1000:.0f}",
            f"{statistics.median(official.seconds) / middle:.1f}×",
            f"{result.difference:.1e}",
        )
    Console(highlight=False, width=120).print(table)


if __name__ == "__main__":
    main()
