"""The encoder in this process: for the command line, and where there is no Triton."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.adapters.repository import FileModelRepository
from orchestrator.domain.errors import ModelMissing, ModelNotLoaded, Unavailable
from orchestrator.domain.geometry import ModelInput
from orchestrator.domain.model import Manifest
from orchestrator.usecases.ports.engines import Float32


class EncoderGraph(Protocol):
    """`model.onnx` on one runtime or the other."""

    def arrays(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]: ...


class InProcessEncoder:
    """One picture at a time, without a batch. `open_graph` raises `Unavailable` for a file that is no graph."""

    def __init__(self, repository: Path, open_graph: Callable[[Path], EncoderGraph]) -> None:
        self._repository = repository
        self._manifests = FileModelRepository(repository)
        self._open_graph = open_graph
        self._graphs: dict[str, tuple[str, EncoderGraph]] = {}

    def encode(self, model: Manifest, picture: ModelInput) -> Float32:
        version, graph = self._graphs.get(model.variant, ("", None))
        if graph is None or version != model.version:
            raise ModelNotLoaded(f"The model {model.variant} {model.version} is not loaded.")
        inputs: dict[str, NDArray[Any]] = {"image": picture.canvas[None], "size": np.array([picture.size], np.int32)}
        return np.asarray(graph.arrays(inputs)["embedding"][0], np.float32)

    def check(self) -> None:
        """This process is there, and so is its encoder."""

    def loaded(self) -> dict[str, str]:
        return {name: version for name, (version, _) in self._graphs.items()}

    def load(self, name: str) -> None:
        try:
            manifest = self._manifests.manifest(name)
        except ModelMissing as exc:
            raise Unavailable(exc.detail) from exc
        graph = self._open_graph(self._repository / name / "1" / "model.onnx")
        self._graphs[name] = (manifest.version, graph)

    def unload(self, name: str) -> None:
        self._graphs.pop(name, None)
