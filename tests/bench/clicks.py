"""`make bench-clicks`: what a new picture takes at the API, and a further click on it, beside the decoder alone.

    python -m tests.bench.clicks [--photo FILE] [--clicks N] [--pictures N] [--engines LIST] [--output DIR]

A real Triton, a real API process, for each engine in turn. A new picture is the photo without its first columns, sent
with a box. Then the photo is uploaded and clicked on; the decoder alone is timed in turn with the API's calls, in this
process, on the same cores: opened on the embedding, asked one point, its three masks made at low resolution.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from PIL import Image
from rich.console import Console

from orchestrator import bootstrap
from orchestrator.adapters.cpu_engine import of_triton
from orchestrator.domain import image as images
from orchestrator.domain import prompts
from orchestrator.local.network import free_ports
from orchestrator.settings import Settings, bundled_repository
from orchestrator.usecases.stopwatch import Stopwatch
from tests.adapters.test_triton_encoder import counts
from tests.local.servers import running_redis, running_triton

SAMPLE = Path("orchestrator/local/sample.jpg")
ENGINES = "auto,onnxruntime,openvino,openvino-bf16"
LOOSE = {"points_per_side": "16", "pred_iou_thresh": "0.83", "stability_score_thresh": "0.7"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-clicks", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--photo", type=Path, default=SAMPLE, help="(%(default)s)")
    parser.add_argument("--clicks", type=int, default=60, help="(%(default)s)")
    parser.add_argument("--pictures", type=int, default=20, help="(%(default)s)")
    parser.add_argument("--engines", default=ENGINES, help="by CPU_ENGINE (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("bench-output"), help="for clicks.json (%(default)s)")
    chosen = parser.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    found = {}
    for engine in chosen.engines.split(","):
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(engine, chosen.photo, chosen.clicks, chosen.pictures, Path(folder))
        show(engine, figures)
        found[engine] = figures
    (chosen.output / "clicks.json").write_text(json.dumps(found, indent=2))


def show(engine: str, figures: dict[str, Any]) -> None:
    new, api, decoder = (figures[name] for name in ("new_ms", "api_ms", "decoder_ms"))
    Console(highlight=False).print(
        f"{engine}\n"
        f"  a new picture with a box: p50 {new['p50']:.0f} ms (least {new['least']:.0f}, p95 {new['p95']:.0f})\n"
        f"  a further click: p50 {api['p50']:.1f} ms (p95 {api['p95']:.1f})\n"
        f"  the decoder alone: p50 {decoder['p50']:.1f} ms, times 1.3 and 10 ms: {1.3 * decoder['p50'] + 10:.1f}\n"
        f"  encodings of all clicks and two automatic runs, by Triton's count: {figures['encodings']}"
    )


def measure(engine: str, photo: Path, clicks: int, pictures: int, folder: Path) -> dict[str, Any]:
    data = photo.read_bytes()
    with (
        running_triton(bundled_repository(), folder / "triton", ["tiny"], cpu_engine=of_triton(engine)) as triton,
        running_redis(folder) as redis,
    ):
        settings = {"TRITON_URL": triton.grpc, "REDIS_URL": redis, "DATABASE_URL": f"sqlite:///{folder}/quarry.db"}
        settings |= {
            "UPLOAD_DIR": str(folder / "uploads"),
            "RESULTS_DIR": str(folder / "results"),
            "CPU_ENGINE": engine,
        }
        with running_api(settings) as address, httpx2.Client(base_url=address, timeout=120) as client:
            new = [send(client, *variant) for variant in variants(data, pictures + 1)]
            image_id = client.post("/images", files={"image": data}).json()["id"]
            alone = Decoder(data, triton.grpc, engine)
            before, api, decoder = counts(triton)[0], [], []
            rng = np.random.default_rng(0)
            for _ in range(clicks):
                x, y = (float(rng.uniform(0.1, 0.9) * side) for side in (alone.width, alone.height))
                started = time.perf_counter()
                answer = client.post("/segment/single", data={"image_id": image_id, "points": f"[[{x},{y}]]"})
                api.append(time.perf_counter() - started)
                answer.raise_for_status()
                decoder.append(alone.click(x, y))
            for _ in range(2):
                client.post("/segment/auto", data=LOOSE | {"image_id": image_id}).raise_for_status()
            encodings = counts(triton)[0] - before
    times = {"new_ms": spread(new[1:]), "api_ms": spread(api[1:]), "decoder_ms": spread(decoder[1:])}
    return times | {"encodings": encodings, "clicks": clicks, "pictures": pictures}


def variants(data: bytes, count: int) -> Iterator[tuple[bytes, list[int]]]:
    """Pictures that are new to the service, each a JPEG, and a box in their middle."""
    with Image.open(io.BytesIO(data)) as photo:
        whole = photo.convert("RGB")
    for columns in range(1, count + 1):
        picture, made = whole.crop((columns, 0, *whole.size)), io.BytesIO()
        picture.save(made, "JPEG", quality=92)
        width, height = picture.size
        yield made.getvalue(), [width // 4, height // 4, 3 * width // 4, 3 * height // 4]


def send(client: httpx2.Client, picture: bytes, box: list[int]) -> float:
    """Seconds from the request to its masks."""
    started = time.perf_counter()
    answer = client.post("/segment/box", files={"image": picture}, data={"boxes": json.dumps([box])})
    answer.raise_for_status()
    return time.perf_counter() - started


class Decoder:
    """The decoder without a service around it."""

    def __init__(self, data: bytes, triton: str, engine: str) -> None:
        settings = Settings.model_validate({"triton_url": triton, "cpu_engine": engine})
        engines = bootstrap.engines(settings)
        image = images.decode(data, bootstrap.limits(settings))
        self.height, self.width = image.height, image.width
        self._model = engines.models.require("tiny")
        self._embedding = engines.segment.embed(image, self._model, Stopwatch())
        self._decoder = engines.decoders.get(self._model)

    def click(self, x: float, y: float) -> float:
        """Seconds."""
        size = (self.height, self.width)
        asked = prompts.from_points([[x, y]], None, None, size)
        started = time.perf_counter()
        session = self._decoder.open(self._embedding)
        scores = session.scores(asked.in_model_frame(size, self._model.image_side), asked.labels)
        keep = np.zeros(scores.iou.shape, np.bool_)
        keep[:, 1:] = True
        scores.masks(keep)
        return time.perf_counter() - started


@contextmanager
def running_api(settings: dict[str, str]) -> Iterator[str]:
    """The address of an API of its own process, with its model at hand."""
    (port,) = free_ports(1, "127.0.0.1")
    environment = os.environ | settings | {"HOST": "127.0.0.1", "PORT": str(port), "LOG_LEVEL": "WARNING"}
    process = subprocess.Popen([sys.executable, "-m", "orchestrator.api"], env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                if httpx2.get(f"{address}/health/ready", timeout=5).is_success:
                    break
            except httpx2.TransportError:
                pass
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(40)


def spread(seconds: list[float]) -> dict[str, float]:
    """Milliseconds."""
    cuts = statistics.quantiles(seconds, n=20)
    return {"p50": 1000 * statistics.median(seconds), "p95": 1000 * cuts[-1], "least": 1000 * min(seconds)}


if __name__ == "__main__":
    main()
