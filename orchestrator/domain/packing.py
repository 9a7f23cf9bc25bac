"""Many files in one."""

import io
import zipfile
from collections.abc import Iterable, Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain import rle
from orchestrator.domain.geometry import Size
from orchestrator.domain.masks import Mask

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The same content gives the same bytes."""


def zipped(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Files (name, bytes), which are compressed already, as a ZIP."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files:
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)
    return packed.getvalue()


def npz(masks: Sequence[Mask], size: Size) -> bytes:
    """What `numpy.load` reads without pickle: `masks` bool [N, H, W], and of each mask `bbox` and `crop_box` [N, 4],
    `area`, `predicted_iou`, `stability_score` [N].

    Masks are written one by one: their whole array is never in memory here.
    """
    columns: dict[str, NDArray[Any]] = {
        "bbox": np.array([mask.bbox for mask in masks], np.int32).reshape(-1, 4),
        "area": np.array([mask.area for mask in masks], np.int64),
        "predicted_iou": np.array([mask.predicted_iou for mask in masks], np.float32),
        "stability_score": np.array([mask.stability_score for mask in masks], np.float32),
        "crop_box": np.array([mask.crop_box for mask in masks], np.int32).reshape(-1, 4),
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with _entry(archive, "masks") as file:
            header = {"descr": "|b1", "fortran_order": False, "shape": (len(masks), *size)}
            np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
            for mask in masks:
                file.write(rle.decode(mask.segmentation).tobytes())
        for name, values in columns.items():
            with _entry(archive, name) as file:
                np.lib.format.write_array(file, values, allow_pickle=False)  # type: ignore[no-untyped-call]
    return packed.getvalue()


def _entry(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    info = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    return archive.open(info, "w", force_zip64=True)
