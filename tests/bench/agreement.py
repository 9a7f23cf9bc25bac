"""How alike two sets of masks are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
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
    theirs = [record["segmentation"] for record in official]
    here = [{"size": list(mask.segmentation.size), "counts": mask.segmentation.counts} for mask in ours]
    if not theirs or not here:
        same = 1.0 if len(theirs) == len(here) else 0.0
        return Agreement(len(theirs), len(here), same, same)
    ious = np.asarray(coco.iou(theirs, here, [0] * len(here)))
    found, right = (float((ious.max(axis=axis) >= ENOUGH).mean()) for axis in (1, 0))
    return Agreement(len(theirs), len(here), found, right)
