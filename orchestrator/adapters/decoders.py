"""The decoders of a model repository, opened when they are asked for."""

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

from orchestrator.domain.errors import ModelMissing
from orchestrator.domain.model import Manifest
from orchestrator.usecases.ports.engines import Decoder


class FolderDecoders:
    """One decoder per variant, of the version that was asked for last.

    `open_decoder` makes one of the folder that holds its graphs.
    """

    def __init__(self, repository: Path, open_decoder: Callable[[Path, Manifest], Decoder]) -> None:
        self._repository = repository
        self._open_decoder = open_decoder
        self._decoders: dict[str, tuple[str, Decoder]] = {}
        self._opening = threading.Lock()

    def get(self, model: Manifest) -> Decoder:
        found = self._find(model)
        if found is None:
            with self._opening:
                found = self._find(model) or self._open(model)
        return found

    def _find(self, model: Manifest) -> Decoder | None:
        version, decoder = self._decoders.get(model.variant, ("", None))
        return decoder if version == model.version else None

    def _open(self, model: Manifest) -> Decoder:
        folder = self._repository / model.variant / "1"
        _must_be(model, folder)
        decoder = self._open_decoder(folder / "decoder", model)
        self._decoders[model.variant] = (model.version, decoder)
        return decoder


def _must_be(model: Manifest, folder: Path) -> None:
    """The files are those that the manifest names: nothing has replaced them since it was read."""
    for name, digest in model.graphs.items():
        if name.startswith("decoder/"):
            path = folder / name
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                raise ModelMissing(
                    f"{path} is not the file that the manifest of {model.variant} {model.version} names: "
                    f"run `python -m export {model.variant}` to make it anew."
                )
