"""Labelled objects of any format with boxes: which become examples, and what part of the frame each shows."""

import logging
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from tao_lite.data.decode import image_size
from tao_lite.data.example import Example, KittiOptions, Options
from tao_lite.data.left_out import DONT_CARE as NOT_CARED_FOR
from tao_lite.data.left_out import IGNORED, WRONG_LABEL, LeftOut, Reason
from tao_lite.errors import DataError, ReadError
from tao_lite.files import reading

DONT_CARE = "DontCare"
# Some 40,000 objects in one picture.
_MAX_LABEL_BYTES = 2**22

Box = tuple[float, float, float, float]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LabelledObject:
    """One object of a frame. Box: left, top, right, bottom in pixels. Truncated or occluded -1: not annotated.

    `place` is where its label stands, for messages.
    """

    place: str
    name: str
    box: Box
    truncated: float = -1
    occluded: float = -1


class Chooser:
    """Makes examples of labelled objects, and counts those it leaves out.

    A class is renamed by class_mapping first, then looked up in ignored_classes. An object whose occlusion or
    truncation is not annotated passes that filter; KITTI's "unknown" occlusion (3) counts as more than any other.
    """

    def __init__(self, options: Options, *, min_height_pixels: float = 0) -> None:
        """`min_height_pixels` holds where the options don't say it."""
        self._options = options
        chosen = options.kitti.min_height_pixels
        self._min_height_pixels = min_height_pixels if chosen is None else chosen
        kitti, field = options.kitti, "dataset_config.kitti."
        self._too_low, self._too_occluded, self._too_truncated = (
            Reason("too_low", f"lower than {self._min_height_pixels:g} pixels", f"{field}min_height_pixels", "0"),
            Reason("occluded", f"more occluded than {kitti.max_occlusion}", f"{field}max_occlusion", "3"),
            Reason("truncated", f"more truncated than {kitti.max_truncation:g}", f"{field}max_truncation", "1"),
        )
        self._names: set[str] = set()
        self._numbers: dict[int, int] = {}
        self._shares: dict[float, float] = {}

    def label(self, name: str, place: str) -> str:
        """The class that a name means in the network; empty if it is one to ignore, which is counted."""
        self._names.add(name)
        label = self._options.kitti.class_mapping.get(name, name)
        if DONT_CARE in {name, label}:
            self._options.report.count(NOT_CARED_FOR, place=place)
            return ""
        if label in self._options.kitti.ignored_classes:
            self._options.report.count(IGNORED, label, place)
            return ""
        return label

    def nothing_left(self, examined: str) -> DataError:
        """The error that no object is left of what was examined."""
        return DataError(f"{self._options.name}: no object is left of {examined}; left out: {self._options.report}")

    def examples(self, frame: Example, objects: Collection[LabelledObject], *, relative: bool = False) -> list[Example]:
        """One example for each object that passes the filters; `frame` is the whole picture, its label is not used.

        relative: the boxes are shares of the frame's width and height. The picture's head is read only where it is
        needed.
        """
        labelled = [(one, label) for one in objects if (label := self.label(one.name, one.place))]
        if relative:
            size = self._size(frame, labelled) if labelled else None
            labelled = [(_in_pixels(one, size), label) for one, label in labelled] if size else []
        kept = [(one, label) for one, label in labelled if self._passes(one, label)]
        if not relative:
            size = self._size(frame, kept) if kept else None
        return self._cut(frame, kept, size) if size else []

    def log_unmatched(self, names: Collection[str] = ()) -> None:
        """Name the settings that had no effect; `names` are classes that there are besides those of the objects."""
        known = self._names.union(names)
        kitti, present = self._options.kitti, ", ".join(sorted(known))
        if unused := sorted(kitti.class_mapping.keys() - known):
            _log.warning("dataset_config.kitti.class_mapping: no label is %s; there are %s", ", ".join(unused), present)
        labels = {kitti.class_mapping.get(name, name) for name in known}
        if unused := sorted(kitti.ignored_classes - labels):
            _log.warning(
                "dataset_config.kitti.ignored_classes: no class is %s; there are %s", ", ".join(unused), present
            )

    def _passes(self, found: LabelledObject, label: str) -> bool:
        kitti = self._options.kitti
        if found.box[3] - found.box[1] < self._min_height_pixels:
            reason = self._too_low
        elif found.occluded > kitti.max_occlusion:
            reason = self._too_occluded
        elif found.truncated > kitti.max_truncation:
            reason = self._too_truncated
        else:
            return True
        self._options.report.count(reason, label, found.place)
        return False

    def _size(self, frame: Example, objects: Collection[tuple[LabelledObject, str]]) -> tuple[int, int] | None:
        try:
            return image_size(frame.path, frame.span)
        except DataError as error:
            labels = [label for _, label in objects]
            self._options.report(str(frame.path), str(error).removeprefix(f"{frame.path}: "), labels=labels)
            return None

    def _cut(
        self, frame: Example, kept: Collection[tuple[LabelledObject, str]], size: tuple[int, int]
    ) -> list[Example]:
        examples = []
        for found, label in kept:
            box = crop(found.box, size, self._options.kitti)
            if box is None:
                left, top, right, bottom = found.box
                self._options.report(
                    found.place,
                    f"the box lies outside its frame of {size[0]} x {size[1]} pixels: "
                    f"left {left:g}, top {top:g}, right {right:g}, bottom {bottom:g}",
                    WRONG_LABEL,
                    [label],
                )
            else:
                # Equal numbers are one: millions of boxes take a seventh less memory.
                left, top, right, bottom = (self._numbers.setdefault(side, side) for side in box)
                occluded, truncated = (self._shares.setdefault(one, one) for one in (found.occluded, found.truncated))
                sides = left, top, right, bottom
                examples.append(replace(frame, label=label, box=sides, occluded=occluded, truncated=truncated))
        return examples


def renamed(names: Iterable[str], labels: Collection[str], kitti: KittiOptions) -> tuple[str, ...]:
    """The classes that these names mean in the network, in their order, without those that are left out."""
    meant = (kitti.class_mapping.get(name, name) for name in names)
    out = kitti.ignored_classes | {DONT_CARE}
    return tuple(dict.fromkeys(name for name in meant if name in labels or name not in out))


def crop(box: Box, size: tuple[int, int], kitti: KittiOptions) -> tuple[int, int, int, int] | None:
    """The part of a frame of `size` (width, height) that shows the object, in whole pixels; None if the box misses it.

    The box is clipped to the frame, widened by the margin, rounded outwards, made square about its centre, and
    clipped again; at the frame's border a crop may therefore not be square.
    """
    width, height = size
    left, top, right, bottom = box
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if right <= left or bottom <= top:
        return None
    beside, above = kitti.margin * (right - left), kitti.margin * (bottom - top)
    x, y = math.floor(left - beside), math.floor(top - above)
    across, down = math.ceil(right + beside) - x, math.ceil(bottom + above) - y
    if kitti.square:
        side = max(across, down)
        x, y, across, down = x - (side - across) // 2, y - (side - down) // 2, side, side
    return max(x, 0), max(y, 0), min(x + across, width), min(y + down, height)


def label_lines(path: Path, report: LeftOut) -> list[str]:
    """The lines of a label file; a file that can't be read is reported."""
    try:
        return reading.read_text(path, DataError, max_bytes=_MAX_LABEL_BYTES).splitlines()
    except (DataError, ReadError) as error:
        line, _, problem = str(error).removeprefix(str(path)).partition(": ")
        report(f"{path}{line}", problem)
        return []


def checked_box(box: Box, *, relative: bool = False) -> Box:
    """The same box. It may reach beyond its picture; if relative, its sides are shares of width and height.

    Raises:
        ValueError: it is empty, no number, or should be relative and is in pixels by the look of it.
    """
    left, top, right, bottom = box
    sides = f"left {left:g}, top {top:g}, right {right:g}, bottom {bottom:g}"
    if not all(map(math.isfinite, box)):
        raise ValueError(f"the box has a side that is no number: {sides}")
    if relative and (min(left, top) < -1 or max(right, bottom) > 2):
        raise ValueError(f"the box must be in shares of the picture, 0 to 1; these look like pixels: {sides}")
    if right <= left or bottom <= top:
        raise ValueError(f"the box is empty: {sides}")
    return box


def _in_pixels(found: LabelledObject, size: tuple[int, int]) -> LabelledObject:
    (width, height), (left, top, right, bottom) = size, found.box
    return replace(found, box=(left * width, top * height, right * width, bottom * height))
