"""What a request brings: the picture, the model, the caller, and lists as JSON in a form's field."""

from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, File, Form, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError

from orchestrator.bootstrap import Services
from orchestrator.domain import image as images
from orchestrator.domain.errors import InvalidPicture
from orchestrator.domain.image import Image
from orchestrator.usecases.stopwatch import Stopwatch

OWNER = "anonymous"
"""Whose images they are while the service asks nobody for a key."""


def services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


Wired = Annotated[Services, Depends(services)]
Upload = Annotated[UploadFile | None, File(description="The picture, as a file.")]
ImageId = Annotated[str | None, Form(description="In place of `image`: the id that `POST /images` answered.")]
ModelName = Annotated[str | None, Form(description="`tiny`, `vit_b`, `vit_l` or `vit_h`; DEFAULT_MODEL without it.")]


PointsText = Annotated[
    str | None,
    Form(description="Points [[x,y],…] in pixels of the upright picture, as JSON.", examples=["[[500,375]]"]),
]
LabelsText = Annotated[
    str | None,
    Form(description="One label a point, as JSON: 1 foreground, 0 background; all 1 without it.", examples=["[1]"]),
]
BoxText = Annotated[
    str | None,
    Form(description="One box [x0,y0,x1,y1], as JSON.", examples=["[700,560,1510,1200]"]),
]
BoxesText = Annotated[
    str | None,
    Form(
        description="Boxes [[x0,y0,x1,y1],…], as JSON; the whole picture without it.",
        examples=["[[700,560,1510,1200]]"],
    ),
]
Parsed = TypeVar("Parsed")
_ROWS = TypeAdapter(list[list[float]])
_NUMBERS = TypeAdapter(list[float])
_LABELS = TypeAdapter(list[int])


@dataclass(frozen=True)
class PointPrompt:
    points: list[list[float]]
    labels: list[int] | None
    box: list[float] | None


def point_prompt(points: PointsText = None, labels: LabelsText = None, box: BoxText = None) -> PointPrompt:
    """Raises `RequestValidationError`."""
    return PointPrompt(
        _parse(_ROWS, points, "points") or [],
        _parse(_LABELS, labels, "labels"),
        _parse(_NUMBERS, box, "box"),
    )


def box_list(boxes: BoxesText = None) -> list[list[float]]:
    """Raises `RequestValidationError`."""
    return _parse(_ROWS, boxes, "boxes") or []


def _parse(adapter: TypeAdapter[Parsed], text: str | None, field: str) -> Parsed | None:
    if text is None or not text.strip():
        return None
    try:
        return adapter.validate_json(text)
    except ValidationError as exc:
        problems = [dict(error) | {"loc": ("body", field, *error["loc"])} for error in exc.errors()]
        raise RequestValidationError(problems) from exc


@dataclass(frozen=True)
class Picture:
    """The decoded picture of a request. `id` if it came by one; `watch` has run since its bytes were at hand."""

    image: Image
    id: str | None
    watch: Stopwatch


def picture(services: Wired, image: Upload = None, image_id: ImageId = None) -> Picture:
    """Raises what `image.decode` raises, and `NotFound`."""
    if (image is None) == (image_id is None):
        raise InvalidPicture("Give either a picture (image) or the id of one (image_id).")
    watch = Stopwatch()
    with watch.stage("read"):
        data = services.images.read(image_id, OWNER) if image_id else read(image, services)
        return Picture(images.decode(data, services.limits), image_id, watch)


def read(upload: UploadFile | None, services: Services) -> bytes:
    """At most one byte more than is allowed: enough for `decode` to refuse it."""
    if upload is None:
        raise InvalidPicture("The picture (image) is missing.")
    return upload.file.read(services.limits.max_bytes + 1)


GivenPicture = Annotated[Picture, Depends(picture)]
GivenPoints = Annotated[PointPrompt, Depends(point_prompt)]
GivenBoxes = Annotated[list[list[float]], Depends(box_list)]
