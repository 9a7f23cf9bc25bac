"""Stand-ins for ports. Each passes the same contract tests as the adapter that it stands for."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.errors import ModelMissing, ModelNotLoaded, NotFound, Unavailable
from orchestrator.domain.geometry import ModelInput
from orchestrator.domain.model import Manifest
from orchestrator.usecases.ports.engines import Array, ArrayKey, Float32
from orchestrator.usecases.ports.state import StoredImage

MANIFEST = Manifest(
    variant="tiny",
    version="v1",
    image_side=64,
    precision="fp32",
    mask_threshold=0.0,
    checkpoint_sha256="",
    licence="MIT",
    max_batch_size=2,
    graphs={},
    measured={},
)


@dataclass
class FakeRepository:
    manifests: dict[str, Manifest] = field(default_factory=lambda: {"tiny": MANIFEST})

    def names(self) -> Iterable[str]:
        return list(self.manifests)

    def manifest(self, name: str) -> Manifest:
        try:
            return self.manifests[name]
        except KeyError as exc:
            raise ModelMissing(f"{name} is not in the repository; make it with python -m export {name}") from exc


@dataclass
class FakeEncoder:
    """Answers the picture's mean in every place; counts what it is asked."""

    repository: FakeRepository = field(default_factory=FakeRepository)
    versions: dict[str, str] = field(default_factory=dict)
    loads: list[str] = field(default_factory=list)
    encodings: int = 0
    down: bool = False

    def encode(self, model: Manifest, picture: ModelInput) -> Float32:
        self.check()
        if model.variant not in self.versions:
            raise ModelNotLoaded(f"{model.variant} is not loaded")
        self.encodings += 1
        height, width = picture.size
        return np.full(model.embedding_shape, picture.canvas[:height, :width].mean(), np.float32)

    def check(self) -> None:
        if self.down:
            raise Unavailable("the encoder is away")

    def loaded(self) -> dict[str, str]:
        self.check()
        return dict(self.versions)

    def load(self, name: str) -> None:
        self.check()
        if name not in self.repository.manifests:
            raise Unavailable(f"{name} cannot be loaded")
        self.loads.append(name)
        self.versions[name] = self.repository.manifests[name].version

    def unload(self, name: str) -> None:
        self.check()
        self.versions.pop(name, None)


@dataclass
class FakeRows:
    rows: dict[str, StoredImage] = field(default_factory=dict)

    def get(self, image_id: str) -> StoredImage | None:
        return self.rows.get(image_id)

    def older_than(self, time: datetime, most: int) -> list[StoredImage]:
        old = [row for row in self.rows.values() if row.created_at < time]
        return sorted(old, key=lambda row: row.created_at)[:most]

    @contextmanager
    def exclusive(self, content: str) -> Iterator["FakeContentRows"]:
        before = dict(self.rows)
        try:
            yield FakeContentRows(self.rows, content)
        except BaseException:
            self.rows = before
            raise


@dataclass
class FakeContentRows:
    rows: dict[str, StoredImage]
    content: str

    def any(self) -> StoredImage | None:
        return next((row for row in self.rows.values() if row.content == self.content), None)

    def add(self, image: StoredImage) -> None:
        self.rows[image.id] = replace(image)

    def remove(self, image_id: str) -> None:
        self.rows.pop(image_id, None)


@dataclass
class FakeFiles:
    files: dict[str, bytes] = field(default_factory=dict)

    def write(self, path: str, data: bytes) -> None:
        self.files[path] = data

    def read(self, path: str) -> bytes:
        try:
            return self.files[path]
        except KeyError as exc:
            raise NotFound(f"no file {path}") from exc

    def remove(self, path: str) -> None:
        self.files.pop(path, None)


@dataclass
class FakeCache:
    arrays: dict[ArrayKey, Array] = field(default_factory=dict)
    forgotten: dict[str, float] = field(default_factory=dict)

    def get(self, key: ArrayKey) -> Array | None:
        return self.arrays.get(key)

    def put(self, key: ArrayKey, array: Array, since: float) -> None:
        if self.forgotten.get(key.content, 0) < since:
            self.arrays[key] = array

    def forget(self, content: str) -> None:
        self.forgotten[content] = time.time()
        self.arrays = {key: array for key, array in self.arrays.items() if key.content != content}

    @contextmanager
    def turn(self, key: ArrayKey) -> Iterator[None]:
        assert key.content
        yield


@dataclass
class FakeScores:
    iou: Float32
    value: float
    side: int

    def masks(self, keep: NDArray[np.bool_]) -> Float32:
        # Which candidate it is shows in its height.
        logits = np.full((int(keep.sum()), self.side, self.side), -5.0, np.float32)
        for mask, (_, column) in zip(logits, np.argwhere(keep), strict=True):
            mask[: self.side // 2 - column % 3] = self.value
        return logits


@dataclass
class FakeDecoder:
    """The upper half of every picture, with rising predicted IoUs."""

    model: Manifest = MANIFEST
    prompts_at_once: int = 3
    calls: list[int] = field(default_factory=list)

    def get(self, model: Manifest) -> "FakeDecoder":
        self.model = model
        return self

    def open(self, embedding: Float32, mask_input: Float32 | None = None) -> "FakeDecoder":
        assert embedding.shape == self.model.embedding_shape
        assert mask_input is None or mask_input.shape == (self.model.low_res_side,) * 2
        return self

    def scores(self, coords: Float32, labels: NDArray[np.int32]) -> FakeScores:
        assert coords.shape[:2] == labels.shape
        self.calls.append(len(coords))
        iou = np.tile(np.array([0.5, 0.6, 0.7, 0.8], np.float32), (len(coords), 1))
        return FakeScores(iou, 5.0, self.model.low_res_side)
