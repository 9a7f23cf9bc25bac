"""What a request brings: the picture, the model, the caller, and lists as JSON in a form's field."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any, TypeVar

from fastapi import Depends, File, Form, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from orchestrator.api.patience import Patience
from orchestrator.bootstrap import Services
from orchestrator.domain import image as images
from orchestrator.domain.errors import InvalidPicture, InvalidPrompt
from orchestrator.domain.image import Image
from orchestrator.domain.task import AutoFields, BoxFields
from orchestrator.usecases.stopwatch import Deadline, StoppedWatch, Stopwatch

OWNER = "anonymous"
"""Whose images they are while the service asks nobody for a key."""


async def services(request: Request) -> Services:
    """Asynchronous, so that routes which answer at once wait for no thread."""
    found: Services = request.app.state.services
    return found


Wired = Annotated[Services, Depends(services)]
Upload = Annotated[UploadFile | None, File(description="The picture, as a file.")]
ImageId = Annotated[str | None, Form(description="In place of `image`: the id that `POST /images` answered.")]
ModelName = Annotated[str | None, Form(description="`tiny`, `vit_b`, `vit_l` or `vit_h`; DEFAULT_MODEL without it.")]


@dataclass(frozen=True)
class Picture:
    """The picture of a request, decoded when its pixels are needed.

    `id` if it came by one; `name` for documents that name files; `watch` has run since its bytes were at hand.
    """

    image: Image
    id: str | None
    name: str
    watch: Stopwatch
    deadline: Deadline

    @staticmethod
    def of_job(image: Image, image_id: str | None, name: str, timings_ms: Mapping[str, Any]) -> "Picture":
        """Of a result that was made before, in `timings_ms`."""
        return Picture(image, image_id, name, StoppedWatch(timings_ms), Deadline(math.inf, 0.0))


def picture(request: Request, services: Wired, image: Upload = None, image_id: ImageId = None) -> Picture:
    """Raises what `image.decode` raises, and `NotFound`."""
    if (image is None) == (image_id is None):
        raise InvalidPicture("Give either a picture (image) or the id of one (image_id).")
    watch = Stopwatch()
    with watch.stage("read"):
        deadline = Patience(services.settings.request_timeout_seconds, request)
        if image_id is not None:
            return Picture(services.images.open(image_id, OWNER), image_id, image_id, watch, deadline)
        name = PurePath(image.filename or "image").name if image else ""
        return Picture(images.glance(read(image, services), services.limits), None, name, watch, deadline)


def read(upload: UploadFile | None, services: Services) -> bytes:
    """At most one byte more than is allowed: enough for `decode` to refuse it."""
    if upload is None:
        raise InvalidPicture("The picture (image) is missing.")
    return upload.file.read(services.limits.max_bytes + 1)


GivenPicture = Annotated[Picture, Depends(picture)]

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
_ROWS: TypeAdapter[list[list[float]]] = TypeAdapter(list[list[float]])
_NUMBERS = TypeAdapter(list[float])
_LABELS = TypeAdapter(list[int])
_GRIDS = TypeAdapter(list[list[list[float]]])
_AUTO = AutoFields()


class RleField(TypedDict):
    """COCO's run-length encoding in a form's field, packed or as plain runs."""

    size: tuple[int, int]
    counts: str | list[int]


_ROI: TypeAdapter[list[float] | RleField] = TypeAdapter(list[float] | RleField)


@dataclass(frozen=True)
class PointPrompt:
    points: list[list[float]]
    labels: list[int] | None
    box: list[float] | None


def point_prompt(points: PointsText = None, labels: LabelsText = None, box: BoxText = None) -> PointPrompt:
    """Raises `RequestValidationError`."""
    return PointPrompt(
        parse(_ROWS, points, "points") or [],
        parse(_LABELS, labels, "labels"),
        parse(_NUMBERS, box, "box"),
    )


async def box_fields(boxes: BoxesText = None, box: BoxText = None) -> BoxFields:
    """Raises `RequestValidationError`, and `InvalidPrompt` for a `box`, which would else be the whole picture."""
    if box is not None:
        raise InvalidPrompt("This route takes a list of boxes: boxes=[[x0,y0,x1,y1],…].")
    return BoxFields(box_rows(boxes))


def box_rows(boxes: str | None) -> list[list[float]]:
    """Raises `RequestValidationError`."""
    rows: list[list[float]] | None = parse(_ROWS, boxes, "boxes")
    return rows or []


async def auto_fields(
    points_per_side: Annotated[int | None, Form(description="Points along one side of the grid.")] = None,
    points_per_batch: Annotated[int | None, Form(description="At most so many points at once.")] = None,
    pred_iou_thresh: Annotated[float, Form(description="Least predicted IoU.")] = _AUTO.pred_iou_thresh,
    stability_score_thresh: Annotated[float, Form(description="Least stability.")] = _AUTO.stability_score_thresh,
    stability_score_offset: Annotated[float, Form()] = _AUTO.stability_score_offset,
    box_nms_thresh: Annotated[float, Form()] = _AUTO.box_nms_thresh,
    crop_n_layers: Annotated[int, Form(description="Layers of crops beside the whole picture.")] = 0,
    crop_nms_thresh: Annotated[float, Form()] = _AUTO.crop_nms_thresh,
    crop_overlap_ratio: Annotated[float, Form()] = _AUTO.crop_overlap_ratio,
    crop_n_points_downscale_factor: Annotated[int, Form()] = 1,
    point_grids: Annotated[str | None, Form(description="Per layer, points [[x,y],…] in [0,1], as JSON.")] = None,
    min_mask_region_area: Annotated[int, Form(description="Smaller holes and islands go, in pixels.")] = 1000,
    fill_holes_area: Annotated[int | None, Form(description="The same, for holes alone.")] = None,
    remove_islands_area: Annotated[int | None, Form(description="The same, for islands alone.")] = None,
    points: Annotated[str | None, Form(description="Points of your own [[x,y],…] in pixels, as JSON.")] = None,
    roi: Annotated[
        str | None,
        Form(description="Region to stay inside, as JSON: a box [x0,y0,x1,y1], or an RLE with size and counts."),
    ] = None,
    max_area: Annotated[int | None, Form(description="Largest area of a mask, in pixels.")] = None,
    max_masks: Annotated[int | None, Form(description="The best so many, by predicted IoU.")] = None,
) -> AutoFields:
    """The official generator's parameters, by its own names. Raises `RequestValidationError`."""
    return AutoFields(
        points_per_side=points_per_side,
        points_per_batch=points_per_batch,
        pred_iou_thresh=pred_iou_thresh,
        stability_score_thresh=stability_score_thresh,
        stability_score_offset=stability_score_offset,
        box_nms_thresh=box_nms_thresh,
        crop_n_layers=crop_n_layers,
        crop_nms_thresh=crop_nms_thresh,
        crop_overlap_ratio=crop_overlap_ratio,
        crop_n_points_downscale_factor=crop_n_points_downscale_factor,
        point_grids=parse(_GRIDS, point_grids, "point_grids"),
        min_mask_region_area=min_mask_region_area,
        fill_holes_area=fill_holes_area,
        remove_islands_area=remove_islands_area,
        points=parse(_ROWS, points, "points"),
        roi=parse(_ROI, roi, "roi"),
        max_area=max_area,
        max_masks=max_masks,
    )


def parse(adapter: TypeAdapter[Parsed], text: str | None, field: str) -> Parsed | None:
    """A form's field as JSON; None if it is not there. Raises `RequestValidationError`."""
    if text is None or not text.strip():
        return None
    try:
        return adapter.validate_json(text)
    except ValidationError as exc:
        problems = [dict(error) | {"loc": ("body", field, *error["loc"])} for error in exc.errors()]
        raise RequestValidationError(problems) from exc


GivenPoints = Annotated[PointPrompt, Depends(point_prompt)]
GivenAuto = Annotated[AutoFields, Depends(auto_fields)]
GivenBoxes = Annotated[BoxFields, Depends(box_fields)]
