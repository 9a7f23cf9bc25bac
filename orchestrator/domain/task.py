"""What a caller asks for, as plain data: what a request parses and a job's row keeps.

`fields` are an operation's own, by the names that callers know, in JSON's types. Whether they make sense shows on a
picture of some size: each form below says so, and turns them into what the use cases take.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from numpy import array, bool_, int64
from numpy.typing import NDArray

from orchestrator.domain import grid, prompts, rle
from orchestrator.domain.cutout import CutoutOptions
from orchestrator.domain.errors import InvalidPrompt
from orchestrator.domain.geometry import Size
from orchestrator.domain.grid import Options
from orchestrator.domain.job import Kind
from orchestrator.domain.prompts import Prompts
from orchestrator.domain.rle import Rle

_AUTO = Options()


@dataclass(frozen=True)
class Task:
    """An operation on one picture, its fields, the model's name and the form of the answer.

    `tolerance`: of polygons, pixels.
    """

    operation: Kind
    fields: Mapping[str, Any]
    model: str
    output: str = "rle"
    tolerance: float | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(given: Mapping[str, Any]) -> "Task":
        """Of what `as_json` gave; whatever else stands there is left out."""
        known = {one.name: given[one.name] for one in fields(Task) if one.name in given}
        return Task(**(known | {"operation": Kind(given["operation"])}))

    def check(self, size: Size) -> None:
        """Raises `InvalidPrompt` for fields that make no sense on a picture of `size`."""
        if self.operation is Kind.box:
            BoxFields(**self.fields).prompts(size)
        elif self.operation is Kind.auto:
            AutoFields(**self.fields).options(size)
        elif self.operation is Kind.extract:
            ExtractFields(**self.fields).check(size)


@dataclass(frozen=True)
class BoxFields:
    """Boxes [x0, y0, x1, y1]; none: the whole picture."""

    boxes: Sequence[Sequence[float]] = ()

    def prompts(self, size: Size) -> Prompts:
        """Raises `InvalidPrompt`."""
        return prompts.from_boxes(self.boxes, size) if self.boxes else prompts.whole_picture(size)


@dataclass(frozen=True)
class AutoFields:
    """`grid.Options` as callers write it: `roi` a box [x0, y0, x1, y1] or {"size": [h, w], "counts": …}."""

    points_per_side: int | None = None
    points_per_batch: int | None = None
    pred_iou_thresh: float = _AUTO.pred_iou_thresh
    stability_score_thresh: float = _AUTO.stability_score_thresh
    stability_score_offset: float = _AUTO.stability_score_offset
    box_nms_thresh: float = _AUTO.box_nms_thresh
    crop_n_layers: int = _AUTO.crop_n_layers
    crop_nms_thresh: float = _AUTO.crop_nms_thresh
    crop_overlap_ratio: float = _AUTO.crop_overlap_ratio
    crop_n_points_downscale_factor: int = _AUTO.crop_n_points_downscale_factor
    point_grids: Sequence[Sequence[Sequence[float]]] | None = None
    min_mask_region_area: int = _AUTO.min_mask_region_area
    fill_holes_area: int | None = None
    remove_islands_area: int | None = None
    points: Sequence[Sequence[float]] | None = None
    roi: Sequence[float] | Mapping[str, Any] | None = None
    max_area: int | None = None
    max_masks: int | None = None

    def options(self, size: Size) -> Options:
        """Raises `InvalidPrompt`, also for more points than anybody can wait for."""
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        grids, own = self.point_grids, self.points
        if self.points_per_side is None and grids is None:
            given["points_per_side"] = _AUTO.points_per_side
        given["point_grids"] = None if grids is None else [grid.rows(one) for one in grids]
        given["points"] = None if own is None else prompts.own_points(own, size)
        given["roi"] = None if self.roi is None else _region(self.roi, size)
        options = Options(**given)
        options.must_be_few_enough(grid.crop_layers(size, options.crop_n_layers, options.crop_overlap_ratio))
        return options


@dataclass(frozen=True)
class ExtractFields:
    """Prompts as for one object (`points`, `labels`, `box`) or for many (`boxes`); without any, all that a grid finds.

    `automatic`: fields of `AutoFields`, for the grid; `cutout`: those of `CutoutOptions`.
    """

    points: Sequence[Sequence[float]] = ()
    labels: Sequence[int] | None = None
    box: Sequence[float] | None = None
    boxes: Sequence[Sequence[float]] = ()
    automatic: Mapping[str, Any] = field(default_factory=dict)
    cutout: Mapping[str, Any] = field(default_factory=dict)

    def asked(self, size: Size) -> Prompts | Options:
        """Raises `InvalidPrompt`."""
        if self.boxes and (self.points or self.box is not None):
            raise InvalidPrompt("Give boxes, for an object each, or points with at most one box, for one object.")
        if self.boxes:
            return prompts.from_boxes(self.boxes, size)
        if self.points or self.box is not None:
            return prompts.from_points(self.points, self.labels, self.box, size)
        return AutoFields(**self.automatic).options(size)

    def how(self) -> CutoutOptions:
        """Raises `InvalidPrompt`."""
        return CutoutOptions(**self.cutout)

    def check(self, size: Size) -> None:
        """Raises `InvalidPrompt`."""
        self.asked(size)
        self.how()


def _region(given: Sequence[float] | Mapping[str, Any], size: Size) -> NDArray[bool_]:
    """A region of interest, bool [H, W]."""
    if not isinstance(given, Mapping):
        return prompts.box_region(given, size)
    # Asked before anything of that size is made.
    if tuple(given["size"]) != size:
        raise InvalidPrompt(f"The region of interest is of {given['size']}, the picture of {size} (height, width).")
    counts = given["counts"]
    try:
        return rle.decode(Rle(size, counts if isinstance(counts, str) else rle.pack(array(counts, int64))))
    except (ValueError, OverflowError) as exc:
        raise InvalidPrompt(f"The region of interest is no run-length encoding: {exc}.") from exc
