"""Result files, so that browsers and caches need to fetch each once. Once published they never change."""

import hashlib
from functools import lru_cache
from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

from orchestrator.api.inputs import OWNER

SECONDS = 7 * 24 * 3600
MOST_DIGITS = 18
"""Of a range's end: more is no place in a file, and Python refuses to read some thousands."""


def respond(request: Request, path: Path, owner: str) -> Response:
    """The file under its own name; a range of it, or 304, where the caller asks so. Raises 416."""
    found = path.stat()
    # What belongs to somebody is for that one's own cache alone.
    scope = "public" if owner == OWNER else "private"
    tag = f'"{digest(path, found.st_mtime_ns, found.st_size)}"'
    headers = {"ETag": tag, "Cache-Control": f"{scope}, max-age={SECONDS}, immutable"}
    if _matches(request.headers.get("If-None-Match", ""), tag):
        return Response(status_code=304, headers=headers)
    if not _satisfiable(request.headers.get("Range", ""), found.st_size):
        request.scope["headers"] = [pair for pair in request.scope["headers"] if pair[0] != b"range"]
    return FileResponse(path, headers=headers, filename=path.name, stat_result=found, content_disposition_type="inline")


@lru_cache(maxsize=4096)
def digest(path: Path, _changed_ns: int, _size: int) -> str:
    """Of the content, so that the tag is a strong one and the same on all replicas."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _matches(header: str, tag: str) -> bool:
    return any(part.strip().removeprefix("W/") in (tag, "*") for part in header.split(","))


def _satisfiable(header: str, size: int) -> bool:
    """Whether it asks for ranges; what is no range at all is left out of account, as HTTP has it. Raises 416."""
    unit, _, spans = header.partition("=")
    pairs = [span.strip().partition("-")[::2] for span in spans.split(",")]
    if unit.strip().lower() != "bytes" or not all(_is_span(*pair) for pair in pairs):
        return False
    if any(start and int(start) >= size for start, _ in pairs):
        raise HTTPException(416, f"The file has {size:,} bytes", {"Content-Range": f"bytes */{size}"})
    return True


def _is_span(start: str, end: str) -> bool:
    digits = all(edge.isascii() and edge.isdigit() and len(edge) <= MOST_DIGITS for edge in (start, end) if edge)
    return digits and bool(start or end) and not (start and end and int(start) > int(end))
