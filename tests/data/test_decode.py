"""Decoding: every kind of pixel to the right 8-bit value, every broken file to a DataError."""

import csv
import io
import os
import struct
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from tao_lite.data.decode import decode, depth, from_picture, image_size
from tao_lite.errors import DataError

Pixel = float | tuple[int, ...]
REMEDY = "save as 8 or 16 bit, or set dataset_config.full_scale"

# EXIF 2.32, tag 0x0112, says where row 0 and column 0 of the stored pixels lie in the picture; read off from that
# for the picture [[1, 2, 3], [4, 5, 6]].
UPRIGHT = [[10, 20, 30], [40, 50, 60]]
STORED = {
    1: [[10, 20, 30], [40, 50, 60]],  # top, left
    2: [[30, 20, 10], [60, 50, 40]],  # top, right
    3: [[60, 50, 40], [30, 20, 10]],  # bottom, right
    4: [[40, 50, 60], [10, 20, 30]],  # bottom, left
    5: [[10, 40], [20, 50], [30, 60]],  # left, top
    6: [[30, 60], [20, 50], [10, 40]],  # right, top
    7: [[60, 30], [50, 20], [40, 10]],  # right, bottom
    8: [[40, 10], [50, 20], [60, 30]],  # left, bottom
}


def picture(mode: str, *pixels: Pixel) -> Image.Image:
    """An image of one row."""
    image = Image.new(mode, (len(pixels), 1))
    for x, pixel in enumerate(pixels):
        image.putpixel((x, 0), pixel)
    return image


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def noise(width: int = 96, height: int = 64) -> Image.Image:
    """An image that compresses badly, so that each byte of its file counts."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG file (ISO/IEC 15948)."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *, depth: int, kind: int, rows: bytes) -> bytes:
    """A PNG file with any header; `rows` with the filter bytes."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def row(path: Path, channels: int = 3) -> list[list[int]]:
    pixels: list[list[int]] = decode(path, channels)[0].tolist()
    return pixels


def problem(path: Path, read: Callable[[Path], object] = lambda path: decode(path, 3)) -> str:
    """What the DataError says behind the path."""
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


# 0.2 of a colour (alpha 51 of 255) on white is 0.2 * colour + 204.
@pytest.mark.parametrize(
    ("image", "options", "expected"),
    [
        (picture("1", 0, 255), {}, [[0, 0, 0], [255, 255, 255]]),
        (picture("L", 7), {}, [[7, 7, 7]]),
        (picture("RGB", (1, 2, 3)), {}, [[1, 2, 3]]),
        (picture("LA", (100, 0), (100, 51), (100, 255)), {}, [[255] * 3, [224] * 3, [100] * 3]),
        (picture("RGBA", (200, 100, 0, 51), (9, 9, 9, 255)), {}, [[244, 224, 204], [9, 9, 9]]),
        (picture("RGBA", (0, 0, 0, 0)), {}, [[255, 255, 255]]),
        (picture("RGB", (1, 2, 3), (4, 5, 6)), {"transparency": (4, 5, 6)}, [[1, 2, 3], [255, 255, 255]]),
        (picture("L", 7, 8), {"transparency": 8}, [[7, 7, 7], [255, 255, 255]]),
        # High bytes of 0, 255, 256, 0x8000 and 0xFFFF.
        (picture("I;16", 0, 255, 256, 32768, 65535), {}, [[v] * 3 for v in (0, 0, 1, 128, 255)]),
    ],
)
def test_png_of_each_mode_becomes_rgb(
    tmp_path: Path, image: Image.Image, options: dict[str, Any], expected: list[list[int]]
) -> None:
    assert row(saved(tmp_path / "image.png", image, **options)) == expected


def test_palette_colours_are_looked_up_and_their_transparency_is_laid_on_white(tmp_path: Path) -> None:
    image = picture("P", 0, 1, 2)
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    assert row(saved(tmp_path / "opaque.png", image)) == [[10, 20, 30], [40, 50, 60], [70, 80, 90]]
    # 0.2 * (10, 20, 30) + 204 = 206, 208, 210
    several = saved(tmp_path / "alphas.png", image, transparency=bytes([51, 255, 0]))
    assert row(several) == [[206, 208, 210], [40, 50, 60], [255, 255, 255]]
    one = saved(tmp_path / "key.gif", image, transparency=1)
    assert row(one) == [[10, 20, 30], [255, 255, 255], [70, 80, 90]]


def test_one_channel_is_luma_by_itu_601(tmp_path: Path) -> None:
    # 0.299 R + 0.587 G + 0.114 B, rounded: 59.8 + 58.7 + 5.7 = 124.2; a pure blue of 255: 29.07
    image = picture("RGB", (200, 100, 50), (0, 0, 255), (255, 255, 255))
    assert row(saved(tmp_path / "image.png", image), 1) == [[124], [29], [255]]
    # Black at alpha 51 on white is 204.
    assert row(saved(tmp_path / "alpha.png", picture("RGBA", (0, 0, 0, 51))), 1) == [[204]]
    assert row(saved(tmp_path / "deep.png", picture("I;16", 4096)), 1) == [[16]]


def test_cmyk_without_a_profile_is_ink_on_white(tmp_path: Path) -> None:
    # (255 - ink) * (255 - black) / 255: 204 * 204 / 255 = 163.2, 153 * 204 / 255 = 122.4, 255 * 204 / 255 = 204
    image = picture("CMYK", (51, 102, 0, 51))
    assert row(saved(tmp_path / "image.tif", image)) == [[163, 122, 204]]
    jpeg = saved(tmp_path / "image.jpg", image.resize((8, 8)), quality=100)  # Adobe's way: inverted
    np.testing.assert_allclose(decode(jpeg, 3)[0, 0], [163, 122, 204], atol=2)


def test_ycck_jpeg_is_understood(tmp_path: Path) -> None:
    # Pillow stores CMYK inverted: 200, 128, 128, 255. Declared as YCCK (Adobe transform 2), these are Y = 200 without
    # colour and black 255: RGB 200, that is CMY 55, which Adobe's inversion makes 200, with no black: RGB 55.
    path = saved(tmp_path / "image.jpg", Image.new("CMYK", (8, 8), (55, 127, 127, 0)), quality=100)
    content = bytearray(path.read_bytes())
    transform = content.index(b"Adobe") + 11
    assert content[transform] == 0
    content[transform] = 2
    np.testing.assert_allclose(decode(written(path, bytes(content)), 3)[0, 0], [55, 55, 55], atol=2)


def test_real_adobe_cmyk_jpeg_is_not_inverted(shared: Path) -> None:
    # Pillow's own test says of this file: red in the upper left corner, black in the lower right.
    pixels = decode(shared / "data/dirty/pillow/Tests/images/pil_sample_cmyk.jpg", 3)
    assert pixels[0, 0, 0] > 200
    assert pixels[0, 0, 1:].max() < 60
    assert pixels[-1, -1].max() < 30


def test_sixteen_bit_colour_keeps_its_high_bytes(tmp_path: Path) -> None:
    rows = b"\0" + struct.pack(">HHH", 0x12FF, 0xAB00, 0xFFFF)
    assert row(written(tmp_path / "image.png", png(1, 1, depth=16, kind=2, rows=rows))) == [[0x12, 0xAB, 0xFF]]


def test_deep_tiff_keeps_its_high_bits(tmp_path: Path) -> None:
    big_endian = Image.frombytes("I;16B", (2, 1), struct.pack(">HH", 0x12FF, 0xFF00))
    assert row(saved(tmp_path / "big.tif", big_endian), 1) == [[0x12], [0xFF]]
    # TIFF 6.0 by hand: 2 x 1 pixels of 12 bits, 0xABC and 0x0FF, packed; one strip at offset 8.
    tags = [(256, 2), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 3)]
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    body = b"II*\0" + struct.pack("<I", 12) + b"\xab\xc0\xff\0" + struct.pack("<H", len(tags)) + entries + bytes(4)
    assert row(written(tmp_path / "twelve.tif", body), 1) == [[0xAB], [0x0F]]


def test_pgm_counts_to_its_largest_value(tmp_path: Path) -> None:
    full = b"P5 2 1 65535\n" + struct.pack(">HH", 0x80FF, 0xFFFF)
    assert row(written(tmp_path / "full.ppm", full), 1) == [[128], [255]]
    # 250 / 1000 of 65535 is 16384 = 64 * 256
    part = b"P5 2 1 1000\n" + struct.pack(">HH", 250, 1000)
    assert row(written(tmp_path / "part.ppm", part), 1) == [[64], [255]]


def test_floating_point_counts_from_0_to_1(tmp_path: Path) -> None:
    assert row(saved(tmp_path / "image.tif", picture("F", 0.0, 0.5, 1.0)), 1) == [[0], [128], [255]]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (
            picture("F", 0.0, 291.5),
            f"can't be decoded: floating-point pixels from 0 to 291.5, must be 0 to 1; {REMEDY}",
        ),
        (
            picture("F", float("nan"), 1.0),
            f"can't be decoded: floating-point pixels from nan to nan, must be 0 to 1; {REMEDY}",
        ),
        (
            picture("I", 7, 70000),
            f"can't be decoded: 32-bit or signed pixels have no known full scale; {REMEDY}",
        ),
    ],
)
def test_pixels_without_a_known_full_scale_are_refused(tmp_path: Path, image: Image.Image, expected: str) -> None:
    assert problem(saved(tmp_path / "image.tif", image)) == expected


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.array(STORED[orientation], dtype=np.uint8)).convert("RGB")
    path = saved(tmp_path / f"image.{suffix}", stored, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    assert decode(path, 1)[..., 0].tolist() == UPRIGHT
    assert decode(path, 3)[..., 1].tolist() == UPRIGHT
    assert image_size(path) == (3, 2)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def late_chunks(orientation: int) -> dict[str, bytes]:
    """The ways to write an orientation into a PNG: its own chunk, ImageMagick's text, XMP."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    profile = f"\nexif\n{len(exif.tobytes()):8}\n{exif.tobytes().hex()}\n".encode()
    xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()
    return {
        "eXIf": chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")),
        "zTXt": chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile)),
        "iTXt": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
        "among others": chunk(b"tIME", bytes(7)) + chunk(b"eXIf", exif.tobytes()[6:]) + chunk(b"tEXt", b"a\0b"),
    }


@pytest.mark.parametrize("kind", late_chunks(1))
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_behind_the_pixels_of_a_png_is_applied(tmp_path: Path, orientation: int, kind: str) -> None:
    """FIELD.md E14: whether the pixels are in one chunk or in several."""
    stored = np.array(STORED[orientation], dtype=np.uint8)
    whole = encoded(Image.fromarray(stored), "PNG")
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in stored))
    parts = [chunk(b"IDAT", pixels[start : start + 4]) for start in range(0, len(pixels), 4)]
    head, end = whole[:33], whole[-12:]
    for name, content in (("one", whole[:-12]), ("several", head + b"".join(parts))):
        path = written(tmp_path / f"{name}.png", content + late_chunks(orientation)[kind] + end)
        assert decode(path, 3)[..., 1].tolist() == UPRIGHT
        assert decode(path, 1)[..., 0].tolist() == UPRIGHT
        assert image_size(path) == (3, 2)


def test_orientation_that_a_tiff_has_behind_its_pixels_is_applied(tmp_path: Path) -> None:
    """FIELD.md E14: a directory may stand anywhere in a TIFF; here it is behind the strip, by the TIFF 6.0 layout."""
    tags = [(256, 2), (257, 3), (258, 8), (259, 1), (262, 1), (273, 8), (274, 6), (277, 1), (278, 3), (279, 6)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    stored = np.array(STORED[6], dtype=np.uint8).tobytes()
    path = written(tmp_path / "image.tif", b"II*\0" + struct.pack("<I", 8 + 6) + stored + directory + bytes(4))
    assert decode(path, 1)[..., 0].tolist() == UPRIGHT
    assert image_size(path) == (3, 2)


def test_exif_orientation_of_other_modes_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.array(STORED[6], dtype=np.uint16) * 256
    path = saved(tmp_path / "deep.png", Image.fromarray(stored), exif=exif)
    assert decode(path, 1)[..., 0].tolist() == UPRIGHT


def test_real_photographs_in_four_orientations_show_the_same(shared: Path) -> None:
    folder = shared / "data/dirty/exif-orientation"
    photographs = [decode(folder / f"Landscape_{orientation}.jpg", 1).astype(int) for orientation in (3, 5, 6, 8)]
    for photograph in photographs:
        assert photograph.shape == (1200, 1800, 1)
        # The files were compressed separately. Turned the wrong way they differ by 70 and more.
        assert np.abs(photograph - photographs[0]).mean() < 4


def test_unknown_orientation_and_broken_exif_leave_the_picture_as_it_is(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 9
    image = picture("RGB", (1, 2, 3), (4, 5, 6))
    assert row(saved(tmp_path / "nine.png", image, exif=exif)) == [[1, 2, 3], [4, 5, 6]]
    assert row(saved(tmp_path / "broken.png", image, exif=b"Exif\0\0MM")) == [[1, 2, 3], [4, 5, 6]]
    assert image_size(tmp_path / "broken.png") == (2, 1)


def test_first_frame_of_an_animation_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    for suffix, options in (("gif", {}), ("webp", {"lossless": True}), ("png", {}), ("tif", {})):
        path = saved(tmp_path / f"image.{suffix}", frames[0], save_all=True, append_images=frames[1:], **options)
        assert decode(path, 3).shape == (2, 2, 3)
        assert row(path) == [[255, 0, 0]] * 2


def test_content_counts_not_the_suffix(tmp_path: Path, shared: Path) -> None:
    path = saved(tmp_path / "image.jpg", picture("RGB", (1, 2, 3)), format="PNG")
    assert row(path) == [[1, 2, 3]]
    frame = next((shared / "data/kitti_jpeg_named_png/training/image_2").glob("*.png"))
    assert decode(frame, 3).shape == (*image_size(frame)[::-1], 3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "I;16"])
def test_an_opened_picture_becomes_what_its_file_does(tmp_path: Path, mode: str, channels: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    image = noise().convert("L").convert(mode) if mode == "I;16" else noise().convert(mode)
    path = saved(tmp_path / "a.png", image, exif=exif)
    with Image.open(path) as opened:
        assert np.array_equal(from_picture(opened, channels, "a"), decode(path, channels))


def test_a_picture_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", noise())
    path.write_bytes(path.read_bytes()[:500])
    with (
        Image.open(path) as opened,
        pytest.raises(DataError, match=r"^images\[3\]: can't be decoded: image file is trunc"),
    ):
        from_picture(opened, 3, "images[3]")


@pytest.mark.parametrize("channels", [1, 3])
def test_array_is_contiguous_and_writable(tmp_path: Path, channels: int) -> None:
    pixels = decode(saved(tmp_path / "image.png", noise()), channels)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (64, 96, channels)
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("BMP", {}),
        ("PPM", {}),
        ("GIF", {}),
        ("WEBP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
    ],
)
def test_cut_off_file_is_an_error(tmp_path: Path, form: str, options: dict[str, Any], share: float) -> None:
    buffer = io.BytesIO()
    noise().save(buffer, form, **options)
    content = buffer.getvalue()
    path = tmp_path / "image"
    assert decode(written(path, content), 3).shape == (64, 96, 3)
    assert problem(written(path, content[: int(len(content) * share)]))


def test_jpeg_whose_end_was_never_written_is_an_error(tmp_path: Path) -> None:
    path = saved(tmp_path / "image.jpg", noise())
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) // 2))
    assert problem(path) == "can't be decoded: image file is truncated (no end-of-image marker)"
    # Zeros and other things behind the end are harmless.
    assert np.array_equal(
        decode(written(path, content + b"trailer" + bytes(500)), 3), decode(written(path, content), 3)
    )


def test_first_picture_of_a_stereo_file_must_be_whole(tmp_path: Path) -> None:
    path = saved(tmp_path / "image.jpg", noise(), format="MPO", save_all=True, append_images=[noise()])
    content = path.read_bytes()
    assert decode(path, 3).shape == (64, 96, 3)
    path.write_bytes(content[: len(content) // 4] + bytes(len(content)))
    assert problem(path) == "can't be decoded: image file is truncated (no end-of-image marker)"


def test_size_comes_from_the_header_only(tmp_path: Path) -> None:
    path = saved(tmp_path / "image.png", Image.new("L", (6000, 6000)))
    start = time.perf_counter()
    assert image_size(path) == (6000, 6000)
    middle = time.perf_counter()
    decode(path, 1)
    assert middle - start < (time.perf_counter() - middle) / 4  # measured: 1 / 500


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "PPM", "GIF", "WEBP", "TIFF"])
def test_flipped_bits_give_an_image_or_an_error(tmp_path: Path, form: str) -> None:
    buffer = io.BytesIO()
    noise(24, 16).save(buffer, form)
    random = np.random.default_rng(1)
    outcomes: Counter[str] = Counter()
    for _ in range(150):
        content = bytearray(buffer.getvalue())
        # Half of the flips in the header, where the parsers are.
        reach = len(content) if random.random() < 0.5 else min(len(content), 64)
        content[random.integers(reach)] ^= 1 << random.integers(8)
        path = written(tmp_path / "image", bytes(content))
        try:
            outcomes["image"] += decode(path, 3).ndim == 3
        except DataError as error:
            outcomes["error"] += str(error).startswith(f"{path}: ")
    assert outcomes.total() == 150


@pytest.mark.parametrize("side", [12000, 24495, 65535])
def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path: Path, side: int) -> None:
    """FIELD.md D8: Pillow's own words from 179 million pixels on are of an attack."""
    path = written(tmp_path / "large.png", png(side, side, depth=8, kind=0, rows=b""))
    expected = f"can't be decoded: {side} x {side} pixels, at most 134,217,728 are read; scale it down"
    assert problem(path) == expected
    assert problem(path, image_size) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty"),
        (bytes(5000), "the file holds zeros only"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "a Git LFS pointer, not the image; fetch it with: git lfs pull",
        ),
        (b"\n<!DOCTYPE html><title>404</title>", "an HTML page, not an image; download it again"),
        (b"<HTML><body>", "an HTML page, not an image; download it again"),
        (b"hello", "not a JPEG, PNG, BMP, PPM, GIF, TIFF or WebP image, or damaged in its first bytes"),
        # EPS would be run by Ghostscript.
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n",
            "not a JPEG, PNG, BMP, PPM, GIF, TIFF or WebP image, or damaged in its first bytes",
        ),
    ],
)
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes, expected: str) -> None:
    path = written(tmp_path / "image.jpg", content)
    assert problem(path) == expected
    assert problem(path, image_size) == expected


@pytest.mark.timeout(20)
def test_what_is_no_file_is_named_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to("nowhere")
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    assert problem(tmp_path / "pipe.jpg") == "is a named pipe, not a regular file"
    assert problem(tmp_path) == "is a folder, not a regular file"
    assert problem(Path("/dev/zero")) == "is a device, not a regular file"
    assert problem(tmp_path / "link.jpg") == "no such file; check the path"
    assert problem(tmp_path / "circle.jpg") == "no such file (Too many levels of symbolic links)"


def test_a_file_larger_than_any_picture_is_refused_unread(tmp_path: Path) -> None:
    """FIELD.md B3."""
    path = saved(tmp_path / "a.jpg", noise())
    os.truncate(path, 2**31 + 1)
    assert problem(path) == "has 2,147,483,649 bytes, more than the 2,147,483,648 that a picture can have"


def test_each_difficult_file_decodes_if_pillow_can_and_else_is_an_error(shared: Path) -> None:
    folder = shared / "data/dirty"
    with (folder / "MANIFEST.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    outcomes: Counter[tuple[bool, bool]] = Counter()
    for entry in rows:
        path = folder / entry["path"]
        # ICO and JPEG 2000 are not among the formats that data sets are made of.
        expected = entry["load"] == "ok" and entry["fmt"] not in {"ICO", "JPEG2000"}
        try:
            pixels = decode(path, 3)
            decoded = True
            assert image_size(path) == (pixels.shape[1], pixels.shape[0])
        except DataError:
            decoded = False
        assert decoded == expected, path
        outcomes[entry["load"] == "ok", decoded] += 1
    # Counted in the manifest: 196 of 221 load with Pillow, of which one is ICO and one JPEG 2000.
    assert outcomes == {(True, True): 194, (True, False): 2, (False, False): 25}


def test_pillow_warns_nobody_even_from_several_threads(shared: Path) -> None:
    folder = shared / "data/dirty"
    noisy = [
        folder / "pillow/Tests/images/hopper_bad_exif.jpg",
        folder / "pillow/Tests/images/sugarshack_bad_mpo_header.jpg",
        folder / "small/tiff.tif",
    ]
    with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor(8) as pool:
        warnings.simplefilter("always")
        shapes = list(pool.map(lambda path: decode(path, 3).shape, noisy * 16))
    assert caught == []
    assert shapes[:3] == [(500, 500, 3), (480, 640, 3), (1, 1, 3)]


def outcome(path: Path) -> tuple[tuple[int, ...], bytes] | str:
    try:
        pixels = decode(path, 3)
    except DataError as error:
        return str(error)
    assert pixels.flags.writeable
    assert pixels.flags.c_contiguous
    return pixels.shape, pixels.tobytes()


def same_without_simplejpeg(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> int:
    """The number of JPEGs among the files, each of which has the same outcome with Pillow alone."""
    pytest.importorskip("simplejpeg")
    jpegs = [path for path in paths if path.is_file() and path.read_bytes()[:3] == b"\xff\xd8\xff"]
    outcomes = [outcome(path) for path in jpegs]
    monkeypatch.setattr("tao_lite.data.decode.simplejpeg", None)
    for path, expected in zip(jpegs, outcomes, strict=True):
        assert outcome(path) == expected, path
    return len(jpegs)


def test_the_faster_jpeg_decoder_gives_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: list[dict[str, Any]] = [
        {"subsampling": subsampling, "progressive": progressive, "quality": quality}
        for subsampling in (0, 1, 2)
        for progressive in (False, True)
        for quality in (20, 95)
    ]
    paths = [saved(tmp_path / f"{index}.jpg", noise(61, 47), **kind) for index, kind in enumerate(kinds)]
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        paths.append(saved(tmp_path / f"turned{orientation}.jpg", noise(61, 47), exif=exif))
    paths += [saved(tmp_path / f"{mode}.jpg", noise().convert(mode)) for mode in ("L", "CMYK")]
    paths.append(saved(tmp_path / "rgb.jpg", noise(), keep_rgb=True))
    whole = paths[0].read_bytes()
    for index, content in enumerate((whole[:900], whole[:-2], whole[:900] + bytes(500), whole + b"trailer", whole * 2)):
        paths.append(written(tmp_path / f"damaged{index}.jpg", content))
    random = np.random.default_rng(2)
    for index in range(100):
        flipped = bytearray(whole)
        flipped[random.integers(len(whole))] ^= 1 << random.integers(8)
        paths.append(written(tmp_path / f"flipped{index}.jpg", bytes(flipped)))
    assert same_without_simplejpeg(paths, monkeypatch) >= len(paths) - 1


def test_the_faster_jpeg_decoder_gives_the_same_for_difficult_files(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert same_without_simplejpeg(sorted((shared / "data/dirty").rglob("*")), monkeypatch) > 10


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["grey", "colour"])
def test_full_scale_is_white_whatever_the_file_could_hold(tmp_path: Path, bits: int, kind: str) -> None:
    """FIELD.md E1: the high 8 of so many bits, as they are taken of 16; what is beyond is white."""
    values = np.random.default_rng(bits).integers(
        0, 2**bits, (3, 5, 3) if kind == "colour" else (3, 5), dtype=np.uint16
    )
    values.flat[0] = 2**bits - 1
    rows = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    path = written(tmp_path / "deep.png", png(5, 3, depth=16, kind=2 if kind == "colour" else 0, rows=rows))
    expected = (values >> (bits - 8)).astype(np.uint8)
    if kind == "grey":
        expected = np.repeat(expected[..., None], 3, axis=2)
    assert np.array_equal(decode(path, 3, full_scale=2**bits - 1), expected)
    beyond = decode(path, 3, full_scale=300)[values > 300]
    assert (beyond == 255).all()
    found = depth(path)
    assert found is not None
    assert found == (values.min(), 2**bits - 1, 65535)


def test_full_scale_makes_other_deep_pixels_readable(tmp_path: Path) -> None:
    """FIELD.md E1: whole numbers of 32 bits, and floating point beyond 1; below 0 is black."""
    # 256 / 4096 levels for each step of whole numbers, 255 / 200 rounded for others.
    whole = saved(tmp_path / "whole.tif", Image.fromarray(np.array([[-5, 0, 2048, 4095, 9999]], np.int32)))
    assert decode(whole, 1, full_scale=4095)[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    real = saved(tmp_path / "real.tif", Image.fromarray(np.array([[-1, 0, 100, 200, 291.5]], np.float32)))
    assert decode(real, 1, full_scale=200)[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    bad = saved(tmp_path / "nan.tif", Image.fromarray(np.array([[0, np.nan]], np.float32)))
    assert problem(bad, lambda path: decode(path, 1, full_scale=2)) == (
        "can't be decoded: floating-point pixels that are no numbers"
    )


def test_full_scale_leaves_alone_what_says_its_own(tmp_path: Path) -> None:
    """FIELD.md E1: pictures of 8 bits, and a PGM with its largest value."""
    plain = saved(tmp_path / "plain.png", picture("L", 0, 7, 200))
    assert np.array_equal(decode(plain, 3, full_scale=1023), decode(plain, 3))
    grey = written(tmp_path / "grey.pgm", b"P5 2 1 1023\n" + struct.pack(">HH", 1023, 512))
    assert np.array_equal(decode(grey, 1, full_scale=1023), decode(grey, 1))
    assert (depth(plain), depth(grey)) == (None, None)


def test_transparent_deep_pixels_stay_laid_on_white(tmp_path: Path) -> None:
    """FIELD.md E1"""
    pixels = struct.pack(">8H", 1023, 0, 0, 65535, 1023, 0, 0, 0)
    path = written(tmp_path / "clear.png", png(2, 1, depth=16, kind=6, rows=b"\0" + pixels))
    assert decode(path, 3, full_scale=1023)[0].tolist() == [[255, 0, 0], [255, 255, 255]]
