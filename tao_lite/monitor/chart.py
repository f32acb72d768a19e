"""A curve as characters and as a picture, and the colours of several. Imports Pillow only when it draws."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

Curve = Callable[[float], float]

# Okabe and Ito, Color Universal Design: told apart with any colour vision. Those too pale for paper come last.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")

_BARS = "▁▂▃▄▅▆▇█"

# Pixels; drawn large and halved, which smooths the line. The margins leave room for the numbers beside the axes.
_WIDTH, _HEIGHT = 1920, 960
_LEFT, _TOP, _RIGHT, _BOTTOM = 180, 120, 60, 120
_FONT_SIZE, _TITLE_SIZE, _LINE_WIDTH = 32, 40, 6
_INK, _GREY, _PAPER, _LINE = (32, 32, 32), (216, 216, 216), (255, 255, 255), (0, 92, 171)


def sparkline(values: Sequence[float]) -> str:
    """One bar for each value, from 0 to the highest."""
    top = max(values) or 1.0
    return "".join(_BARS[min(int(value / top * len(_BARS)), len(_BARS) - 1)] for value in values)


def draw(path: Path, curve: Curve, *, title: str, end: int, unit: str) -> None:
    """Write a PNG of the curve, which is a function of progress in [0, 1]; the axis below counts to `end`."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (_WIDTH, _HEIGHT), _PAPER)
    pen = ImageDraw.Draw(image)
    pen.font = ImageFont.load_default(_FONT_SIZE)
    width = _WIDTH - _LEFT - _RIGHT
    heights = [curve(pixel / width) for pixel in range(width + 1)]
    ticks = _ticks(max(heights))
    _draw_rates(pen, ticks)
    _draw_units(pen, end, unit)
    line = [(_LEFT + pixel, _y(height, ticks[-1])) for pixel, height in enumerate(heights)]
    pen.line(line, fill=_LINE, width=_LINE_WIDTH, joint="curve")
    pen.text((_LEFT, _TOP / 2), title, fill=_INK, anchor="lm", font=ImageFont.load_default(_TITLE_SIZE))
    image.resize((_WIDTH // 2, _HEIGHT // 2), Image.Resampling.LANCZOS).save(path, "PNG")


def _draw_rates(pen: "ImageDraw", ticks: Sequence[float]) -> None:
    for tick in ticks:
        y = _y(tick, ticks[-1])
        pen.line([(_LEFT, y), (_WIDTH - _RIGHT, y)], fill=_GREY if tick else _INK, width=2)
        pen.text((_LEFT - 20, y), f"{tick:g}", fill=_INK, anchor="rm")


def _draw_units(pen: "ImageDraw", end: int, unit: str) -> None:
    bottom = _HEIGHT - _BOTTOM
    for tick in _ticks(end):
        x = _LEFT + tick / end * (_WIDTH - _LEFT - _RIGHT)
        if tick <= end and tick == int(tick):
            pen.line([(x, bottom), (x, bottom + 12)], fill=_INK, width=2)
            pen.text((x, bottom + 20), f"{tick:g}", fill=_INK, anchor="ma")
    pen.text((_WIDTH - _RIGHT, _HEIGHT - 20), unit, fill=_INK, anchor="rs")


def _y(value: float, top: float) -> float:
    return _HEIGHT - _BOTTOM - value / top * (_HEIGHT - _TOP - _BOTTOM)


def _ticks(top: float) -> list[float]:
    """Round numbers from 0 to the first that is not below top, four to six of them."""
    power = 10.0 ** math.floor(math.log10(top)) if top > 0 else 1.0
    step = next(part * power for part in (0.1, 0.2, 0.25, 0.5, 1, 2, 2.5) if part * power * 5 >= top)
    count = math.ceil(top / step - 1e-9) or 1
    return [round(index * step, 12) for index in range(count + 1)]
