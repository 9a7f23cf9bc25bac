"""Which models there are, and having one at hand when it is needed."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from typing import Literal

from orchestrator.domain.errors import ModelMissing, NotFound, QuarryError, Unavailable
from orchestrator.domain.model import VARIANTS, Manifest
from orchestrator.usecases.ports.engines import Encoder, ModelRepository

State = Literal["loaded", "loading", "not_loaded", "missing", "outdated"]

PATIENCE_SECONDS = 5.0
"""How long a request waits for a model to load before it is told to come again."""


@dataclass(frozen=True)
class ModelStatus:
    """`outdated`: the encoder has another version than the repository; loading it again mends that."""

    name: str
    state: State
    manifest: Manifest | None


class Models:
    """The models by name; loads one on demand, once for all who wait for it."""

    def __init__(self, repository: ModelRepository, encoder: Encoder) -> None:
        self._repository = repository
        self._encoder = encoder
        self._loader = ThreadPoolExecutor(1, "model-loader")
        self._loading: dict[str, Future[None]] = {}
        self._lock = threading.Lock()
        self._verified: dict[str, str] = {}
        self._failures: dict[str, str] = {}

    def list(self) -> list[ModelStatus]:
        """All known variants and whatever else the repository holds. Raises `Unavailable`."""
        loaded = self._encoder.loaded()
        names = dict.fromkeys([*VARIANTS, *sorted(self._repository.names())])
        return [self._status(name, loaded) for name in names]

    def status(self, name: str) -> ModelStatus:
        """Raises `NotFound`, `Unavailable`."""
        self._must_exist(name)
        return self._status(name, self._encoder.loaded())

    def load(self, name: str) -> ModelStatus:
        """Load, or load anew, and wait for it. Raises `NotFound`, `ModelMissing`, `Unavailable`."""
        self.manifest(name)
        self._verified.pop(name, None)
        self._load_once(name, again=True)
        return self.status(name)

    def unload(self, name: str) -> ModelStatus:
        """Raises `NotFound`, `ModelMissing`, `Unavailable`."""
        self.manifest(name)
        self._verified.pop(name, None)
        self._encoder.unload(name)
        return self.status(name)

    def manifest(self, name: str) -> Manifest:
        """Raises `NotFound` for an unknown name, `ModelMissing` for one that has not been exported here."""
        self._must_exist(name)
        return self._repository.manifest(name)

    def require(self, name: str) -> Manifest:
        """The model, loaded, its encoder of the same version as its decoder. Loads it if need be.

        Raises `NotFound`, `ModelMissing`, and `Unavailable` while it loads or where the versions differ.
        """
        manifest = self.manifest(name)
        if self._verified.get(name) == manifest.version:
            return manifest
        if name not in self._encoder.loaded():
            self._load_once(name, again=False)
        self._verify(manifest)
        return manifest

    def must_still_be(self, model: Manifest) -> None:
        """Raises `Unavailable` if the model was published anew since it was required."""
        if self._repository.manifest(model.variant).version != model.version:
            raise Unavailable(f"The model {model.variant} has just been replaced; try again.", retry_after=1)

    def forget(self, name: str) -> None:
        """The encoder turned out not to have the model: look again the next time."""
        self._verified.pop(name, None)

    def check(self, name: str) -> None:
        """Raises what stands in the way of the model's next request; that it is not loaded yet does not."""
        manifest = self.manifest(name)
        if name in self._encoder.loaded():
            self._verify(manifest)
        elif name in self._loading:
            raise Unavailable(f"The model {name} is loading.")
        elif name in self._failures:
            raise Unavailable(self._failures[name])

    def _verify(self, manifest: Manifest) -> None:
        """Encoder and decoder of different versions never meet."""
        name, served = manifest.variant, self._encoder.loaded().get(manifest.variant)
        if served != manifest.version:
            raise Unavailable(
                f"The encoder has version {served} of {name}, the repository {manifest.version}: "
                f"load it again with POST /models/{name}/load."
            )
        self._verified[name] = manifest.version

    def _status(self, name: str, loaded: dict[str, str]) -> ModelStatus:
        try:
            manifest = self._repository.manifest(name)
        except ModelMissing:
            return ModelStatus(name, "missing", None)
        if name in self._loading:
            return ModelStatus(name, "loading", manifest)
        if name not in loaded:
            return ModelStatus(name, "not_loaded", manifest)
        return ModelStatus(name, "loaded" if loaded[name] == manifest.version else "outdated", manifest)

    def _load_once(self, name: str, *, again: bool) -> None:
        """Once for all who wait; `again`: also if it is loaded already."""
        with self._lock:
            if name not in self._loading:
                self._loading[name] = self._loader.submit(self._load, name, again)
            future = self._loading[name]
        try:
            future.result(PATIENCE_SECONDS)
        except NotYet as exc:
            raise Unavailable(f"The model {name} is loading.", retry_after=10) from exc

    def _load(self, name: str, again: bool) -> None:
        try:
            if again or name not in self._encoder.loaded():
                self._encoder.load(name)
            self._failures.pop(name, None)
        except QuarryError as exc:
            self._failures[name] = exc.detail
            raise
        finally:
            with self._lock:
                del self._loading[name]

    def _must_exist(self, name: str) -> None:
        if name not in VARIANTS and name not in self._repository.names():
            raise NotFound(f"There is no model {name!r}; the models are {', '.join(VARIANTS)}.")
