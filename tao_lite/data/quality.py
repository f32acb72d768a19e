"""Examples whose picture may be at fault: too small, cut by the frame, covered, blurred, badly exposed."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from tao_lite.data.example import Example

MAX_ENLARGED = 8
"""What is enlarged more for the network has less than a 64th of the pixels that it reads; few have a detail left."""
MAX_COVERED = 0.75
"""Of a box that shares more with one of another class, a network sees mostly what that may be the label of."""
SIDE = 128
"""Pixels of the longer side at which sharpness is measured: photos of all sizes compare, and noise is averaged out."""
NUM_DEVIATIONS = 3.5
"""Robust deviations below the median of a set that make an outlier. Source: Iglewicz and Hoaglin, How to Detect and
Handle Outliers, 1993."""
MAX_BLUR = 4
"""An outlier of a set that is all alike may still be sharp: it needs so many times less sharpness than the median."""
LEVELS = (8, 247)
"""Of 0 .. 255, up to and from which light is crushed or blown: what is left there is no more than a JPEG's noise."""
MAX_LOST = 0.5
"""Share of a picture so crushed or blown which is doubtful, where the set's median is MAX_LOST_BESIDE lower."""
MAX_LOST_BESIDE = 0.3
"""Drawings and goods on white have much white, and all of them have."""
MIN_EXAMPLES = 20
"""Of fewer, a median says nothing."""

_TO_SIGMA = 1.4826  # of a normal distribution, from the median of the deviations
_MAX_COMPARED = 200

Box = tuple[int, int, int, int]


class Finding(NamedTuple):
    """What is doubtful about an example. reason: small, cut, covered, blurred, dark or bright; detail: in words."""

    path: Path
    box: Box | None
    reason: str
    detail: str


class Measures(NamedTuple):
    """Of an example's pixels: the variance of the Laplacian, and the shares that are crushed and blown.

    Source: Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR 2000.
    """

    sharpness: float
    dark: float
    bright: float


class Frame(NamedTuple):
    """A picture's examples, its width and height, and what was measured of each; None of a box that lies outside."""

    examples: Sequence[Example]
    size: tuple[int, int]
    measures: Sequence[Measures | None]


def measure(pixels: npt.NDArray[np.uint8], box: Box | None) -> Measures:
    """Of RGB uint8 [H, W, 3], or of the part of it in the box. May be called from several threads."""
    left, top, right, bottom = box or (0, 0, pixels.shape[1], pixels.shape[0])
    part = pixels[top:bottom, left:right]
    longest = max(part.shape[:2])
    if longest > SIDE:
        height, width = (max(1, round(length * SIDE / longest)) for length in part.shape[:2])
        part = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    luma = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY)
    low, high = LEVELS
    return Measures(
        float(cv2.Laplacian(luma, cv2.CV_32F).var()), float((luma <= low).mean()), float((luma >= high).mean())
    )


def findings(frames: Iterable[Frame], input_size: tuple[int, int] | None = None) -> Iterator[Finding]:
    """What is doubtful about the examples of these pictures; `input_size`, the network's height and width, if known."""
    frames = list(frames)
    for frame in frames:
        yield from _too_small(frame, *input_size) if input_size else ()
        yield from _cut(frame)
        yield from _covered(frame)
    yield from _unlike_the_others(
        [(one, found) for frame in frames for one, found in zip(frame.examples, frame.measures, strict=True) if found]
    )


def _too_small(frame: Frame, input_height: int, input_width: int) -> Iterator[Finding]:
    for one in frame.examples:
        left, top, right, bottom = one.box or (0, 0, *frame.size)
        width, height = right - left, bottom - top
        if width * MAX_ENLARGED < input_width and height * MAX_ENLARGED < input_height:
            text = f"{width} x {height} pixels, where the network reads {input_width} x {input_height}"
            yield Finding(one.path, one.box, "small", text)


def _cut(frame: Frame) -> Iterator[Finding]:
    """Objects that may go on beyond the picture; one that is as wide or as high as it fills it."""
    width, height = frame.size
    for one in frame.examples:
        left, top, right, bottom = one.box or (0, 0, width, height)
        touched = [(left == 0, right >= width, "left", "right"), (top == 0, bottom >= height, "top", "bottom")]
        names = [first if low else last for low, high, first, last in touched if low != high]
        if one.box and names:
            yield Finding(one.path, one.box, "cut", f"ends at the {' and '.join(names)} of the picture")


def _covered(frame: Frame) -> Iterator[Finding]:
    boxed = [(one, one.box) for one in frame.examples if one.box]
    for one, box in islice(boxed, _MAX_COMPARED):
        area = (box[2] - box[0]) * (box[3] - box[1])
        for other, beside in islice(boxed, _MAX_COMPARED):
            share = _shared(box, beside) / area
            if other.classes != one.classes and share > MAX_COVERED:
                text = f"{share:.0%} of it lie in a box of {', '.join(other.classes)}"
                yield Finding(one.path, one.box, "covered", text)
                break


def _shared(box: Box, other: Box) -> int:
    across, down = (min(box[side + 2], other[side + 2]) - max(box[side], other[side]) for side in (0, 1))
    return max(across, 0) * max(down, 0)


def _unlike_the_others(measured: Sequence[tuple[Example, Measures]]) -> Iterator[Finding]:
    if len(measured) < MIN_EXAMPLES:
        return
    values = np.array([found for _, found in measured])
    logs = np.log(values[:, 0] + 1)  # 1: what rounding to whole levels makes of a plain picture
    median = float(np.median(logs))
    deviation = _TO_SIGMA * float(np.median(np.abs(logs - median)))
    limit = min(median - NUM_DEVIATIONS * deviation, median - np.log(MAX_BLUR))
    dark, bright = (max(MAX_LOST, float(np.median(values[:, column])) + MAX_LOST_BESIDE) for column in (1, 2))
    for (one, found), log in zip(measured, logs, strict=True):
        if found.dark > dark:
            yield Finding(one.path, one.box, "dark", f"{found.dark:.0%} of it are black or nearly so")
        elif found.bright > bright:
            yield Finding(one.path, one.box, "bright", f"{found.bright:.0%} of it are white or nearly so")
        elif log < limit:
            text = f"{np.exp(median - log):.0f} times less sharp than the median, or without detail"
            yield Finding(one.path, one.box, "blurred", text)
