"""Pictures of more than 8 bits: their samples, what is white in them, and the 8 bits that a network sees."""

from typing import Any, BinaryIO, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import TiffImageFile

_MAX_8_BIT, _MAX_16_BIT = 255, 65535
_REMEDY = "save as 8 or 16 bit, or set dataset_config.full_scale"


class Depth(NamedTuple):
    """The least and the largest value in a picture of more than 8 bits, and what is white by its type."""

    low: float
    high: float
    full: float


def depth(image: Image.Image, file: BinaryIO) -> Depth | None:
    """What is in a picture of more than 8 bits; None for others, whose pixels are not decoded."""
    found = samples(image, file)
    if found is None:
        return None
    values = found[np.isfinite(found)] if found.dtype.kind == "f" else found
    return Depth(float(values.min()), float(values.max()), full_scale(image, found)) if values.size else None


def samples(image: Image.Image, file: BinaryIO) -> npt.NDArray[Any] | None:
    """The samples of a picture of more than 8 bits that doesn't say itself what is white: [H, W] or [H, W, 3]."""
    tiles = getattr(image, "tile", [])
    if image.mode == "F" or image.mode.startswith("I"):
        # A PGM says what is white, and Pillow makes 65535 of it.
        args = tiles[0].args if image.format == "PPM" and tiles else None
        return None if isinstance(args, tuple) and args[-1] != _MAX_16_BIT else np.asarray(image)
    if not (image.format == "PNG" and tiles and str(tiles[0].args).endswith(";16B")):
        return None
    # Pillow keeps the high bytes of deep colour only.
    place = file.tell()
    file.seek(0)
    found = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_ANYDEPTH)
    file.seek(place)
    if found is None or found.dtype != np.uint16:
        return None
    return found if found.ndim == 2 else found[..., 2::-1]


def full_scale(image: Image.Image, values: npt.NDArray[Any]) -> float:
    """What is white by the picture's type."""
    if values.dtype.kind == "f":
        return 1
    bits = image.tag_v2.get(ExifTags.Base.BitsPerSample, (16,))[0] if isinstance(image, TiffImageFile) else 16
    return float(2**bits - 1)


def shown(image: Image.Image, values: npt.NDArray[Any], white: float) -> Image.Image:
    """The 8-bit image of these samples, transparent where the one that Pillow decoded is."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError("floating-point pixels that are no numbers")
    made = Image.fromarray(_scaled(values, white))
    if image.mode in {"LA", "RGBA"}:
        made.putalpha(image.getchannel("A"))
    return made


def _scaled(values: npt.NDArray[Any], white: float) -> npt.NDArray[np.uint8]:
    """8 bits of samples of which `white` is white; what is beyond is white too, what is below 0 black.

    Of a power of two less one, as 4095, these are the high bits, as decode takes them of 16.
    """
    inside = np.clip(values, 0, white)
    is_whole = values.dtype.kind in "iu" and white >= _MAX_8_BIT
    levels = inside.astype(np.float64) * (256 / (white + 1)) if is_whole else inside * (255 / white) + 0.5
    scaled: npt.NDArray[np.uint8] = levels.astype(np.uint8)
    return scaled


def as_grey(image: Image.Image) -> Image.Image:
    """The 8-bit grey image of one with more than 8 bits per pixel."""
    pixels = np.asarray(image)
    if image.mode == "F":
        if not (pixels.min() >= 0 and pixels.max() <= 1):
            raise ValueError(
                f"floating-point pixels from {pixels.min():g} to {pixels.max():g}, must be 0 to 1; {_REMEDY}"
            )
        return Image.fromarray((pixels * 255 + 0.5).astype(np.uint8))
    if image.mode == "I" and image.format != "PPM":  # of which Pillow makes 0 to 65535, whatever its maxval
        raise ValueError(f"32-bit or signed pixels have no known full scale; {_REMEDY}")
    bits = int(full_scale(image, pixels)).bit_length()
    return Image.fromarray((pixels >> (bits - 8)).astype(np.uint8))
