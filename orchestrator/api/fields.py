"""Refuses what a route does not take: a misspelt name would else silently be a default."""

from collections.abc import Iterator
from difflib import get_close_matches

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError


async def known(request: Request) -> None:
    """A dependency of routes that take forms. Raises `RequestValidationError`."""
    dependants = list(_all(request.scope["route"].dependant))
    fields = {field.alias for dependant in dependants for field in dependant.body_params}
    queries = {field.alias for dependant in dependants for field in dependant.query_params}
    given = set(await request.form()) if fields else set()
    problems = [{"loc": ("body", name), "msg": _advice(name, fields)} for name in sorted(given - fields)]
    for name in sorted(set(request.query_params) - queries):
        advice = "belongs into the form" if name in fields else _advice(name, queries)
        problems.append({"loc": ("query", name), "msg": advice})
    if problems:
        raise RequestValidationError(problems)


def _all(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for part in dependant.dependencies:
        yield from _all(part)


def _advice(name: str, known: set[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"there is no such field here, perhaps {close[0]}" if close else "there is no such field here"
