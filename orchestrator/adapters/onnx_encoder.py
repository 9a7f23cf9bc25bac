"""The encoder in this process, by ONNX Runtime: for the command line, and where there is no Triton."""

from pathlib import Path

import numpy as np

from orchestrator.adapters.onnx_graph import OnnxGraph
from orchestrator.adapters.repository import FileModelRepository
from orchestrator.domain.errors import ModelMissing, ModelNotLoaded, Unavailable
from orchestrator.domain.geometry import ModelInput
from orchestrator.domain.model import Manifest
from orchestrator.usecases.ports import Float32


class OnnxEncoder:
    """One picture at a time, without a batch."""

    def __init__(self, repository: Path, threads: int) -> None:
        self._repository = repository
        self._manifests = FileModelRepository(repository)
        self._threads = threads
        self._graphs: dict[str, tuple[str, OnnxGraph]] = {}

    def encode(self, model: Manifest, picture: ModelInput) -> Float32:
        version, graph = self._graphs.get(model.variant, ("", None))
        if graph is None or version != model.version:
            raise ModelNotLoaded(f"The model {model.variant} {model.version} is not loaded.")
        inputs = {"image": picture.canvas[None], "size": np.array([picture.size], np.int32)}
        embedding = graph.run(inputs, host=("embedding",))["embedding"].numpy()
        return np.asarray(embedding[0], np.float32)

    def check(self) -> None:
        """This process is there, and so is its encoder."""

    def loaded(self) -> dict[str, str]:
        return {name: version for name, (version, _) in self._graphs.items()}

    def load(self, name: str) -> None:
        try:
            manifest = self._manifests.manifest(name)
        except ModelMissing as exc:
            raise Unavailable(exc.detail) from exc
        graph = OnnxGraph(self._repository / name / "1" / "model.onnx", self._threads)
        self._graphs[name] = (manifest.version, graph)

    def unload(self, name: str) -> None:
        self._graphs.pop(name, None)
