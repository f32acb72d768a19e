"""KITTI object labels: every labelled object that passes the filters is one example, cut out of its frame."""

import logging
import math
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from tao_lite.data.example import Example, KittiOptions, Options
from tao_lite.data.formats import yolo_yaml
from tao_lite.data.formats.listing import NO_FILE, SUFFIXES, visible
from tao_lite.data.formats.objects import DONT_CARE, Chooser, LabelledObject, checked_box, label_lines
from tao_lite.data.left_out import DOUBLE, NO_PICTURE, UNLABELLED, WRONG_LABEL, LeftOut
from tao_lite.errors import DataError
from tao_lite.files.noting import note

IMAGE_DIRS = ("image_2", "training/image_2", "images", "image")
MIN_HEIGHT_PIXELS = 16
LABEL_DIRS = ("label_2", "training/label_2", "labels", "label")

_log = logging.getLogger(__name__)


def read(root: Path, options: Options) -> list[Example]:
    """One example per labelled object that passes the filters of `options.kitti`, sorted by frame and line.

    Raises:
        DataError: there is no folder of images or of labels, or no object is left.
    """
    image_dir, label_dir = folders(root, options.kitti)
    if image_dir is None or label_dir is None:
        raise DataError(f"{options.name}: {root} has no {expected(options.kitti)}")
    images = _by_frame(image_dir, SUFFIXES, options.report)
    labels = _by_frame(label_dir, {"txt"}, options.report)
    for frame, image in images.items():
        if frame not in labels:
            options.report(str(image), f"has no label file {label_dir / frame}.txt", UNLABELLED)
    chooser = Chooser(options, min_height_pixels=MIN_HEIGHT_PIXELS)
    examples: list[Example] = []
    for frame, label in labels.items():
        if frame not in images:
            options.report(str(label), f"has no image {image_dir / frame}.*", NO_PICTURE)
            continue
        objects = read_labels(label, options.report)
        examples += chooser.examples(Example(images[frame], "", frame), objects)
    chooser.log_unmatched()
    if not examples and (hint := _yolo_instead(root, label_dir, list(labels.values()))):
        raise DataError(f"{options.name}: {label_dir} holds no KITTI labels; {hint}")
    if not examples:
        raise chooser.nothing_left(f"the {len(labels)} label files in {label_dir}")
    _log.info("%s: read %d objects of %d frames", label_dir, len(examples), len(labels))
    return examples


def folders(root: Path, kitti: KittiOptions) -> tuple[Path | None, Path | None]:
    """The folders of images and of labels below `root`; None for one that is not there."""

    def first(chosen: str, defaults: Iterable[str]) -> Path | None:
        candidates = [root / name for name in ([chosen] if chosen else defaults)]
        for candidate in candidates:
            note(candidate)
        return next((candidate for candidate in candidates if candidate.is_dir()), None)

    return first(kitti.image_dir, IMAGE_DIRS), first(kitti.label_dir, LABEL_DIRS)


def expected(kitti: KittiOptions) -> str:
    """The folders that are looked for, in words."""
    image_dirs = kitti.image_dir or ", ".join(IMAGE_DIRS)
    label_dirs = kitti.label_dir or ", ".join(LABEL_DIRS)
    return f"folder of images ({image_dirs}) with one of KITTI labels ({label_dirs})"


def read_labels(path: Path, report: LeftOut) -> list[LabelledObject]:
    """The objects of a label file in their order, DontCare among them. Lines of another format are reported."""
    lines = label_lines(path, report)
    if lines and lines[0].startswith("version https://git-lfs"):
        report(str(path), "a Git LFS pointer, not labels; fetch it with: git lfs pull")
        return []
    objects, problems = [], {}
    for number, line in enumerate(lines, 1):
        columns = line.split()
        try:
            if columns:
                objects.append(_parsed(f"{path}:{number}", columns))
        except ValueError as error:
            problems[number] = str(error)
    if len(problems) > 1 and not objects:
        first, problem = next(iter(problems.items()))
        report(str(path), f"none of its {len(problems)} lines is a KITTI label; line {first}: {problem}", WRONG_LABEL)
        return []
    for number, problem in problems.items():
        report(f"{path}:{number}", problem, WRONG_LABEL)
    return objects


def _by_frame(folder: Path, suffixes: Collection[str], report: LeftOut) -> dict[str, Path]:
    """The folder's files with one of the suffixes, by frame name (the file's name without suffix), sorted."""
    files: dict[str, Path] = {}
    try:
        paths = visible(folder)
    except OSError as error:
        raise DataError(f"{folder}: can't be listed ({error.strerror})") from error
    for path in paths:
        if path.suffix[1:].lower() not in suffixes:
            continue
        if not path.is_file():
            report(str(path), NO_FILE)
        elif path.stem in files:
            report(str(path), f"a second file for the frame of {files[path.stem].name}", DOUBLE)
        else:
            files[path.stem] = path
    return files


def _parsed(place: str, columns: list[str]) -> LabelledObject:
    """The object of one line.

    Raises:
        ValueError: it is no KITTI label; says why.
    """
    if words := _class_of_several_words(columns):
        raise ValueError(f"the class {words!r} has a blank, which parts columns; write {'_'.join(words.split())!r}")
    if len(columns) not in {15, 16}:
        raise ValueError(f"{len(columns)} columns, must be 15 or 16{_guess(columns)}")
    values = []
    for column, text in enumerate(columns[1:], 2):
        try:
            values.append(float(text))
        except ValueError:
            values.append(math.nan)
        if not math.isfinite(values[-1]):
            raise ValueError(f"column {column} is {text!r}, must be a number")
    left, top, right, bottom = values[3:7]
    found = LabelledObject(place, columns[0], (left, top, right, bottom), values[0], values[1])
    if found.name != DONT_CARE:
        if not (found.truncated == -1 or 0 <= found.truncated <= 1):
            raise ValueError(f"truncated (column 2) is {columns[1]}, must be 0 to 1, or -1")
        if found.occluded not in {-1, 0, 1, 2, 3}:
            raise ValueError(f"occluded (column 3) is {columns[2]}, must be 0, 1, 2 or 3, or -1")
        checked_box(found.box)
    return found


def _guess(columns: list[str]) -> str:
    """What a line with the wrong number of columns may be."""
    if len(columns) == 5 and columns[0].isdigit():
        return "; it looks like a YOLO label: give the data.yaml"
    if len(columns) in {17, 18} and columns[0].isdigit():
        return "; it looks like a KITTI tracking label, with frame and track in front"
    # Where lines run together, the last number of one and the name of the next are one column: 0.00Car
    run_together = any(re.fullmatch(r"-?[0-9.]+[A-Za-z]\w*", column) for column in columns)
    return "; line breaks are missing" if run_together else ""


def _yolo_instead(root: Path, label_dir: Path, labels: list[Path]) -> str:
    """What to give where the labels are YOLO's; empty where they are not."""
    looks = [line.split() for label in labels for line in label_lines(label, LeftOut(is_logged=False)) if line.strip()]
    if not looks and (labels or not any(label_dir.glob("*/*.txt"))):
        return ""
    if looks and not all(len(columns) >= 5 and columns[0].isdigit() for columns in looks):
        return ""
    beside = yolo_yaml.data_file(root) or yolo_yaml.data_file(root.parent)
    remedy = f"give {beside}" if beside else "write a data.yaml that names the classes and the folders, and give that"
    return f"it looks like a YOLO data set: {remedy}"


def _class_of_several_words(columns: list[str]) -> str:
    """The class of a label whose columns are right but for blanks in its class; empty if it is none."""
    num_words = next((place for place, text in enumerate(columns) if _is_number(text)), 0)
    return " ".join(columns[:num_words]) if num_words > 1 and len(columns) - num_words in {14, 15} else ""


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
