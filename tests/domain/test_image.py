import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image as Pillow

from orchestrator.domain.errors import InvalidPicture, PictureTooLarge, QuarryError, UnsupportedPicture
from orchestrator.domain.image import Limits, decode
from tests.pictures import Pixels, draw, encoded, saved

LIMITS = Limits()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "1"])
def test_every_mode_becomes_8_bit_rgb_as_pillow_converts_it(mode: str) -> None:
    picture = Pillow.fromarray(draw(40, 60)).convert(mode)
    data = saved(picture, "TIFF")
    assert np.array_equal(decode(data, LIMITS).pixels, np.asarray(picture.convert("RGB")))


def test_alpha_is_dropped_and_not_blended() -> None:
    pixels = np.dstack([draw(8, 8), np.zeros((8, 8), np.uint8)])
    assert np.array_equal(decode(encoded(pixels), LIMITS).pixels, pixels[:, :, :3])


def test_16_bit_grey_becomes_8_bit_by_its_high_byte() -> None:
    grey = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    for kind in ("PNG", "TIFF"):
        found = decode(encoded(grey, kind), LIMITS).pixels  # type: ignore[arg-type]
        assert np.array_equal(found, np.repeat((grey >> 8).astype(np.uint8)[:, :, None], 3, axis=2))


def test_16_bit_rgb_png_becomes_8_bit_by_its_high_byte() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    found = decode(_png16(values), LIMITS).pixels
    assert np.array_equal(found, (values >> 8).astype(np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_picture_is_turned_upright_by_its_exif_orientation(orientation: int) -> None:
    upright = draw(30, 50)
    undo_each: dict[int, Callable[[Pixels], Pixels]] = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: p.transpose(1, 0, 2)[::-1],
        7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
        8: lambda p: p.transpose(1, 0, 2)[:, ::-1],
    }
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(undo_each[orientation](upright))
    assert np.array_equal(decode(encoded(stored, "PNG", exif=exif), LIMITS).pixels, upright)


@pytest.mark.parametrize("exif", [b"II*\x00", b"Exif\x00\x00II*\x00\xff\xff\xff\xff", b"nonsense"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_metadata_that_cannot_be_read_turns_nothing(kind: str, exif: bytes) -> None:
    assert decode(encoded(draw(20, 30), kind, exif=exif), LIMITS).width == 30


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_all_supported_formats_are_read(kind: str) -> None:
    image = decode(encoded(draw(33, 44), kind), LIMITS)
    assert (image.height, image.width) == (33, 44)


def test_a_format_that_is_not_listed_is_refused() -> None:
    with pytest.raises(UnsupportedPicture, match="jpeg"):
        decode(encoded(draw(8, 8), "GIF"), LIMITS)


@pytest.mark.parametrize("data", [b"hello", b"<svg/>", b"%PDF-1.7", b"\x00" * 1000])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(UnsupportedPicture):
        decode(data, LIMITS)


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(InvalidPicture, match="empty"):
        decode(b"", LIMITS)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_a_truncated_picture_is_refused(kind: str) -> None:
    data = encoded(draw(200, 300), kind)
    with pytest.raises(QuarryError, match=r"decoded|header|supported"):
        decode(data[: len(data) // 2], LIMITS)


def test_any_cut_through_a_file_gives_a_picture_or_an_error_of_ours() -> None:
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        data = encoded(draw(20, 30), kind)
        for cut in range(0, len(data), 7):
            try:
                decode(data[:cut], LIMITS)
            except QuarryError:
                continue


def test_a_bomb_of_100_megapixels_is_refused_by_its_header() -> None:
    with pytest.raises(PictureTooLarge, match="10000×10000"):
        decode(_png_header_only(10_000, 10_000), LIMITS)


def test_too_many_bytes_are_refused() -> None:
    with pytest.raises(PictureTooLarge, match="bytes"):
        decode(encoded(draw(50, 50)), Limits(max_bytes=100))


def test_floating_point_pictures_are_refused() -> None:
    floats = Pillow.fromarray(np.zeros((4, 4), np.float32))
    with pytest.raises(UnsupportedPicture, match="floating"):
        decode(saved(floats, "TIFF"), LIMITS)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png_header_only(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = zlib.compress(b"\x00" * 1000)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _png16(values: np.ndarray[tuple[int, int, int], np.dtype[np.uint16]]) -> bytes:
    """A 16-bit RGB PNG, which Pillow reads but does not write."""
    height, width, _ = values.shape
    rows = io.BytesIO()
    for row in values.astype(">u2"):
        rows.write(b"\x00" + row.tobytes())
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows.getvalue())) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
