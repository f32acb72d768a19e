"""COCO: a JSON file of instances and a folder of pictures; every box that passes the filters is one example."""

import logging
import os
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tao_lite.data.example import Example, Options
from tao_lite.data.formats.coco_file import (
    ANNOTATION,
    Instances,
    annotation,
    file_at,
    files_at,
    load,
    names_in_order,
    pictures,
    split_names,
)
from tao_lite.data.formats.objects import Chooser, LabelledObject, checked_box, renamed
from tao_lite.data.left_out import CROWD, DOUBLE_ID, NO_OBJECTS, NO_PICTURE, WRONG_LABEL, LeftOut
from tao_lite.files.noting import stamp

__all__ = ["class_names", "is_at", "read", "split_names"]

Annotations = npt.NDArray[np.void]
"""Of the type ANNOTATION."""

_NUM_AT_ONCE = 65536

_log = logging.getLogger(__name__)


def read(root: Path, options: Options) -> list[Example]:
    """One example per box that passes the filters of `options.kitti`, of the split in `options.split`, by picture.

    Pictures come in the order of the file. The group of a picture is its name in the file without suffix.

    Raises:
        DataError: there is no file of instances, it or the folder of pictures can't be used, or no box is left.
    """
    path = file_at(root, options)
    found = load(path, options.report)
    _known_names[path] = stamp(path), names_in_order(found)
    num_images = len(found.images)
    chooser = Chooser(options)
    for category, number in found.crowds.items():
        name = found.categories.get(category, "")
        options.report.count(CROWD, options.kitti.class_mapping.get(name, name), str(path), number=number)
    examples = _Reader(path, found, chooser, options).examples()
    chooser.log_unmatched(names_in_order(found))
    if not examples:
        raise chooser.nothing_left(f"the annotations of {path}")
    _log.info("%s: read %d boxes of %d images", path, len(examples), num_images)
    return examples


def is_at(root: Path) -> bool:
    """Whether `root` is a JSON file of COCO's, or holds one."""
    return bool(files_at(root))


# Categories stand at the end of files that may be of gigabytes.
_known_names: dict[Path, tuple[int, tuple[str, ...]]] = {}


def class_names(root: Path, options: Options, labels: Collection[str]) -> tuple[str, ...]:
    """The classes in the order of the categories, all of them.

    Raises:
        DataError: the file can't be read.
    """
    path = file_at(root, options)
    known, names = _known_names.get(path, (None, ()))
    if known != stamp(path):
        names = names_in_order(load(path, LeftOut(is_logged=False)))
    return renamed(names, labels, options.kitti)


class _Reader:
    """Makes examples of what a file says, and uses that up."""

    def __init__(self, path: Path, found: Instances, chooser: Chooser, options: Options) -> None:
        self._path, self._found, self._chooser, self._report = path, found, chooser, options.report
        self._inside = pictures(path, found, options)

    def examples(self) -> list[Example]:
        examples: list[Example] = []
        rows, counts = self._last_image_first()
        end = len(rows)
        for image, count in zip(list(self._found.images), counts.tolist(), strict=True):
            name = self._found.images.pop(image)
            if not count:
                self._report.count(NO_OBJECTS, place=name)
                continue
            examples += self._of_image(image, name, rows[end - count : end])
            end -= count
            if len(rows) - end > _NUM_AT_ONCE:
                rows.resize(end, refcheck=False)  # what is done makes room for its examples
        return examples

    def _last_image_first(self) -> tuple[Annotations, npt.NDArray[np.int64]]:
        """The usable annotations, those of an image in their order; and how many each image of the file has."""
        found = np.frombuffer(self._found.annotations, ANNOTATION)
        images = np.fromiter(self._found.images, np.int64)
        order = np.argsort(images)
        places = order[np.searchsorted(images, found["image"], sorter=order) % len(images)]
        is_known = images[places] == found["image"]
        is_first = np.zeros(len(found), np.bool_)
        is_first[np.unique(found["id"], return_index=True)[1]] = True
        self._report_unusable(found[~is_known], found[is_known & ~is_first])
        kept = np.flatnonzero(is_known & is_first)
        rows = found[kept[np.argsort(-places[kept], kind="stable")]]
        del found
        self._found.annotations.clear()
        return rows, np.bincount(places[kept], minlength=len(images))

    def _report_unusable(self, strays: Annotations, doubles: Annotations) -> None:
        for number, image, *_ in strays.tolist():
            problem = f"is of image {image}, which is not among the images"
            self._report(annotation(self._path, number), problem, NO_PICTURE)
        for number, *_ in doubles.tolist():
            self._report(annotation(self._path, number), "another one has this id", DOUBLE_ID)

    def _of_image(self, image: int, name: str, rows: Annotations) -> list[Example]:
        objects = list(self._objects(rows))
        try:
            picture = self._inside.path(name)
        except ValueError as error:
            self._report(f"{self._path}: image {image}", f"file_name {error}", WRONG_LABEL, [""] * len(objects))
            return []
        group = os.path.splitext(name)[0]  # noqa: PTH122 - a text
        return self._chooser.examples(Example(picture, "", group), objects)

    def _objects(self, rows: Annotations) -> Iterator[LabelledObject]:
        for number, _, category, (x, y, width, height) in rows.tolist():
            place = annotation(self._path, number)
            try:
                if category not in self._found.categories:
                    raise ValueError(f"is of category {category}, which is not among the categories")
                box = checked_box((x, y, x + width, y + height))
                yield LabelledObject(place, self._found.categories[category], box)
            except ValueError as error:
                self._report(place, str(error), WRONG_LABEL)
