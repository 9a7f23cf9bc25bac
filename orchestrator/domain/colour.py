"""What a file's numbers mean → 8-bit RGB.

A profile of an RGB space goes on with the pixels, which stay as they are: SAM has always seen them so. Pixels of any
other space are converted to sRGB, by their profile where there is one.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageCms

from orchestrator.domain.errors import UnsupportedPicture

_SIXTEEN_BIT = {"I;16", "I;16L", "I;16B", "I;16N", "I"}
_MOST_PROFILE_BYTES = 1 << 20  # PNG readers take no more
_SPACES = {b"CMYK": "CMYK", b"GRAY": "L"}
"""An ICC header's colour space → the mode of the pixels that it can convert."""


def to_rgb(picture: Pillow.Image, profile: bytes | None) -> tuple[NDArray[np.uint8], bytes | None]:
    """uint8 [H, W, 3], and the profile that still goes with it. Raises `UnsupportedPicture`."""
    if picture.mode in _SIXTEEN_BIT:
        return _high_byte(picture), None
    if picture.mode == "F":
        raise UnsupportedPicture("The picture holds floating-point values; 8 or 16 bits are accepted.")
    if picture.mode in ("RGBa", "La"):
        # Premultiplied alpha: undo it before the alpha is dropped.
        picture = picture.convert("RGBA" if picture.mode == "RGBa" else "LA")
    if picture.mode == "LA":
        picture = picture.convert("L")
    space = profile[16:20] if profile else b""
    if profile and _SPACES.get(space) == picture.mode:
        picture = _to_srgb(picture, profile)
    is_rgb = space == b"RGB " and picture.mode in ("RGB", "RGBA", "RGBX", "P")
    kept = profile if profile and is_rgb and len(profile) <= _MOST_PROFILE_BYTES else None
    return np.ascontiguousarray(np.asarray(picture.convert("RGB"))), kept


def _to_srgb(picture: Pillow.Image, profile: bytes) -> Pillow.Image:
    """As it was, if the profile turns out to be of no use."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        made = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture
    return made or picture


def _high_byte(picture: Pillow.Image) -> NDArray[np.uint8]:
    grey = np.asarray(picture)
    if grey.min() < 0 or grey.max() > 0xFFFF:
        raise UnsupportedPicture("The picture has more than 16 bits a channel; 8 or 16 are accepted.")
    eight = (grey.astype(np.uint16) >> 8).astype(np.uint8)
    return np.repeat(eight[:, :, None], 3, axis=2)
