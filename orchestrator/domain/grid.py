"""The automatic generator's parameters, point grids and crops, as `SamAutomaticMaskGenerator` has them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.errors import InvalidPrompt
from orchestrator.domain.geometry import Size

Points = NDArray[np.float64]
CropBox = tuple[int, int, int, int]  # x0, y0, x1, y1

MOST_POINTS = 65_536
MOST_PROMPTS = 500_000
_MOST_PIXELS = 1e9
_RANGES: dict[str, tuple[float, float]] = {
    "points_per_side": (1, 256),
    "points_per_batch": (1, MOST_POINTS),
    "pred_iou_thresh": (-1, 2),
    "stability_score_thresh": (-1, 2),
    "stability_score_offset": (0, 1e6),
    "box_nms_thresh": (0, 1),
    "crop_n_layers": (0, 4),
    "crop_nms_thresh": (0, 1),
    "crop_overlap_ratio": (0, 0.99),
    "crop_n_points_downscale_factor": (1, 256),
    "min_mask_region_area": (0, _MOST_PIXELS),
    "fill_holes_area": (0, _MOST_PIXELS),
    "remove_islands_area": (0, _MOST_PIXELS),
    "max_area": (0, _MOST_PIXELS),
    "max_masks": (1, _MOST_PIXELS),
}


@dataclass(frozen=True)
class Options:
    """Every parameter of the official generator by its own name, and what its users asked for since.

    `point_grids`: per crop layer, points [n, 2] in [0, 1], in place of `points_per_side`. `points`: (x, y) in pixels of
    the picture, in place of any grid; they are asked in the whole picture only. `roi`: bool [H, W]; only masks whose
    area lies in it by half or more are kept, and only points in it are asked. `min_mask_region_area` removes islands
    and fills holes smaller than that; `fill_holes_area` and `remove_islands_area` say it for each on its own.
    `max_area`: pixels; `max_masks`: the best by predicted IoU.
    """

    points_per_side: int | None = 64
    points_per_batch: int | None = None
    pred_iou_thresh: float = 0.90
    stability_score_thresh: float = 0.92
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    point_grids: Sequence[Points] | None = None
    min_mask_region_area: int = 1000
    fill_holes_area: int | None = None
    remove_islands_area: int | None = None
    points: Points | None = None
    roi: NDArray[np.bool_] | None = field(default=None, repr=False)
    max_area: int | None = None
    max_masks: int | None = None

    def __post_init__(self) -> None:
        _check(self)

    @property
    def holes(self) -> int:
        return self.min_mask_region_area if self.fill_holes_area is None else self.fill_holes_area

    @property
    def islands(self) -> int:
        return self.min_mask_region_area if self.remove_islands_area is None else self.remove_islands_area

    def layer_points(self, layer: int, crop: CropBox) -> Points:
        """Points to ask in a crop of a layer, (x, y) in pixels of the crop."""
        x0, y0, x1, y1 = crop
        if self.points is not None:
            asked = self.points if layer == 0 else np.zeros((0, 2))
        else:
            asked = self._grid(layer) * (x1 - x0, y1 - y0)
        if self.roi is None:
            return asked
        columns = np.clip((asked[:, 0] + x0).astype(int), 0, self.roi.shape[1] - 1)
        rows = np.clip((asked[:, 1] + y0).astype(int), 0, self.roi.shape[0] - 1)
        inside: Points = asked[self.roi[rows, columns]]
        return inside

    def must_be_few_enough(self, layers: Sequence[Sequence[CropBox]]) -> None:
        """Raises `InvalidPrompt` if all crops together have more points than anybody can wait for."""
        if self.points is None:
            total = sum(len(crops) * len(self._grid(layer)) for layer, crops in enumerate(layers))
            if total > MOST_PROMPTS:
                raise InvalidPrompt(
                    f"These are {total:,} points in all crops together; at most {MOST_PROMPTS:,} are accepted. "
                    f"Lower points_per_side or crop_n_layers, or raise crop_n_points_downscale_factor."
                )

    def _grid(self, layer: int) -> Points:
        if self.point_grids is not None:
            return self.point_grids[layer]
        per_side = self.points_per_side or 0
        return point_grid(int(per_side / self.crop_n_points_downscale_factor**layer))


def rows(points: Sequence[Sequence[float]]) -> Points:
    """Points as given by a caller, [n, 2]. Raises `InvalidPrompt`."""
    if any(len(point) != 2 for point in points):
        raise InvalidPrompt("A point has 2 numbers.")
    return np.array(points, np.float64).reshape(-1, 2)


def point_grid(per_side: int) -> Points:
    """n² points evenly spaced in [0, 1]², row by row: the official `build_point_grid`."""
    if per_side < 1:
        return np.zeros((0, 2))
    offset = 1 / (2 * per_side)
    line = np.linspace(offset, 1 - offset, per_side)
    x, y = np.meshgrid(line, line)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def crop_layers(size: Size, layers: int, overlap_ratio: float) -> list[list[CropBox]]:
    """Crops by layer; layer 0 is the whole picture, layer i has (2^i)² crops: the official `generate_crop_boxes`."""
    height, width = size
    found: list[list[CropBox]] = [[(0, 0, width, height)]]
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(overlap_ratio * min(size) * (2 / count))
        wide, high = (math.ceil((overlap * (count - 1) + length) / count) for length in (width, height))
        starts = product(((wide - overlap) * i for i in range(count)), ((high - overlap) * i for i in range(count)))
        crops = [(x0, y0, min(x0 + wide, width), min(y0 + high, height)) for x0, y0 in starts]
        # On pictures of a few pixels the last crops would be empty (the official code fails there).
        found.append([(x0, y0, x1, y1) for x0, y0, x1, y1 in crops if x0 < x1 and y0 < y1])
    return found


def _check(options: Options) -> None:
    """Raises `InvalidPrompt` for what makes no sense."""
    if (options.points_per_side is None) == (options.point_grids is None) and options.points is None:
        raise InvalidPrompt("Give exactly one of points_per_side and point_grids.")
    for name, (least, most) in _RANGES.items():
        value = getattr(options, name)
        # Written so that NaN fails too.
        if value is not None and not least <= value <= most:
            raise InvalidPrompt(f"{name} lies between {least:g} and {most:g}.")
    if options.point_grids is not None:
        _check_grids(options.point_grids, options.crop_n_layers)
    if options.points is not None and not 1 <= len(options.points) <= MOST_POINTS:
        raise InvalidPrompt(f"points has between 1 and {MOST_POINTS:,} points.")


def _check_grids(grids: Sequence[Points], layers: int) -> None:
    if len(grids) < layers + 1:
        raise InvalidPrompt(f"point_grids needs a grid for each of the {layers + 1} crop layers.")
    for grid in grids:
        if not 1 <= len(grid) <= MOST_POINTS:
            raise InvalidPrompt(f"A point grid has between 1 and {MOST_POINTS:,} points [x, y].")
        if not ((grid >= 0) & (grid <= 1)).all():
            raise InvalidPrompt("A point grid's coordinates lie in [0, 1].")
