"""Pictures of an evaluation, drawn by Pillow in milliseconds: confusion matrix, reliability, images with captions."""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from tao_lite.metrics.calibration import Calibration
from tao_lite.metrics.counts import Evaluation

MAX_NAMED = 20
"""Classes up to which the confusion matrix has names and numbers."""
MAX_NAME = 18
"""Characters of a name that are shown."""

_INK, _PAPER, _GREY = (32, 32, 32), (255, 255, 255), (160, 160, 160)
_BLUE, _ORANGE = (0, 92, 171), (230, 159, 0)
# Pixels.
_FONT_SIZE, _LINE, _MARGIN = 12, 16, 8
_MATRIX, _CELL, _PLOT = 600, 44, 320
# TensorBoard's cards are 350 pixels wide; a caption needs 104.
_GALLERY, _TILE = 336, 104


def confusion_matrix(result: Evaluation) -> Image.Image:
    """A row for each true class, a column for each predicted one, the bluer, the more of its row a cell holds."""
    counts = np.array(result.confusion_matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    num_classes = len(counts)
    # White to blue.
    cells = Image.fromarray((255 - shares[:, :, None] * (255 - np.array(_BLUE))).round().astype(np.uint8))
    if num_classes > MAX_NAMED:
        side = _MATRIX // num_classes * num_classes or _MATRIX
        how = Image.Resampling.NEAREST if side >= num_classes else Image.Resampling.BOX
        return _titled(cells.resize((side, side), how), f"{num_classes} classes: true down, predicted across")
    names, side = [short(name) for name in result.class_names], _CELL * num_classes
    width = math.ceil(max(map(_font().getlength, names))) + _MARGIN
    image = Image.new("RGB", (width + side, side + width), _PAPER)
    image.paste(cells.resize((side, side), Image.Resampling.NEAREST), (width, 0))
    _write_numbers(image, counts, shares, width)
    _write_names(image, names, width)
    return _titled(image, "true down, predicted across")


def reliability(calibration: Calibration) -> Image.Image:
    """The share of right answers by their probability, blue, and the gap to that probability, orange."""
    image = Image.new("RGB", (_PLOT + 1, _PLOT + 1), _PAPER)
    pen = ImageDraw.Draw(image)
    for one in calibration.bins:
        if one.count:
            left, right = round(one.lower * _PLOT), round(one.upper * _PLOT) - 1
            accuracy, confidence = (round((1 - height) * _PLOT) for height in (one.accuracy, one.confidence))
            pen.rectangle([left, accuracy, right, _PLOT], fill=_BLUE)
            pen.rectangle([left, min(accuracy, confidence), right, max(accuracy, confidence)], outline=_ORANGE, width=2)
    pen.line([(0, _PLOT), (_PLOT, 0)], fill=_GREY)
    pen.rectangle([0, 0, _PLOT, _PLOT], outline=_INK)
    return _titled(image, f"right answers by probability; mean gap {calibration.ece:.3f}")


def gallery(images: Sequence[Tensor], captions: Sequence[Sequence[str]]) -> Image.Image:
    """The images, uint8 [C, H, W] of one size, in about as many rows as columns, each above its lines of caption."""
    num_columns = math.ceil(math.sqrt(len(images)))
    _, height, width = images[0].shape
    side = max(_TILE, _GALLERY // num_columns - _MARGIN)
    size = side, max(1, round(height / width * side))
    across, down = size[0] + _MARGIN, size[1] + _LINE * len(captions[0]) + _MARGIN
    paper = Image.new("RGB", (across * num_columns, down * math.ceil(len(images) / num_columns)), _PAPER)
    pen = ImageDraw.Draw(paper)
    for number, (pixels, lines) in enumerate(zip(images, captions, strict=True)):
        left, top = number % num_columns * across, number // num_columns * down
        # Small images are shown pixel by pixel, as the network sees them.
        how = Image.Resampling.NEAREST if width < side else Image.Resampling.BILINEAR
        paper.paste(_picture(pixels).resize(size, how), (left, top))
        for line, text in enumerate(lines):
            pen.text((left, top + size[1] + line * _LINE), text, fill=_INK, font=_font())
    return paper


def short(name: str) -> str:
    """The name, cut to the length that has room."""
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"


def _write_numbers(
    image: Image.Image, counts: npt.NDArray[np.int64], shares: npt.NDArray[np.float64], left: int
) -> None:
    pen = ImageDraw.Draw(image)
    for true, predicted in np.argwhere(counts).tolist():
        centre = left + (predicted + 0.5) * _CELL, (true + 0.5) * _CELL
        ink = _PAPER if shares[true, predicted] > 0.5 else _INK
        pen.text(centre, str(counts[true, predicted]), fill=ink, font=_font(), anchor="mm")


def _write_names(image: Image.Image, names: Sequence[str], width: int) -> None:
    """To the left of the rows and, turned, below the columns."""
    pen, side = ImageDraw.Draw(image), _CELL * len(names)
    for number, name in enumerate(names):
        pen.text((width - _MARGIN / 2, (number + 0.5) * _CELL), name, fill=_INK, font=_font(), anchor="rm")
        turned = Image.new("RGB", (width, _LINE), _PAPER)
        ImageDraw.Draw(turned).text((width - _MARGIN / 2, _LINE / 2), name, fill=_INK, font=_font(), anchor="rm")
        left = width + number * _CELL + (_CELL - _LINE) // 2
        image.paste(turned.transpose(Image.Transpose.ROTATE_90), (left, side))


def _titled(image: Image.Image, title: str) -> Image.Image:
    width = max(image.width, math.ceil(_font().getlength(title)))
    paper = Image.new("RGB", (width + 2 * _MARGIN, image.height + _LINE + 2 * _MARGIN), _PAPER)
    ImageDraw.Draw(paper).text((_MARGIN, _MARGIN / 2), title, fill=_INK, font=_font())
    paper.paste(image, (_MARGIN, _LINE + _MARGIN))
    return paper


def _picture(pixels: Tensor) -> Image.Image:
    array = pixels.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_FONT_SIZE)
