"""Which form an answer takes: `output=`, `Accept`, or both where they agree."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, TypeVar

from fastapi import Depends, Form, Header
from starlette.exceptions import HTTPException

JSON, NDJSON = "application/json", "application/x-ndjson"
PNG, ZIP, NPZ = "image/png", "application/zip", "application/x-npz"


class Output(StrEnum):
    rle = "rle"
    polygon = "polygon"
    coco = "coco"
    label_map = "label_map"
    overlay = "overlay"
    png = "png"
    rgba = "rgba"
    npz = "npz"
    ndjson = "ndjson"


class ObjectsOutput(StrEnum):
    links = "links"
    zip = "zip"
    png = "png"


MEDIA: Mapping[Output, str] = {
    Output.rle: JSON,
    Output.polygon: JSON,
    Output.coco: JSON,
    Output.overlay: PNG,
    Output.label_map: PNG,
    Output.png: ZIP,
    Output.rgba: ZIP,
    Output.npz: NPZ,
    Output.ndjson: NDJSON,
}
"""The first form of a media type is what `Accept` alone asks for."""

OBJECTS_MEDIA: Mapping[ObjectsOutput, str] = {
    ObjectsOutput.links: JSON,
    ObjectsOutput.zip: ZIP,
    ObjectsOutput.png: PNG,
}


@dataclass(frozen=True)
class Chosen:
    """`tolerance`: of polygons, pixels."""

    output: Output
    tolerance: float | None


FormKind = TypeVar("FormKind", Output, ObjectsOutput)
Accept = Annotated[str, Header(include_in_schema=False)]

_OUTPUT = Form(
    description="`rle`, `polygon`, `coco`: JSON. `label_map`, `overlay`: a PNG. `png`, `rgba`: a ZIP of masks, or of "
    "cut-outs. `npz`: arrays. `ndjson`: lines, while the work goes on. `Accept` does the same by media type."
)
_OBJECTS_OUTPUT = Form(
    description="`links`: JSON with an address for each picture. `zip`: all of them. `png`: the one object there is."
)
_TOLERANCE = Form(
    ge=0, le=1000, description="Pixels that a polygon may stray from its mask's edge; 0 keeps each corner."
)


async def chosen(
    output: Annotated[Output | None, _OUTPUT] = None,
    tolerance: Annotated[float | None, _TOLERANCE] = None,
    accept: Accept = "",
) -> Chosen:
    return Chosen(choose(output, accept, MEDIA), tolerance)


async def chosen_of_objects(
    output: Annotated[ObjectsOutput | None, _OBJECTS_OUTPUT] = None, accept: Accept = ""
) -> ObjectsOutput:
    return choose(output, accept, OBJECTS_MEDIA)


def choose(output: FormKind | None, accept: str, media: Mapping[FormKind, str]) -> FormKind:
    """`output`, if `Accept` takes it; without it what `Accept` likes best, the first form at equal liking. Else 406."""
    ranges = _ranges(accept)
    liked = {form: _quality(kind, ranges) for form, kind in media.items() if output in (None, form)}
    best = max(liked, key=lambda form: liked[form])
    if liked[best] > 0:
        return best
    if output is not None:
        raise HTTPException(406, f"output={output} is {media[output]}, which Accept: {accept} leaves out")
    raise HTTPException(406, f"None of {', '.join(dict.fromkeys(media.values()))} is in Accept: {accept}")


def _ranges(accept: str) -> dict[str, float]:
    """Media ranges of the header and how much each is liked; everything without a header."""
    found: dict[str, float] = {}
    for part in accept.split(","):
        name, *parameters = (text.strip().lower() for text in part.split(";"))
        if name:
            found[name] = 1.0
            for parameter in parameters:
                if parameter.startswith("q="):
                    found[name] = _number(parameter[2:])
    return found or {"*/*": 1.0}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _quality(kind: str, ranges: Mapping[str, float]) -> float:
    """The most specific range counts."""
    for name in (kind, f"{kind.split('/', maxsplit=1)[0]}/*", "*/*"):
        if name in ranges:
            return ranges[name]
    return 0.0


GivenForm = Annotated[Chosen, Depends(chosen)]
GivenObjectsForm = Annotated[ObjectsOutput, Depends(chosen_of_objects)]
