"""Who does the work of a command: this process, or a running service."""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx2
from pydantic import TypeAdapter

from orchestrator import bootstrap
from orchestrator.domain import image as images
from orchestrator.domain import prompts
from orchestrator.domain.image import Image
from orchestrator.domain.job import Kind
from orchestrator.domain.masks import Mask
from orchestrator.domain.task import ExtractFields, Task
from orchestrator.settings import read
from orchestrator.usecases import objects
from orchestrator.usecases.models import Models
from orchestrator.usecases.segment import Segmentation
from orchestrator.usecases.stopwatch import Stopwatch

SERVER_SECONDS = 600.0
ZIP, NDJSON = "application/zip", "application/x-ndjson"
_MASKS = TypeAdapter(list[Mask])

Progress = Callable[[float], None]


class Refused(Exception):
    """A sentence for the person at the terminal."""


@dataclass(frozen=True)
class Prompt:
    """Points with labels and at most one box, or boxes alone."""

    points: list[list[float]]
    labels: list[int]
    boxes: list[list[float]]


@dataclass(frozen=True)
class Answer:
    """`body`: as the API answers it."""

    body: dict[str, Any]

    @property
    def masks(self) -> list[Mask]:
        return _MASKS.validate_python(self.body["masks"])


@dataclass(frozen=True)
class ModelLine:
    name: str
    state: str
    version: str
    side: str
    licence: str


class Engine(Protocol):
    def segment(self, picture: Path, prompt: Prompt) -> Answer: ...

    def auto(self, picture: Path, fields: Mapping[str, Any], progress: Progress) -> Answer:
        """`fields`: of `AutoFields`."""

    def extract(self, picture: Path, fields: ExtractFields, progress: Progress) -> Mapping[str, bytes]:
        """The files of the result by name."""

    def models(self) -> list[ModelLine]: ...

    def load(self, name: str) -> str: ...

    def unload(self, name: str) -> str: ...


class Here:
    """This process: settings from the environment, the encoder at TRITON_URL or in the process."""

    def __init__(self, model: str | None) -> None:
        self._settings = read()
        self._engines = bootstrap.engines(self._settings)
        self._model = model or self._settings.default_model

    def segment(self, picture: Path, prompt: Prompt) -> Answer:
        image, watch = self._read(picture), Stopwatch()
        size = (image.height, image.width)
        if prompt.points:
            box = prompt.boxes[0] if prompt.boxes else None
            asked = prompts.from_points(prompt.points, prompt.labels, box, size)
            return _answer(self._engines.segment.single(image, asked, self._model, watch), watch)
        asked = prompts.from_boxes(prompt.boxes, size) if prompt.boxes else prompts.whole_picture(size)
        return _answer(self._engines.segment.boxes(image, asked, self._model, watch), watch)

    def auto(self, picture: Path, fields: Mapping[str, Any], progress: Progress) -> Answer:
        image, watch = self._read(picture), Stopwatch()
        task = Task(Kind.auto, fields, self._model)
        return _answer(self._engines.operations.segment(task, image, watch, progress), watch)

    def extract(self, picture: Path, fields: ExtractFields, progress: Progress) -> Mapping[str, bytes]:
        watch = Stopwatch()
        task = Task(Kind.extract, asdict(fields), self._model)
        found = self._engines.operations.extract(task, self._read(picture), watch, progress)
        return dict(objects.files(found, objects.stored(found, watch)))

    def models(self) -> list[ModelLine]:
        lines = []
        for status in self._engines.models.list():
            manifest = status.manifest
            facts = (manifest.version, str(manifest.image_side), manifest.licence) if manifest else ("", "", "")
            lines.append(ModelLine(status.name, status.state, *facts))
        return lines

    def load(self, name: str) -> str:
        return self._triton().load(name).state

    def unload(self, name: str) -> str:
        return self._triton().unload(name).state

    def _triton(self) -> Models:
        if not self._settings.triton_url:
            raise Refused("There is no server to load a model: give --server URL, or set TRITON_URL.")
        return self._engines.models

    def _read(self, picture: Path) -> Image:
        return images.glance(picture.read_bytes(), bootstrap.limits(self._settings))


class There:
    """A running service, by its API."""

    def __init__(self, server: str, model: str | None) -> None:
        self._server = server
        self._fields = {"model": model} if model else {}

    def segment(self, picture: Path, prompt: Prompt) -> Answer:
        fields = {"labels": json.dumps(prompt.labels), "points": json.dumps(prompt.points)} if prompt.points else {}
        if prompt.points and prompt.boxes:
            fields["box"] = json.dumps(prompt.boxes[0])
        elif prompt.boxes:
            fields["boxes"] = json.dumps(prompt.boxes)
        return self._post("/segment/single" if prompt.points else "/segment/box", picture, fields)

    def auto(self, picture: Path, fields: Mapping[str, Any], progress: Progress) -> Answer:
        """As lines: progress, then each mask, then the rest. The service stops when nobody reads on."""
        form = self._fields | {name: json.dumps(value) for name, value in fields.items()} | {"output": "ndjson"}
        masks: list[dict[str, Any]] = []
        with picture.open("rb") as file:
            content: dict[str, Any] = {"data": form, "files": {"image": (picture.name, file)}}
            url = self._server + "/segment/auto"
            with httpx2.stream("POST", url, timeout=SERVER_SECONDS, **content) as response:
                if response.is_error:
                    response.read()
                    raise _refused(response)
                if response.headers.get("content-type") != NDJSON:
                    raise self._stranger()
                for line in response.iter_lines():
                    told = json.loads(line)
                    if "progress" in told:
                        progress(told["progress"])
                    elif "mask" in told:
                        masks.append(told["mask"])
                    elif "error" in told:
                        raise Refused(told["detail"])
                    else:
                        return Answer(told | {"masks": masks})
        raise Refused(f"{self._server} stopped in the midst of its answer.")

    def extract(self, picture: Path, fields: ExtractFields, progress: Progress) -> Mapping[str, bytes]:
        plain = asdict(fields)
        flat = {**plain.pop("automatic"), **plain.pop("cutout"), **plain, "output": "zip"}
        given = {name: value for name, value in flat.items() if value is not None and value != ()}
        form = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
        with picture.open("rb") as file:
            content = {"data": self._fields | form, "files": {"image": (picture.name, file)}}
            response = self._send("POST", "/segment/objects/extract", **content)
        progress(1.0)
        if response.headers.get("content-type") != ZIP:
            raise self._stranger()
        with zipfile.ZipFile(io.BytesIO(response.content)) as packed:
            return {Path(name).name: packed.read(name) for name in packed.namelist()}

    def models(self) -> list[ModelLine]:
        lines = []
        for model in self._ask("GET", "/models/")["models"]:
            manifest = model["manifest"] or {"version": "", "image_side": "", "licence": ""}
            facts = (manifest["version"], str(manifest["image_side"]), manifest["licence"])
            lines.append(ModelLine(model["name"], model["state"], *facts))
        return lines

    def load(self, name: str) -> str:
        return str(self._ask("POST", f"/models/{name}/load")["state"])

    def unload(self, name: str) -> str:
        return str(self._ask("DELETE", f"/models/{name}/unload")["state"])

    def _post(self, path: str, picture: Path, fields: dict[str, str]) -> Answer:
        with picture.open("rb") as file:
            files = {"image": (picture.name, file)}
            return Answer(self._ask("POST", path, data=self._fields | fields, files=files))

    def _ask(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        body = _json(self._send(method, path, **content))
        if not body:
            raise self._stranger()
        return body

    def _stranger(self) -> Refused:
        return Refused(f"{self._server} answers, but is no Image Quarry.")

    def _send(self, method: str, path: str, **content: Any) -> httpx2.Response:
        response = httpx2.request(method, self._server + path, timeout=SERVER_SECONDS, **content)
        if response.is_error:
            raise _refused(response)
        return response


def _refused(response: httpx2.Response) -> Refused:
    return Refused(_json(response).get("detail", f"The server answered {response.status_code}."))


def _json(response: httpx2.Response) -> dict[str, Any]:
    is_json = response.headers.get("content-type", "").startswith("application/json")
    return response.json() if is_json else {}


def _answer(found: Segmentation, watch: Stopwatch) -> Answer:
    height, width = found.size
    return Answer(
        {
            "image": {"id": None, "width": width, "height": height},
            "model": {"name": found.model.variant, "version": found.model.version},
            "masks": _MASKS.dump_python(list(found.masks), mode="json"),
            "timings_ms": watch.milliseconds(),
        }
    )
