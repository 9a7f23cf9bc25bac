"""A COCO dataset document, as pycocotools loads it."""

from collections.abc import Sequence
from typing import Any

from orchestrator.domain.geometry import Size
from orchestrator.domain.masks import Mask

CATEGORY = {"id": 1, "name": "object", "supercategory": "object"}
"""SAM knows no classes."""


def document(pictures: Sequence[tuple[str, Size, Sequence[Mask]]]) -> dict[str, Any]:
    """Pictures as (file name, size, masks) in one document; masks are compressed RLEs with their predicted IoU."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, (name, (height, width), found) in enumerate(pictures, 1):
        images.append({"id": image_id, "file_name": name, "height": height, "width": width})
        for mask in found:
            annotations.append(_annotation(len(annotations) + 1, image_id, mask))
    return {"images": images, "annotations": annotations, "categories": [CATEGORY]}


def _annotation(annotation_id: int, image_id: int, mask: Mask) -> dict[str, Any]:
    x, y, wide, high = mask.bbox
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": CATEGORY["id"],
        "segmentation": {"size": list(mask.segmentation.size), "counts": mask.segmentation.counts},
        # Pixels covered, as pycocotools' toBbox; the record's own box has max - min.
        "bbox": [x, y, wide + 1, high + 1] if mask.area else [0, 0, 0, 0],
        "area": mask.area,
        "iscrowd": 0,
        "predicted_iou": mask.predicted_iou,
        "stability_score": mask.stability_score,
    }
