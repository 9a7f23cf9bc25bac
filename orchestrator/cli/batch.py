"""A folder of pictures through a service's batches, and their results into another folder.

It may be stopped and started again at any time: what is in the output folder for the same picture and the same fields
is not asked for again, and a batch that the service already has is joined, not repeated.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from orchestrator.cli.engine import Refused

MOST_FILES, MOST_BYTES = 100, 200 * 2**20
"""Of one batch: small enough to see it move, and to be sent again after an interruption."""

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
LOOK_SECONDS = 0.5
REQUEST_SECONDS = 600.0
DONE, BATCHES = "source.json", ".batches"

Progress = Callable[[str, int, int], None]
"""(batch, pictures that have ended, pictures)."""


@dataclass(frozen=True)
class Picture:
    """`name`: path below the input folder; `digest`: of its bytes and of what is asked of it."""

    path: Path
    name: str
    digest: str


def find(folder: Path, fields: Mapping[str, str]) -> list[Picture]:
    """All pictures below a folder, by name. Raises `Refused` if there is none."""
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not paths:
        raise Refused(f"There are no pictures below {folder}.")
    asked = json.dumps(dict(fields), sort_keys=True).encode()
    return [Picture(path, str(path.relative_to(folder)), _digest(path, asked)) for path in paths]


def chunks(pictures: Sequence[Picture]) -> Iterator[list[Picture]]:
    """The same each time, whatever is done already."""
    part: list[Picture] = []
    size = 0
    for picture in pictures:
        size += picture.path.stat().st_size
        if part and (len(part) == MOST_FILES or size > MOST_BYTES):
            yield part
            part, size = [], picture.path.stat().st_size
        part.append(picture)
    if part:
        yield part


class Client:
    """One service, one output folder."""

    def __init__(self, server: str, output: Path, fields: Mapping[str, str]) -> None:
        self._http = httpx2.Client(base_url=server, timeout=REQUEST_SECONDS)
        self._output = output
        self._fields = dict(fields)

    def run(self, number: int, pictures: Sequence[Picture], progress: Progress) -> dict[str, str]:
        """One batch to its end; the reasons of those that failed, by name. Raises `Refused`."""
        title = f"batch {number}"
        missing = [picture for picture in pictures if not self._is_done(picture)]
        progress(title, len(pictures) - len(missing), len(pictures))
        if not missing:
            return {}
        job_id = self._batch(pictures)
        failed: dict[str, str] = {}
        seen: set[int] = set()
        while True:
            batch = self._get(f"/jobs/{job_id}")
            for position, child in enumerate(batch["children"]):
                if position in seen or child["status"] in ("queued", "running"):
                    continue
                seen.add(position)
                if child["status"] == "succeeded":
                    self._fetch(pictures[position], child["job_id"])
                else:
                    failed[pictures[position].name] = (child["error"] or {"detail": "It was canceled."})["detail"]
                progress(title, len(seen), len(pictures))
            if batch["status"] not in ("queued", "running"):
                return failed
            time.sleep(LOOK_SECONDS)

    def _is_done(self, picture: Picture) -> bool:
        try:
            return bool(json.loads((self._output / picture.name / DONE).read_text())["digest"] == picture.digest)
        except (OSError, ValueError, KeyError):
            return False

    def _batch(self, pictures: Sequence[Picture]) -> str:
        """The job's id: of the one that was begun before, if the service still has it."""
        key = hashlib.sha256("".join(picture.digest for picture in pictures).encode()).hexdigest()
        note = self._output / BATCHES / key
        if note.exists():
            known = note.read_text()
            if self._http.get(f"/jobs/{known}/status").status_code == httpx2.codes.OK:
                return known
        job_id = self._submit(pictures, key)
        note.parent.mkdir(parents=True, exist_ok=True)
        _write(note, job_id.encode())
        return job_id

    def _submit(self, pictures: Sequence[Picture], key: str) -> str:
        while True:
            with ExitStack() as stack:
                opened = [stack.enter_context(picture.path.open("rb")) for picture in pictures]
                files = [("images", (picture.name, file)) for picture, file in zip(pictures, opened, strict=True)]
                answer = self._http.post(
                    "/segment/batch", files=files, data=self._fields, headers={"Idempotency-Key": key}
                )
            if answer.status_code not in (429, 503):
                return str(_content(answer)["job_id"])
            time.sleep(float(answer.headers.get("Retry-After", "5")))

    def _fetch(self, picture: Picture, job_id: str) -> None:
        """All files of a result, into a folder that appears whole."""
        home = self._output / picture.name
        draft = home.with_name(f".{home.name}.part")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        for name in self._get(f"/jobs/{job_id}")["files"]:
            answer = self._http.get(f"/jobs/{job_id}/files/{name}")
            if answer.is_error:
                raise Refused(f"{picture.name}: {name} could not be fetched ({answer.status_code}).")
            (draft / name).write_bytes(answer.content)
        (draft / DONE).write_text(json.dumps({"digest": picture.digest, "job_id": job_id}))
        shutil.rmtree(home, ignore_errors=True)
        draft.rename(home)

    def _get(self, path: str) -> dict[str, Any]:
        return _content(self._http.get(path))


def _content(answer: httpx2.Response) -> dict[str, Any]:
    try:
        body: dict[str, Any] = answer.json()
    except ValueError as exc:
        raise Refused(f"{answer.url} is no Image Quarry: it answered {answer.status_code}.") from exc
    if answer.is_error:
        raise Refused(body.get("detail", f"The server answered {answer.status_code}."))
    return body


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.replace(path)


def _digest(path: Path, asked: bytes) -> str:
    found = hashlib.sha256(asked)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()
