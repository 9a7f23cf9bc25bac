import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageCms

from orchestrator.domain.errors import InvalidPicture, PictureTooLarge, QuarryError, UnsupportedPicture
from orchestrator.domain.image import Image, Limits, decode, glance
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


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes().replace(b"RGB XYZ", b"GRAYXYZ")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_glance_knows_size_and_content_without_decoding(kind: str) -> None:
    for orientation in (1, 3, 6):
        exif = Pillow.Exif()
        exif[0x0112] = orientation
        data = encoded(draw(30, 50), kind, exif=exif)
        seen, read = glance(data, LIMITS), decode(data, LIMITS)
        assert (seen.height, seen.width, seen.content) == (read.height, read.width, read.content)
        assert np.array_equal(seen.pixels, read.pixels)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_truncated_picture_is_refused_when_its_pixels_are_needed(kind: str) -> None:
    data = encoded(draw(200, 300), kind)

    def look() -> None:
        _ = glance(data[: len(data) // 2], LIMITS).pixels

    with pytest.raises(QuarryError, match=r"decoded|header|supported"):
        look()


def test_pixels_without_a_file_name_their_content() -> None:
    pixels = draw(8, 9)
    assert Image(pixels).content == Image(pixels.copy()).content
    assert Image(pixels).content != Image(draw(8, 9, seed=1)).content
    assert Image(np.zeros((8, 9, 3), np.uint8)).content != Image(np.zeros((9, 8, 3), np.uint8)).content


def test_an_rgb_profile_stays_and_the_pixels_with_it() -> None:
    image = decode(encoded(draw(8, 9), "PNG", icc_profile=SRGB), LIMITS)
    assert image.profile == SRGB
    assert np.array_equal(image.pixels, draw(8, 9))
    assert decode(encoded(draw(8, 9)), LIMITS).profile is None


def test_a_profile_that_does_not_fit_the_pixels_is_dropped() -> None:
    grey = Pillow.fromarray(draw(8, 9)).convert("L")
    for profile in (SRGB, GREY, b"no profile" * 20):
        image = decode(saved(grey, "PNG", icc_profile=profile), LIMITS)
        assert image.profile is None
        assert np.array_equal(image.pixels[:, :, 0], np.asarray(grey))


def test_other_spaces_are_converted_to_srgb_by_their_profile() -> None:
    lab = ImageCms.createProfile("LAB")
    assert ImageCms.ImageCmsProfile(lab).tobytes()[16:20] == b"Lab "
    grey = Pillow.new("L", (4, 4), 128)
    linear = grey_profile(gamma=1.0)
    image = decode(saved(grey, "PNG", icc_profile=linear), LIMITS)
    assert image.profile is None
    assert abs(int(image.pixels[0, 0, 0]) - 188) <= 2  # half of linear light is 188 in sRGB


def grey_profile(gamma: float) -> bytes:
    """A grey ICC profile (version 2) with a tone curve of one gamma and the D50 white."""
    white = struct.pack(">iii", round(0.9642 * 65536), 65536, round(0.8249 * 65536))
    tags = {
        b"wtpt": b"XYZ \x00\x00\x00\x00" + white,
        b"kTRC": b"curv\x00\x00\x00\x00" + struct.pack(">IH", 1, round(gamma * 256)) + b"\x00\x00",
        b"desc": b"desc\x00\x00\x00\x00" + struct.pack(">I", 5) + b"grey\x00" + b"\x00" * 79,
        b"cprt": b"text\x00\x00\x00\x00none\x00\x00\x00\x00",
    }
    table, body, offset = b"", b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        padded = data + b"\x00" * (-len(data) % 4)
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += padded
    size = offset + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"none", 0x02100000, b"mntr", b"GRAY", b"XYZ ")
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + b"\x00" * 28 + white + b"\x00" * 48
    return header + struct.pack(">I", len(tags)) + table + body
