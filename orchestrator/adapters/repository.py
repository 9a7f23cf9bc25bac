"""The model repository on disk, read only: the export writes it."""

import json
import threading
from collections.abc import Iterable
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from orchestrator.domain.errors import ModelMissing
from orchestrator.domain.model import Manifest

_MANIFEST = TypeAdapter(Manifest)


class FileModelRepository:
    """`<root>/<name>/1/manifest.json`. A manifest is read again when its file has been replaced."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: dict[str, tuple[int, Manifest]] = {}
        self._lock = threading.Lock()

    def names(self) -> Iterable[str]:
        return [path.parent.parent.name for path in self._root.glob("[!.]*/1/manifest.json")]

    def manifest(self, name: str) -> Manifest:
        path = self._root / name / "1" / "manifest.json"
        try:
            changed = path.stat().st_mtime_ns
            with self._lock:
                if name not in self._read or self._read[name][0] != changed:
                    self._read[name] = (changed, _MANIFEST.validate_python(json.loads(path.read_bytes())))
                manifest = self._read[name][1]
        except FileNotFoundError as exc:
            raise ModelMissing(
                f"The model {name} is not in the model repository; "
                f"run `python -m export {name} --repository {self._root}` to make it."
            ) from exc
        except (OSError, ValueError, ValidationError) as exc:
            raise ModelMissing(f"{path} cannot be read; run `python -m export {name}` to make it anew.") from exc
        if manifest.variant != name:
            raise ModelMissing(f"The folder {name} of the model repository holds {manifest.variant}; rename it.")
        return manifest
