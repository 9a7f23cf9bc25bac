"""The official checkpoints, fetched once: resumed where a download broke off, checked, and kept in the cache."""

import contextlib
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from export.checkpoint import sha256
from export.errors import ExportError

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 60
_DIGEST_IN_NAME = re.compile(r"_([0-9a-f]{6,64})\.pth$")

Progress = Callable[[int, int | None], None]
"""Called with bytes so far and, where the server says, bytes in all."""


def fetch(url: str, cache: Path, progress: Progress) -> Path:
    """The checkpoint of `url` in `cache`, downloaded if it is not there yet.

    The official files carry the first digits of their sha256 in their name; a file whose digest differs is removed.
    Raises `ExportError`; what was received before a failure is kept as `<name>.part` and resumed.
    """
    if not url.startswith(("https://", "http://")):
        raise ExportError(f"{url!r} is no web address; see SAM_MODEL_URLS.")
    name = url.rsplit("/", 1)[-1]
    target = cache / name
    if target.is_file():
        return target
    part = cache / f"{name}.part"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _receive(url, part, progress)
    except (OSError, urllib.error.URLError) as exc:
        raise ExportError(
            f"{url} could not be downloaded ({exc}). Run the command again to go on from where it stopped, "
            f"or fetch the file yourself and give it with --checkpoint."
        ) from exc
    expected = _DIGEST_IN_NAME.search(name)
    if expected and not sha256(part).startswith(expected[1]):
        part.unlink()
        raise ExportError(f"What {url} sent has another sha256 than its name says; it was thrown away.")
    part.replace(target)
    return target


def _receive(url: str, part: Path, progress: Progress) -> None:
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})  # noqa: S310 - http(s) only
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)  # noqa: S310
    except urllib.error.HTTPError as exc:
        if exc.code == 416 and done:
            return  # nothing is missing
        raise
    with contextlib.closing(response), part.open("ab" if response.status == 206 else "wb") as file:
        if response.status != 206:
            done = 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        while chunk := response.read(_CHUNK):
            file.write(chunk)
            done += len(chunk)
            progress(done, total)
        file.flush()
        os.fsync(file.fileno())
    if total is not None and done < total:
        raise OSError(f"the connection ended after {done:,} of {total:,} bytes")
