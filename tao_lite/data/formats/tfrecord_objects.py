"""Records with labelled boxes: their objects, and the picture of those that hold none."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from tao_lite.data.formats.class_names import Names, usable
from tao_lite.data.formats.listing import SUFFIXES, visible
from tao_lite.data.formats.objects import LabelledObject, checked_box
from tao_lite.data.formats.tfrecord_example import Feature
from tao_lite.data.left_out import WRONG_LABEL, LeftOut
from tao_lite.files.noting import note

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_TAO_SIDES = ("x1", "y1", "x2", "y2")

Record = Mapping[str, Feature]


class Pictures:
    """The pictures of records that hold none, by frame/id: a path without suffix below one of the folders."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = list(folders)
        self._listed: dict[Path, dict[str, Path]] = {}

    def find(self, frame_id: str) -> Path:
        """The picture of that name.

        Raises:
            ValueError: there is none, or the name leads out of the folder.
        """
        name = PurePosixPath(frame_id)
        if name.is_absolute() or ".." in name.parts or not name.name:
            raise ValueError(f"frame/id is {frame_id!r}, must be a path below the folder of pictures")
        for folder in self._folders:
            for relative in (name, PurePosixPath(name.name)):
                if path := self._pictures_in(folder / relative.parent).get(relative.name):
                    return path
        places = " or ".join(f"{folder / name}.*" for folder in self._folders)
        raise ValueError(f"holds no picture, and there is no {places}; set dataset_config.tfrecord.image_dir")

    def _pictures_in(self, folder: Path) -> dict[str, Path]:
        if folder not in self._listed:
            note(folder)
            files = visible(folder) if folder.is_dir() else []
            pictures = [path for path in files if path.suffix[1:].lower() in SUFFIXES]
            self._listed[folder] = {path.stem: path for path in pictures} | {path.name: path for path in pictures}
        return self._listed[folder]


def detected(record: Record, place: str, names: Names, report: LeftOut) -> list[LabelledObject]:
    """The objects of a record of TensorFlow Object Detection; boxes relative. Crowds and groups are left out.

    Raises:
        ValueError: its lists don't fit each other.
    """
    boxes = _boxes(record, [f"image/object/bbox/{side}" for side in _SIDES])
    classes = _classes(record, "image/object/class/text", "image/object/class/label", len(boxes), names)
    is_crowd, is_group = (_optional(record, f"image/object/{name}", len(boxes), 0) for name in ("is_crowd", "group_of"))
    objects = [
        LabelledObject(place, name, box)
        for name, box, *many in zip(classes, boxes, is_crowd, is_group, strict=True)
        if not any(many)
    ]
    return _with_good_boxes(objects, report, relative=True)


def labelled_by_tao(record: Record, place: str, names: Names, report: LeftOut) -> list[LabelledObject]:
    """The objects of a record that TAO's dataset_convert wrote; boxes relative where the record holds the picture.

    Raises:
        ValueError: its lists don't fit each other.
    """
    boxes = _boxes(record, [f"target/coordinates_{side}" for side in _TAO_SIDES])
    classes = _classes(record, "target/object_class", "target/object_class_id", len(boxes), names)
    truncated = _optional(record, "target/truncation", len(boxes), -1)
    occluded = _optional(record, "target/occlusion", len(boxes), -1)
    objects = [LabelledObject(place, *rest) for rest in zip(classes, boxes, truncated, occluded, strict=True)]
    return _with_good_boxes(objects, report, relative="frame/encoded" in record)


def one(record: Record, key: str) -> str:
    """The first text of a feature; empty if it has none.

    Raises:
        ValueError: it is no text.
    """
    try:
        return (record[key].texts() or [""])[0]
    except UnicodeDecodeError:
        raise ValueError(f"{key} is no UTF-8 text") from None


def clean(name: str) -> str:
    """The name of a class without blanks around it.

    Raises:
        ValueError: it can't be shown.
    """
    if not name.strip():
        raise ValueError(f"the name of its class is {name!r}, must be readable text")
    return usable(name.strip())


def _boxes(record: Record, keys: Sequence[str]) -> list[tuple[float, float, float, float]]:
    columns = [record[key].floats() if key in record else [] for key in keys]
    if len(set(map(len, columns))) != 1:
        counts = ", ".join(f"{len(column)} x {key}" for key, column in zip(keys, columns, strict=True))
        raise ValueError(f"its boxes are incomplete: {counts}")
    return [(left, top, right, bottom) for left, top, right, bottom in zip(*columns, strict=True)]


def _classes(record: Record, texts: str, numbers: str, count: int, names: Names) -> list[str]:
    found = record[texts].texts() if texts in record else []
    if (len(found) != count or not all(found)) and numbers in record:
        found = [names.of(int(number)) for number in record[numbers].floats()]
    if len(found) != count:
        raise ValueError(f"has {count} boxes and {len(found)} classes")
    return [clean(name) for name in found]


def _optional(record: Record, key: str, count: int, default: float) -> list[float]:
    """The numbers of a list that need not be there; where it is not of one for each box, the default for all."""
    values = record[key].floats() if key in record else []
    return values if len(values) == count else [default] * count


def _with_good_boxes(objects: Iterable[LabelledObject], report: LeftOut, *, relative: bool) -> list[LabelledObject]:
    good = []
    for found in objects:
        try:
            checked_box(found.box, relative=relative)
            good.append(found)
        except ValueError as error:
            report(found.place, str(error), WRONG_LABEL)
    return good
