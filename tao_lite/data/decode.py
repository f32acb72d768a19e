"""Image files to arrays, as Pillow makes them: whatever a file holds, the outcome is pixels or a DataError."""

import contextlib
import io
import os
import re
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from tao_lite.data import deep
from tao_lite.data.example import Span
from tao_lite.data.remote import shards
from tao_lite.errors import DataError, ReadError, StoreError
from tao_lite.files import reading
from tao_lite.files.places import fetched

try:
    import simplejpeg  # type: ignore[import-not-found, import-untyped, unused-ignore]
except ImportError:  # With it, photos decode 1.2 to 1.5 times as fast; the bits are the same.
    simplejpeg = None

# So many take 1.3 GiB while they are decoded (measured).
MAX_PIXELS = 2**27

# Twice what so many pixels take that are not compressed, of four channels and 16 bits.
MAX_BYTES = 2**31

# By content, not by suffix. Naming them keeps Pillow from trying its riskier ones, such as EPS, which runs Ghostscript.
FORMATS = ("JPEG", "PNG", "BMP", "PPM", "GIF", "TIFF", "WEBP")

SIMPLEJPEG_VERSION = str(getattr(simplejpeg, "__version__", "none"))

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_END_OF_IMAGE = b"\xff\xd9"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHUNK_BYTES = 12  # length, kind and checksum
_SAY_ORIENTATION = (b"eXIf", b"zTXt", b"tEXt", b"iTXt")  # EXIF; as ImageMagick wrote it as text; XMP
_FROM_PILLOW = re.compile(r"PIL\.")
_warnings_lock = threading.Lock()

T = TypeVar("T")


class Header(NamedTuple):
    """Pillow's name of a picture's format, such as JPEG, and of its mode, such as RGB; whether it has more frames."""

    format: str
    mode: str
    is_animated: bool


def decode(path: Path, channels: int, span: Span | None = None, full_scale: float = 0) -> npt.NDArray[np.uint8]:
    """The picture, upright, as uint8 [H, W, C] with C = `channels`: 3 is RGB, 1 is luma (ITU-R 601-2, as in TAO).

    `span` says where its bytes are, if not in a file of its own. The array is contiguous and may be written to. May be
    called from several threads.

    * EXIF orientation is applied; of an animation, the first frame is taken; colour profiles are not applied.
    * Transparent pixels are laid on white, as a viewer or browser shows them: it is what the person saw who chose the
      class. TAO drops the alpha channel instead, which turns a black drawing on a transparent ground into a black
      square and brings back backgrounds that were cut out. (The colour key of a 16-bit grey file is not honoured.)
    * 16-bit grey becomes 8-bit by its high byte, as Pillow does with 16-bit colour, so that both look alike (12-bit
      TIFF likewise); plain convert("RGB") would turn nearly all of it white. Floating point counts as 0 to 1. Other
      deep pixels have no known full scale and are refused. `full_scale`, where it is not 0, is white instead.

    Raises:
        DataError: the file can't be read, is not a whole image, or has more than MAX_PIXELS.
    """

    def pixels(image: Image.Image, file: BinaryIO) -> npt.NDArray[np.uint8]:
        fast = _plain_jpeg(image, file) if channels == 3 else None
        if fast is not None:
            upright = _UPRIGHT.get(_orientation(image))
            return fast if upright is None else np.array(Image.fromarray(fast).transpose(upright))
        samples = full_scale and deep.samples(image, file)
        _load(image, file)
        upright = _UPRIGHT.get(_orientation(image))
        shown = deep.shown(image, samples, full_scale) if isinstance(samples, np.ndarray) else image
        return _pixels(shown, channels, upright)

    return _of_image(path, span, pixels)


def from_picture(image: Image.Image, channels: int, name: str) -> npt.NDArray[np.uint8]:
    """As `decode`, of a picture that Pillow has opened; `name` is how messages call it.

    Raises:
        DataError: it can't be decoded, or its pixels have no known full scale.
    """
    _silence_pillow()
    try:
        image.load()
        return _pixels(image, channels, _UPRIGHT.get(_orientation(image)))
    except Exception as error:  # as in _of_image: a picture may be decoded here
        raise DataError(f"{name}: can't be decoded: {error or type(error).__name__}") from error


def image_size(path: Path, span: Span | None = None) -> tuple[int, int]:
    """Width and height of the upright picture in pixels.

    From the file's header; only of a PNG in which text or EXIF follow the pixels these are decoded.

    Raises:
        DataError: the file can't be read, is not an image, or has more than MAX_PIXELS.
    """

    def size(image: Image.Image, file: BinaryIO) -> tuple[int, int]:
        if image.format == "PNG" and _has_late_text(file):
            image.load()
        sideways = _orientation(image) >= 5
        return (image.height, image.width) if sideways else image.size

    return _of_image(path, span, size)


def depth(path: Path, span: Span | None = None) -> deep.Depth | None:
    """What is in a picture of more than 8 bits; None for others, whose pixels are not decoded.

    Raises:
        DataError: as decode.
    """
    return _of_image(path, span, deep.depth)


def header(path: Path, span: Span | None = None) -> Header:
    """What the head of the file says.

    Raises:
        DataError: as image_size.
    """

    def said(image: Image.Image, _: BinaryIO) -> Header:
        return Header(str(image.format), image.mode, bool(getattr(image, "is_animated", False)))

    return _of_image(path, span, said)


def picture_bytes(path: Path, span: Span | None = None) -> bytes:
    """The bytes of the picture called `path`, wherever they are.

    Raises:
        DataError: they can't be read; names `path`.
    """

    def read() -> bytes:
        with _opened(path, span) as file:
            return file.read()

    return _retried(path, read)


def _retried(path: Path, read: Callable[[], T]) -> T:
    """As `reading.retried`; one picture that the system can't read is as bad as a damaged one, and ends nothing.

    Raises:
        DataError: the system still fails; says how.
        StoreError: it is in a shard that can't be fetched, nor can others be.
    """
    try:
        return reading.retried(path, read)
    except StoreError:
        raise
    except ReadError as error:
        raise DataError(str(error)) from error


def _opened(path: Path, span: Span | None) -> BinaryIO:
    if span is None:
        file = reading.open_regular(path, DataError)
        if (size := os.fstat(file.fileno()).st_size) > MAX_BYTES:
            file.close()
            raise DataError(f"{path}: has {size:,} bytes, more than the {MAX_BYTES:,} that a picture can have")
        return file
    is_fetched = fetched(span.file)[0]
    file = shards.opened(span.file) if is_fetched else reading.open_regular(path, DataError, span.file)
    # Read, not mapped into memory: of a mapped file that is cut off meanwhile, a touch ends the process (SIGBUS).
    with file:
        content = os.pread(file.fileno(), span.length, span.offset)
    if len(content) < span.length:
        raise DataError(f"{path}: {span.file} is shorter than when its records were counted; it was changed meanwhile")
    return io.BytesIO(content)


def _of_image(path: Path, span: Span | None, use: Callable[[Image.Image, BinaryIO], T]) -> T:
    """What is made of the image, its header read, and of its file; whatever goes wrong becomes a DataError."""
    _silence_pillow()

    def made() -> T:
        with _opened(path, span) as file:
            try:
                image = Image.open(file, formats=FORMATS)
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise ValueError(f"{width} x {height} pixels, at most {MAX_PIXELS:,} are read; scale it down")
                return use(image, file)
            except UnidentifiedImageError as error:
                raise DataError(f"{path}: {_kind_of(file)}") from error
            except Exception as error:
                # Hostile bytes raise nearly anything in Pillow's parsers: OSError, SyntaxError, ValueError,
                # struct.error, KeyError, EOFError, MemoryError, ... Of these, only the system's have a number.
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                raise DataError(f"{path}: can't be decoded: {error or type(error).__name__}") from error

    return _retried(path, made)


def _silence_pillow() -> None:
    """Ignore what Pillow warns of (odd metadata, above all), in this process from now on; nor does it judge sizes.

    Such pictures decode properly; those that don't raise. Large ones we refuse ourselves, where Pillow would call them
    an attack. `warnings.catch_warnings` is no way to do it: it swaps the
    process's filters and, with several threads, restores the wrong ones.
    """
    wanted = ("ignore", None, Warning, _FROM_PILLOW, 0)
    Image.MAX_IMAGE_PIXELS = None
    with _warnings_lock:
        if list(warnings.filters[:1]) != [wanted]:
            warnings.filterwarnings("ignore", module=_FROM_PILLOW.pattern)


def _plain_jpeg(image: Image.Image, file: BinaryIO) -> npt.NDArray[np.uint8] | None:
    """RGB pixels of a whole colour JPEG, decoded by simplejpeg; None for all else, on which Pillow has the last word.

    Both decode with libjpeg-turbo and its default settings. On the first doubt about the data simplejpeg raises.
    """
    if simplejpeg is None or image.format != "JPEG" or image.mode != "RGB":
        return None
    place = file.tell()
    file.seek(0)
    content = file.read()
    file.seek(place)
    try:
        pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(content, "RGB", strict=True)
    except ValueError:
        return None
    is_whole = content.endswith(_END_OF_IMAGE) or _END_OF_IMAGE in content[place:]
    return pixels if is_whole and pixels.shape == (image.height, image.width, 3) else None


def _load(image: Image.Image, file: BinaryIO) -> None:
    """Decode the pixels, all of them.

    Pillow raises for a file that is cut off, but not for a JPEG whose last blocks are zeros, as a crash or a broken
    download leaves them: libjpeg paints grey what is missing. Such a file has no end-of-image marker, which can't
    occur inside image data (0xFF is never followed by 0xD9 there).
    """
    header_end = file.tell()
    image.load()
    if image.format in {"JPEG", "MPO"}:
        file.seek(-2, os.SEEK_END)
        if file.read() != _END_OF_IMAGE:
            file.seek(header_end)
            if _END_OF_IMAGE not in file.read():
                raise ValueError("image file is truncated (no end-of-image marker)")


def _pixels(image: Image.Image, channels: int, upright: Image.Transpose | None) -> npt.NDArray[np.uint8]:
    """Those of a loaded picture; `upright` is known only then, from what may stand behind them in the file."""
    mode = "RGB" if channels == 3 else "L"
    eight_bit = image if image.mode == mode and not image.has_transparency_data else _converted(image, mode)
    if upright is not None:
        eight_bit = eight_bit.transpose(upright)
    # np.asarray would save a copy (1 % of decoding) but is read-only, which torch warns about.
    pixels: npt.NDArray[np.uint8] = np.array(eight_bit)
    return pixels.reshape(*pixels.shape[:2], channels)


def _kind_of(file: BinaryIO) -> str:
    """What a file is that is no image."""
    file.seek(0)
    start = file.read(512)
    if not start:
        return "the file is empty"
    if not start.strip(b"\0"):
        return "the file holds zeros only"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the image; fetch it with: git lfs pull"
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "an HTML page, not an image; download it again"
    return "not a JPEG, PNG, BMP, PPM, GIF, TIFF or WebP image, or damaged in its first bytes"


def _has_late_text(file: BinaryIO) -> bool:
    """Whether a PNG has a chunk behind its pixels that may say how to turn it. The file stays where it is.

    All IDAT chunks but the last are of one size, as nearly all writers make them: most are leapt over at once.
    """
    here = file.tell()
    size = file.seek(0, os.SEEK_END)
    place, has_pixels, is_late = len(_PNG_SIGNATURE), False, False
    while not is_late and place < size:
        length, kind = _chunk(file, place)
        place += length + _CHUNK_BYTES
        if kind == b"IDAT":
            has_pixels = True
            last = place + (size - place - _CHUNK_BYTES) // (length + _CHUNK_BYTES) * (length + _CHUNK_BYTES)
            if last > place and _chunk(file, last)[1] == b"IDAT":
                place = last
        is_late = has_pixels and kind in _SAY_ORIENTATION
    file.seek(here)
    return is_late


def _chunk(file: BinaryIO, place: int) -> tuple[int, bytes]:
    """Length and kind of the chunk of a PNG at this place; no kind where the file ends before."""
    file.seek(place)
    head = file.read(8)
    return int.from_bytes(head[:4], "big"), head[4:]


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8, as far as it has been read; 1 where there is none or it can't be read."""
    if image.format == "TIFF":
        return 1  # Pillow applies it itself.
    with contextlib.suppress(Exception):
        # PngImageFile.getexif would decode the pixels to look for EXIF behind them, which image_size need not.
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
        return orientation if orientation in _UPRIGHT else 1
    return 1


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        return deep.as_grey(image).convert(mode)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(layer, mask=layer)
        return canvas.convert(mode)
    return image.convert(mode)
