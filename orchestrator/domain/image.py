"""Bytes → an upright RGB picture."""

import io
import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, ImageFile, UnidentifiedImageError
from PIL import Image as Pillow

from orchestrator.domain.errors import InvalidPicture, PictureTooLarge, UnsupportedPicture

# Pillow's names of the formats by the names people write.
_PILLOW_FORMATS = {
    "jpeg": "JPEG", "jpg": "JPEG", "png": "PNG", "webp": "WEBP", "bmp": "BMP", "tiff": "TIFF", "tif": "TIFF",
    "gif": "GIF", "ppm": "PPM",
}  # fmt: skip
_TURNS = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}
"""EXIF orientation → what turns the picture upright."""

_SIDEWAYS = {5, 6, 7, 8}

_SIXTEEN_BIT = {"I;16", "I;16L", "I;16B", "I;16N", "I"}

# The limit on pixels is checked here, from the header, before anything is decoded.
Pillow.MAX_IMAGE_PIXELS = None
ImageFile.LOAD_TRUNCATED_IMAGES = False


@dataclass(frozen=True)
class Limits:
    """What is accepted: `max_bytes` of a file, `max_dimension` pixels of either side, formats by file ending."""

    max_bytes: int = 50 * 2**20
    max_dimension: int = 4096
    formats: tuple[str, ...] = ("jpeg", "jpg", "png", "webp", "bmp", "tiff")


@dataclass(frozen=True)
class Image:
    """An upright picture: `pixels` uint8 [H, W, 3], RGB."""

    pixels: NDArray[np.uint8]

    @cached_property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @cached_property
    def width(self) -> int:
        return int(self.pixels.shape[1])


def decode(data: bytes, limits: Limits) -> Image:
    """Decode, turn upright by EXIF, and convert to 8-bit RGB: 16 bits by their high byte, alpha dropped.

    Raises `PictureTooLarge`, `UnsupportedPicture`, `InvalidPicture`.
    """
    picture = _open(data, limits)
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata in pictures that it then reads; the pixels are what counts.
            warnings.simplefilter("ignore")
            picture.load()
            return Image(_to_rgb(_upright(picture)))
    except UnsupportedPicture:
        raise
    except Exception as exc:  # Pillow's decoders raise whatever they stumble over, struct.error among it
        raise InvalidPicture(f"The picture could not be decoded: {exc}. Is the file whole?") from exc


def inspect(data: bytes, limits: Limits) -> tuple[int, int]:
    """Height and width of the upright picture, by its header alone: whether it is whole shows when it is decoded.

    Raises `PictureTooLarge`, `UnsupportedPicture`, `InvalidPicture`.
    """
    picture = _open(data, limits)
    width, height = picture.size
    return (width, height) if _orientation(picture) in _SIDEWAYS else (height, width)


def _open(data: bytes, limits: Limits) -> Pillow.Image:
    if not data:
        raise InvalidPicture("The picture is empty (0 bytes).")
    if len(data) > limits.max_bytes:
        raise PictureTooLarge(f"The picture has {len(data):,} bytes; at most {limits.max_bytes:,} are accepted.")
    picture = _header(data, limits)
    width, height = picture.size
    if max(width, height) > limits.max_dimension:
        raise PictureTooLarge(
            f"The picture is {width}×{height} pixels; neither side may be longer than "
            f"{limits.max_dimension}. Scale it down and send it again."
        )
    return picture


def _header(data: bytes, limits: Limits) -> Pillow.Image:
    names = sorted({_PILLOW_FORMATS[name] for name in map(str.lower, limits.formats) if name in _PILLOW_FORMATS})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Pillow.open(io.BytesIO(data), formats=names)
    except UnidentifiedImageError as exc:
        raise UnsupportedPicture(f"This is not a picture of a supported format ({', '.join(limits.formats)}).") from exc
    except Exception as exc:  # as above
        raise InvalidPicture(f"The picture's header could not be read: {exc}.") from exc


def _upright(picture: Pillow.Image) -> Pillow.Image:
    """Turned by the EXIF orientation; metadata that cannot be read turns nothing."""
    turn = _TURNS.get(_orientation(picture))
    return picture if turn is None else picture.transpose(turn)


def _orientation(picture: Pillow.Image) -> int:
    try:
        return int(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - as above
        return 1


def _to_rgb(picture: Pillow.Image) -> NDArray[np.uint8]:
    if picture.mode in _SIXTEEN_BIT:
        grey = np.asarray(picture)
        if grey.min() < 0 or grey.max() > 0xFFFF:
            raise UnsupportedPicture("The picture has more than 16 bits a channel; 8 or 16 are accepted.")
        eight = (grey.astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(eight[:, :, None], 3, axis=2)
    if picture.mode == "F":
        raise UnsupportedPicture("The picture holds floating-point values; 8 or 16 bits are accepted.")
    if picture.mode in ("RGBa", "La"):
        # Premultiplied alpha: undo it before the alpha is dropped.
        picture = picture.convert("RGBA" if picture.mode == "RGBa" else "LA")
    return np.ascontiguousarray(np.asarray(picture.convert("RGB")))
