"""How alike two sets of masks are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from orchestrator.domain.masks import Mask

ENOUGH = 0.98
"""IoU from which two masks count as the same."""


@dataclass(frozen=True)
class Agreement:
    """`found`: share of the official masks that have one here; `right`: the reverse."""

    official: int
    ours: int
    found: float
    right: float


def compare(official: Sequence[dict[str, Any]], ours: Sequence[Mask]) -> Agreement:
    """Official records with compressed RLEs against ours."""
    if not official or not ours:
        same = 1.0 if len(official) == len(ours) else 0.0
        return Agreement(len(official), len(ours), same, same)
    ious = _ious(official, ours)
    found, right = (float((ious.max(axis=axis) >= ENOUGH).mean()) for axis in (1, 0))
    return Agreement(len(official), len(ours), found, right)


def pairs(official: Sequence[dict[str, Any]], ours: Sequence[Mask]) -> Iterator[tuple[dict[str, Any], Mask]]:
    """Each official record with the mask here that is the same and was asked for by the same point, if there is one."""
    ious = _ious(official, ours)
    for record, row in zip(official, ious, strict=True):
        point = [float(place) for place in record["point_coords"][0]]
        for mask, iou in zip(ours, row, strict=True):
            if iou >= ENOUGH and np.allclose(mask.point_coords[0], point) and _close(mask, record):
                yield record, mask
                break


def _close(mask: Mask, record: dict[str, Any]) -> bool:
    """Candidates of one point may be nearly the same mask: the predicted IoU tells them apart."""
    return abs(mask.predicted_iou - float(record["predicted_iou"])) < 1e-3


def _ious(official: Sequence[dict[str, Any]], ours: Sequence[Mask]) -> NDArray[np.float64]:
    theirs = [record["segmentation"] for record in official]
    here = [{"size": list(mask.segmentation.size), "counts": mask.segmentation.counts} for mask in ours]
    return np.asarray(coco.iou(theirs, here, [0] * len(here)), np.float64)
