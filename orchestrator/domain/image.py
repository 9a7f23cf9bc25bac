"""Bytes → an upright RGB picture."""

import hashlib
import io
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, ImageFile, UnidentifiedImageError
from PIL import Image as Pillow

from orchestrator.domain import colour
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

# The limit on pixels is checked here, from the header, before anything is decoded.
Pillow.MAX_IMAGE_PIXELS = None
ImageFile.LOAD_TRUNCATED_IMAGES = False


@dataclass(frozen=True)
class Limits:
    """What is accepted: `max_bytes` of a file, `max_dimension` pixels of either side, formats by file ending."""

    max_bytes: int = 50 * 2**20
    max_dimension: int = 4096
    formats: tuple[str, ...] = ("jpeg", "jpg", "png", "webp", "bmp", "tiff")


class Image:
    """An upright picture of `height` × `width` pixels.

    `content` names what is in it, for caches: the digest of its file, or of its pixels where there was no file.
    """

    def __init__(self, pixels: NDArray[np.uint8], profile: bytes | None = None, content: str | None = None) -> None:
        self._loading = threading.Lock()
        self._load: Callable[[], Image] | None = None
        self._pixels, self._profile, self._content = pixels, profile, content
        self.height, self.width = int(pixels.shape[0]), int(pixels.shape[1])

    @classmethod
    def later(cls, size: tuple[int, int], content: str, load: "Callable[[], Image]") -> "Image":
        """One whose size (height, width) is known already; `load` decodes it when somebody asks for its pixels."""
        image = cls(np.empty((*size, 0), np.uint8), None, content)
        image._load = load
        return image

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """uint8 [H, W, 3], RGB. Raises what `load` raises."""
        self._decode()
        return self._pixels

    @property
    def profile(self) -> bytes | None:
        """The ICC profile that says what the pixels' colours mean; None: sRGB."""
        self._decode()
        return self._profile

    @cached_property
    def content(self) -> str:
        if self._content is None:
            shape = f"{self.height}×{self.width}:".encode()
            self._content = hashlib.sha256(shape + np.ascontiguousarray(self.pixels).tobytes()).hexdigest()
        return self._content

    def _decode(self) -> None:
        with self._loading:
            if self._load is not None:
                found = self._load()
                self._pixels, self._profile, self._load = found.pixels, found.profile, None


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
            profile = picture.info.get("icc_profile")
            turn = _TURNS.get(_orientation(picture))
            pixels, kept = colour.to_rgb(picture if turn is None else picture.transpose(turn), profile)
            return Image(pixels, kept, digest(data))
    except UnsupportedPicture:
        raise
    except Exception as exc:  # Pillow's decoders raise whatever they stumble over, struct.error among it
        raise InvalidPicture(f"The picture could not be decoded: {exc}. Is the file whole?") from exc


def glance(data: bytes, limits: Limits) -> Image:
    """The same, from the header alone: the rest is decoded, and may be refused, when its pixels are needed."""
    picture = _open(data, limits)
    width, height = picture.size
    # Pillow decodes a PNG to look behind its pixels for what may turn it; most have no such chunk at all.
    plain = picture.format == "PNG" and b"eXIf" not in data and b"iTXt" not in data
    # Of a TIFF it answers the upright size from the start.
    sideways = not plain and picture.format != "TIFF" and _orientation(picture) in _SIDEWAYS
    size = (width, height) if sideways else (height, width)
    return Image.later(size, digest(data), lambda: decode(data, limits))


def digest(data: bytes) -> str:
    """What names a file's content."""
    return hashlib.sha256(data).hexdigest()


def _open(data: bytes, limits: Limits) -> Pillow.Image:
    """What its header says is within the limits."""
    if not data:
        raise InvalidPicture("The picture is empty (0 bytes).")
    if len(data) > limits.max_bytes:
        raise PictureTooLarge(f"The picture has {len(data):,} bytes; at most {limits.max_bytes:,} are accepted.")
    picture = _read_header(data, limits)
    width, height = picture.size
    if max(width, height) > limits.max_dimension:
        raise PictureTooLarge(
            f"The picture is {width}×{height} pixels; neither side may be longer than "
            f"{limits.max_dimension}. Scale it down and send it again."
        )
    return picture


def _read_header(data: bytes, limits: Limits) -> Pillow.Image:
    names = sorted({_PILLOW_FORMATS[name] for name in map(str.lower, limits.formats) if name in _PILLOW_FORMATS})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Pillow.open(io.BytesIO(data), formats=names)
    except UnidentifiedImageError as exc:
        raise UnsupportedPicture(f"This is not a picture of a supported format ({', '.join(limits.formats)}).") from exc
    except Exception as exc:  # as above
        raise InvalidPicture(f"The picture's header could not be read: {exc}.") from exc


def _orientation(picture: Pillow.Image) -> int:
    """By EXIF; metadata that cannot be read turns nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return int(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - as above
        return 1
