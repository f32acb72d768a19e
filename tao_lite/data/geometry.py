"""Which part of a picture the network sees, and resizing it: pure functions of sizes and random numbers.

Instead of resizing the whole picture and cutting the target out of it, as TAO does, the same rectangle is found in the
picture and only that is resized.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
Size = tuple[int, int]
"""Height and width in pixels."""
Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels; right and bottom exclusive."""
RandomBox = Callable[[Size, Size, tuple[float, float, float, float]], Box]
"""A random crop, from the sizes of picture and target and numbers in [0, 1) for its size, left, top and shape."""

Fixed = Literal["squeeze", "centre_crop", "letterbox", "tao_crop"]
"""How a picture comes to the network's shape, where it is seen the same way each time."""
FIXED = get_args(Fixed)

INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

MIN_SCALE = 0.45
"""The smallest random crop, as a share of the largest that fits, per side. Source: TAO 5."""
MAX_LINEAR = 1.25
"""Pixels of a random crop per pixel of the target, per side, up to which it is resized without antialiasing."""
_MOST_RESIZED = 2**27
CENTRE_MARGIN = 32
"""Pixels by which centre crop resizes beyond the target before it cuts. Source: TAO 5, made for targets near 224."""


def squeeze(source: Size, _target: Size) -> Box:
    """The whole picture, whatever its shape and the target's."""
    height, width = source
    return 0.0, 0.0, float(width), float(height)


def random_crop(source: Size, target: Size, uniforms: tuple[float, float, float, float]) -> Box:
    """A rectangle of the target's shape, 0.45 to 1 of the largest that fits, anywhere in the picture.

    TAO draws f in [0.45, 1), resizes the picture to just cover target / f and cuts the target out.
    """
    scale, left, top, _ = uniforms
    share = MIN_SCALE + (1 - MIN_SCALE) * scale
    height, width = _largest(source, target)
    return _place(source, (height * share, width * share), (top, left))


@dataclass(frozen=True)
class AreaCrop:
    """A rectangle anywhere in the picture, of a share of its area and of a shape in these ranges."""

    areas: tuple[float, float]
    """Least and largest, of the picture's area."""
    aspects: tuple[float, float]
    """Least and largest ratio of width to height, the picture's being 1; as often below their middle as above."""

    def __call__(self, source: Size, _target: Size, uniforms: tuple[float, float, float, float]) -> Box:
        """The box; a side that is longer than the picture's is cut off."""
        size, left, top, shape = uniforms
        area = self.areas[0] + (self.areas[1] - self.areas[0]) * size
        aspect = self.aspects[0] * (self.aspects[1] / self.aspects[0]) ** shape
        down, across = min(1.0, math.sqrt(area / aspect)), min(1.0, math.sqrt(area * aspect))
        return _place(source, (source[0] * down, source[1] * across), (top, left))


def centre_crop(source: Size, target: Size) -> Box:
    """The middle of the picture in the target's shape, less a margin.

    TAO resizes the picture to just cover the target with 32 pixels added to each side, and cuts the target out of the
    middle. At a target of 224 the rectangle is 7/8 of the height of a landscape picture; at 64 it is no more than 2/3.
    """
    height, width = target
    enlarge = max((height + CENTRE_MARGIN) / source[0], (width + CENTRE_MARGIN) / source[1])
    return _place(source, (height / enlarge, width / enlarge), (0.5, 0.5))


def tao_crop(image: Pixels, size: Size, interpolation: str) -> Pixels:
    """The middle of the image as TAO's code cuts it: out of the whole, resized, at whole pixels.

    Sizes are cut off, corners rounded, halves to even. Source: tao-deploy 7.3.0, which gives the same bits. An image
    that is so long that the resized one would have more than 2**27 pixels is cut by `centre_crop`.
    """
    source = image.shape[0], image.shape[1]
    enlarge = max((target + CENTRE_MARGIN) / length for target, length in zip(size, source, strict=True))
    rows, columns = int(source[0] * enlarge), int(source[1] * enlarge)
    if rows * columns > _MOST_RESIZED:
        return resize(image, centre_crop(source, size), size, interpolation)
    covering = resize(image, squeeze(source, size), (rows, columns), interpolation)
    top, left = round(rows / 2) - round(size[0] / 2), round(columns / 2) - round(size[1] / 2)
    return covering[top : top + size[0], left : left + size[1]].copy()


_BOXES = {"squeeze": squeeze, "centre_crop": centre_crop}


def letterbox(source: Size, target: Size) -> tuple[Size, Size]:
    """The size of the whole picture as large as fits, and its distance from the target's top and left.

    Rounded down, an odd pixel more below or to the right. Source: DeepStream's nvinfer with symmetric padding.
    """
    (height, width), (rows, columns) = source, target
    inner = min(rows, max(1, columns * height // width)), min(columns, max(1, rows * width // height))
    return inner, ((rows - inner[0]) // 2, (columns - inner[1]) // 2)


def fixed(image: Pixels, geometry: str, size: Size, interpolation: str, fill: int) -> Pixels:
    """The image as a network of that size sees it by one of FIXED; `fill` is the value of the bars of a letterbox."""
    height, width, channels = image.shape
    source = (height, width)
    if geometry == "tao_crop":
        return tao_crop(image, size, interpolation)
    if geometry != "letterbox":
        return resize(image, _BOXES[geometry](source, size), size, interpolation)
    inner, (top, left) = letterbox(source, size)
    framed = np.full((*size, channels), fill, np.uint8)
    framed[top : top + inner[0], left : left + inner[1]] = resize(image, squeeze(source, inner), inner, interpolation)
    return framed


def cut(frame: Pixels, box: tuple[int, int, int, int] | None) -> Pixels:
    """The pixels inside the box, all without one; empty where it lies outside. A copy, lest they keep the frame."""
    if box is None:
        return frame
    left, top, right, bottom = box
    return frame[top:bottom, left:right].copy()


def resize(image: Pixels, box: Box, size: Size, interpolation: str) -> Pixels:
    """The part `box` of the image at that size, antialiased; uint8 [h, w, C], the image itself if nothing changes."""
    height, width = image.shape[:2]
    if size == (height, width) and box == (0, 0, width, height):
        return image
    picture = Image.fromarray(image if image.shape[2] == 3 else image[:, :, 0])
    resized = np.asarray(picture.resize(size[::-1], INTERPOLATIONS[interpolation], box=box))
    return resized.reshape(*size, image.shape[2])


def resize_crop(image: Pixels, box: Box, size: Size, interpolation: str) -> Pixels:
    """As `resize` for the box with its edges moved to the nearest pixels: several times as fast.

    OpenCV's linear enlarging is Pillow's to within a level. It serves for shrinking by up to a fifth too; beyond that
    a pixel is the mean of the area it covers, a little sharper than Pillow's. OpenCV's cubic is another curve: Pillow
    does it, with the edges where they are.
    """
    if interpolation != "bilinear":
        return resize(image, box, size, interpolation)
    (left, right), (top, bottom) = _whole(box[0], box[2]), _whole(box[1], box[3])
    part = image[top:bottom, left:right]
    is_near = part.shape[0] <= MAX_LINEAR * size[0] and part.shape[1] <= MAX_LINEAR * size[1]
    resized = cv2.resize(part, size[::-1], interpolation=cv2.INTER_LINEAR if is_near else cv2.INTER_AREA)
    return np.asarray(resized, np.uint8).reshape(*size, image.shape[2])


def _whole(first: float, last: float) -> tuple[int, int]:
    """The nearest whole numbers, at least 1 apart."""
    start = min(round(first), math.ceil(last) - 1)
    return start, max(round(last), start + 1)


def _largest(source: Size, target: Size) -> tuple[float, float]:
    """Height and width of the largest rectangle of the target's shape inside the source."""
    enlarge = max(target[0] / source[0], target[1] / source[1])
    return target[0] / enlarge, target[1] / enlarge


def _place(source: Size, extent: tuple[float, float], position: tuple[float, float]) -> Box:
    """The box of that height and width; `position` 0 is at the top or left end of the source, 1 at the other."""
    top, left = ((outer - inner) * share for outer, inner, share in zip(source, extent, position, strict=True))
    # Rounding must not put an edge outside: Pillow refuses that.
    bottom, right = min(top + extent[0], source[0]), min(left + extent[1], source[1])
    return max(left, 0.0), max(top, 0.0), right, bottom
