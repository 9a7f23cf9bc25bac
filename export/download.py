"""The official checkpoints, fetched once: resumed where a download broke off, checked, and kept in the cache."""

import contextlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from export.checkpoint import sha256
from export.errors import ExportError

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 60
SHA256 = {
    "sam_vit_b_01ec64.pth": "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    "sam_vit_l_0b3195.pth": "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    "sam_vit_h_4b8939.pth": "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
}
"""Of the official files. The digits in their names are of their MD5."""

Progress = Callable[[int, int | None], None]
"""Called with bytes so far and, where the server says, bytes in all."""


def fetch(url: str, cache: Path, progress: Progress, digests: Mapping[str, str] = SHA256) -> Path:
    """The checkpoint of `url` in `cache`, downloaded if it is not there yet.

    A file whose name is in `digests` must have that sha256, or it is thrown away; others are taken as they come. Raises
    `ExportError`; what was received before a failure is kept as `<name>.part` and resumed.
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
    if name in digests and sha256(part) != digests[name]:
        part.unlink()
        raise ExportError(f"What {url} sent has another sha256 than the official {name}; it was thrown away.")
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
