"""Result files, so that browsers and caches need to fetch each once. Once published they never change."""

import hashlib
from functools import lru_cache
from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

from orchestrator.api.inputs import OWNER

SECONDS = 7 * 24 * 3600


def respond(request: Request, path: Path, owner: str) -> Response:
    """The file under its own name; a range of it, or 304, where the caller asks so. Raises 416."""
    found = path.stat()
    # What belongs to somebody is for that one's own cache alone.
    scope = "public" if owner == OWNER else "private"
    tag = f'"{digest(path, found.st_mtime_ns, found.st_size)}"'
    headers = {"ETag": tag, "Cache-Control": f"{scope}, max-age={SECONDS}, immutable"}
    if _matches(request.headers.get("If-None-Match", ""), tag):
        return Response(status_code=304, headers=headers)
    _must_be_satisfiable(request.headers.get("Range", ""), found.st_size)
    return FileResponse(path, headers=headers, filename=path.name, stat_result=found, content_disposition_type="inline")


@lru_cache(maxsize=4096)
def digest(path: Path, _changed_ns: int, _size: int) -> str:
    """Of the content, so that the tag is a strong one and the same on all replicas."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _matches(header: str, tag: str) -> bool:
    return any(part.strip().removeprefix("W/") in (tag, "*") for part in header.split(","))


def _must_be_satisfiable(header: str, size: int) -> None:
    """One range that begins behind the end; what is no range at all is left out of account, as HTTP has it."""
    unit, _, span = header.partition("=")
    start, _, _ = span.partition("-")
    if unit.strip().lower() == "bytes" and "," not in span and start.strip().isdigit() and int(start) >= size:
        raise HTTPException(416, f"The file has {size:,} bytes", {"Content-Range": f"bytes */{size}"})
