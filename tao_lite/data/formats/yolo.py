"""YOLO: a data.yaml, folders of pictures and of labels; every labelled box or polygon is one example."""

import logging
import math
import re
from collections.abc import Collection
from pathlib import Path

from tao_lite.data.example import Example, Options
from tao_lite.data.formats.class_names import Names
from tao_lite.data.formats.objects import Box, Chooser, LabelledObject, checked_box, label_lines, renamed
from tao_lite.data.formats.yolo_yaml import FILE_NAMES, LABELS, data_file, has_labels, load
from tao_lite.data.left_out import NO_OBJECTS, NO_PICTURE, UNLABELLED, WRONG_LABEL, LeftOut
from tao_lite.errors import DataError
from tao_lite.files.noting import note

__all__ = ["data_file", "is_at", "read", "read_labels", "split_names"]

_IMAGES = "images"
_MAX_NAMED = 4

_log = logging.getLogger(__name__)


def read(root: Path, options: Options) -> list[Example]:
    """One example per labelled object that passes the filters of `options.kitti`, of the split in `options.split`.

    The group of a picture is its path without suffix.

    Raises:
        DataError: the data.yaml or a folder can't be used, or no object is left.
    """
    path = data_file(root)
    if path is None:
        raise DataError(f"{options.name}: {root} is no data.yaml and holds none ({', '.join(FILE_NAMES)})")
    data = load(path, options)
    names = Names(data.names, str(path))
    pictures = data.pictures(options.split, options.report)
    chooser = Chooser(options)
    examples: list[Example] = []
    used = set()
    for picture in pictures:
        label = _label_file(picture, data.root)
        used.add(label)
        note(label.parent)
        if not label.is_file():
            options.report(str(picture), f"has no label file {label}", UNLABELLED)
            continue
        objects = read_labels(label, names, options.report, data.num_keypoint_columns)
        if not objects:
            options.report.count(NO_OBJECTS, place=str(picture))
        examples += chooser.examples(Example(picture, "", _group(picture, data.root)), objects, relative=True)
    names.check(options.name)
    _report_unused(used, pictures, options.report)
    chooser.log_unmatched()
    if not examples and not any(label.is_file() for label in used):
        folders = sorted({str(picture.parent.parent) for picture in pictures})
        raise DataError(
            f"{options.name}: none of the {len(pictures)} pictures that {path} names for {options.split} has a label "
            f"file; if the folders they are in are the classes, give {' or '.join(folders[:_MAX_NAMED])} "
            "with the format IMAGE_FOLDER"
        )
    if not examples:
        raise chooser.nothing_left(f"the {len(pictures)} pictures that {path} names for {options.split}")
    _log.info("%s: read %d objects of %d pictures for %s", path, len(examples), len(pictures), options.split)
    return examples


def is_at(root: Path) -> bool:
    """Whether `root` is a data.yaml, or holds one of labelled objects.

    Raises:
        DataError: it holds several.
    """
    path = data_file(root)
    return path is not None and (path == root or has_labels(path))


def split_names(root: Path) -> list[str]:
    """The splits that the data.yaml of `root` names; none where there is no data.yaml."""
    path = data_file(root)
    return list(load(path, Options()).splits) if path else []


def class_names(root: Path, options: Options, labels: Collection[str]) -> tuple[str, ...]:
    """The classes of the data.yaml in its order, all of them.

    Raises:
        DataError: it can't be read.
    """
    path = data_file(root)
    assert path is not None  # as for read
    return renamed(Names(load(path, options).names, str(path)).ordered(labels), labels, options.kitti)


def read_labels(path: Path, names: Names, report: LeftOut, num_keypoint_columns: int = 0) -> list[LabelledObject]:
    """The objects of a label file, boxes relative. Lines of another format are reported."""
    objects = []
    for number, line in enumerate(label_lines(path, report), 1):
        place, columns = f"{path}:{number}", line.split()
        try:
            if columns:
                name = names.of(_class(columns[0]))
                objects.append(LabelledObject(place, name, _box(columns, num_keypoint_columns)))
        except ValueError as error:
            report(place, str(error), WRONG_LABEL)
    return objects


def _class(text: str) -> int:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number.is_integer():
        looks = "; it looks like a KITTI label" if re.fullmatch(r"[A-Za-z_]\w*", text) else ""
        raise ValueError(f"column 1 is {text!r}, must be the number of a class{looks}")
    return int(number)


def _box(columns: list[str], num_keypoint_columns: int) -> Box:
    """The box of a line: class, centre, size and perhaps keypoints or a score, or class and the points of a polygon."""
    values = []
    for place, text in enumerate(columns[1:], 2):
        try:
            values.append(float(text))
        except ValueError:
            raise ValueError(f"column {place} is {text!r}, must be a number") from None
    if len(values) in {4, 5, 4 + num_keypoint_columns}:
        x, y, width, height = values[:4]
        return checked_box((x - width / 2, y - height / 2, x + width / 2, y + height / 2), relative=True)
    if len(values) < 6 or len(values) % 2:
        raise ValueError(
            f"{len(columns)} columns, must be 5 (class, centre x and y, width, height) or a class and 3 points or more"
        )
    across, down = values[::2], values[1::2]
    return checked_box((min(across), min(down), max(across), max(down)), relative=True)


def _label_file(picture: Path, root: Path) -> Path:
    """The label file of a picture: with the last `images` of its path as `labels`, else beside it."""
    beside = picture.with_suffix(".txt")
    parts = list(beside.relative_to(root).parts)
    if _IMAGES not in parts[:-1]:
        return beside
    place = len(parts) - 1 - parts[::-1].index(_IMAGES, 1)
    swapped = root.joinpath(*parts[:place], LABELS, *parts[place + 1 :])
    return beside if not swapped.is_file() and beside.is_file() else swapped


def _group(picture: Path, root: Path) -> str:
    relative = picture.relative_to(root)
    return str(relative.with_name(relative.stem))


def _report_unused(used: set[Path], pictures: list[Path], report: LeftOut) -> None:
    """Report the label files of these folders that have no picture."""
    with_pictures = {picture.parent for picture in pictures}
    for folder in sorted({label.parent for label in used} - with_pictures):
        for label in sorted(folder.glob("*.txt")):
            if label not in used and label.name != "classes.txt":
                report(str(label), "has no picture", NO_PICTURE)
