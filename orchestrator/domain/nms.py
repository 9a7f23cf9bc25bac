"""Non-maximum suppression of boxes, as torchvision's `nms` decides."""

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


def keep(boxes: Float32, scores: NDArray[np.float32], threshold: float) -> NDArray[np.int64]:
    """Indices that survive, best first. `boxes` [n, 4] as x0, y0, x1, y1; equal scores keep their order.

    A box goes if its IoU with a better one that stays is above `threshold`. Areas are (x1 − x0)·(y1 − y0) in float32,
    so that flat boxes have none and are never suppressed.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = boxes[order].astype(np.float32)
    x0, y0, x1, y1 = ranked.T
    areas = (x1 - x0) * (y1 - y0)
    alive = np.ones(len(ranked), np.bool_)
    zero = np.float32(0)
    for index in range(len(ranked)):
        if not alive[index]:
            continue
        rest = slice(index + 1, None)
        wide = np.minimum(x1[index], x1[rest]) - np.maximum(x0[index], x0[rest])
        high = np.minimum(y1[index], y1[rest]) - np.maximum(y0[index], y0[rest])
        shared = np.maximum(wide, zero) * np.maximum(high, zero)
        with np.errstate(divide="ignore", invalid="ignore"):
            ious = shared / (areas[index] + areas[rest] - shared)
        # Compared in double precision, as torchvision does: in single, the threshold itself would be rounded.
        alive[rest] &= ~(ious.astype(np.float64) > threshold)
    return order[alive]
