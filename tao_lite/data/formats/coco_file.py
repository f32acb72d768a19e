"""Where a COCO data set has its JSON files of instances, and what is in one: boxes as columns, masks passed over."""

import itertools
import logging
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tao_lite.data.example import Options, Split
from tao_lite.data.formats import split_folders
from tao_lite.data.formats.inside import Inside
from tao_lite.data.left_out import WRONG_LABEL, LeftOut
from tao_lite.errors import DataError, ReadError, brief, listed
from tao_lite.files import json_stream
from tao_lite.spec.paths import ANNOTATIONS, data_folder

_MEMBERS = ("images", "annotations", "categories")
_FIRST_MEMBERS = {*_MEMBERS, "info", "licenses"}
_ROBOFLOW = "_annotations.coco.json"
_KIND = re.compile(r"(instances|labels|annotations|coco)[_-]?|[_-](instances|labels|annotations|coco)$")
_MAX_TRIED = 20
_MAX_ID = 2**63 - 1

ANNOTATION = np.dtype([("id", "<i8"), ("image", "<i8"), ("category", "<i8"), ("box", "<f8", 4)])
"""Its box is x, y, width and height."""
_PACKED = struct.Struct("<3q4d")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Instances:
    """What a JSON file says."""

    images: dict[int, str] = field(default_factory=dict)
    """Names of the files."""
    categories: dict[int, str] = field(default_factory=dict)
    annotations: bytearray = field(default_factory=bytearray)
    """Those that are no crowds, as ANNOTATION has them: millions of objects of Python would take gigabytes."""
    crowds: dict[int, int] = field(default_factory=dict)
    """How many there are of each category."""


def load(path: Path, report: LeftOut) -> Instances:
    """What the file says; annotations that can't be used are reported.

    Raises:
        DataError: it is no COCO file of instances, or an image or a category has the number of another.
        ReadError: it can't be read now.
    """
    found, members = Instances(), set[str]()
    for item in json_stream.items(path, DataError):
        members.add(item.member)
        if item.member == "annotations":
            _add_annotation(found, item, path, report)
        elif item.member in _MEMBERS:
            names, key = (found.images, "file_name") if item.member == "images" else (found.categories, "name")
            _add_name(names, item, key, path)
    if missing := [member for member in _MEMBERS if member not in members]:
        raise DataError(f"{path}: has no {' and no '.join(missing)}; it has {listed(sorted(members)) or 'nothing'}")
    boxes = np.frombuffer(found.annotations, ANNOTATION)["box"]
    if len(boxes) and boxes.max() <= 1:
        raise DataError(f"{path}: its boxes look like shares of the picture; COCO's are in pixels")
    return found


def names_in_order(found: Instances) -> tuple[str, ...]:
    """The names of the categories in the order of the file."""
    return tuple(dict.fromkeys(found.categories.values()))


def files_at(root: Path) -> list[Path]:
    """The JSON files of instances that `root` is, holds, or holds in the folders annotations, train, valid, ...

    Of a folder with some that are called instances, those.
    """
    if not root.is_dir():
        return [root] if root.suffix.lower() == ".json" and root.is_file() and _is_coco(root) else []
    nearby = [*root.glob("*.json"), *root.glob(f"{ANNOTATIONS}/*.json")]
    tried = [*sorted(nearby)[:_MAX_TRIED], *sorted(root.glob(f"*/{_ROBOFLOW}"))[:_MAX_TRIED]]
    found = [path for path in tried if path.is_file() and path.name[0] != "." and _is_coco(path)]
    return [path for path in found if path.name.startswith("instances")] or found


def split_names(root: Path) -> list[Split]:
    """The splits for which there is a file; none where there is one file only."""
    files = files_at(root)
    found = {_split(path) for path in files} if len(files) > 1 else set()
    return [split for split in split_folders.ALIASES if split in found]


def file_at(root: Path, options: Options) -> Path:
    """The file of the split that the options ask for; for a test split that has none, that of val.

    Raises:
        DataError: there is none, or there are several.
    """
    files = [root] if root.is_file() else files_at(root)
    if not files:
        raise DataError(f"{options.name}: {root} holds no JSON file of COCO instances")
    if len(files) == 1:
        return files[0]
    fitting = [path for path in files if _split(path) == options.split]
    if not fitting and options.split == "test":
        fitting = [path for path in files if _split(path) == "val"]
        _log.info("%s: has no file for test; took that for val", root)
    if len(fitting) == 1:
        return fitting[0]
    raise DataError(
        f"{options.name}: {root} holds several COCO files and not one for {options.split}; "
        f"give one of them: {listed(map(str, files))}"
    )


def pictures(path: Path, found: Instances, options: Options) -> Inside:
    """The folder below which the files of the images are.

    Raises:
        DataError: none of the first images is where they may be.
    """
    above = data_folder(path)
    if options.coco_image_dir:
        candidates = [Path(os.path.normpath(above / options.coco_image_dir))]
    else:
        own = _KIND.sub("", path.stem)
        folders = [above / name for name in (own, f"images/{own}", "", "images", "data")]
        candidates = list(dict.fromkeys([*folders, path.parent]))
    first = list(found.images.values())[:_MAX_TRIED]
    for inside in map(Inside, candidates):
        if any(map(inside.holds, first)):
            return inside
    raise DataError(
        f"{options.name}: none of the first {len(first)} images that {path} names is there, such as {brief(first[0])}; "
        f"looked in {listed(map(str, candidates))}; set dataset_config.coco_image_dir to the folder they are in"
    )


def _is_coco(path: Path) -> bool:
    """Whether its object has one of COCO's members near its beginning."""
    try:
        first = itertools.islice(json_stream.items(path, DataError), _MAX_TRIED)
        return any(item.member in _FIRST_MEMBERS for item in first)
    except DataError:
        return False
    except ReadError as error:
        _log.warning("%s; passed over", error)
        return False


def _split(path: Path) -> Split | None:
    return split_folders.role(path.parent.name if path.name == _ROBOFLOW else _KIND.sub("", path.stem))


def _add_name(names: dict[int, str], item: json_stream.Item, key: str, path: Path) -> None:
    value, place = _members_of(item, path), f"{path}: {item.member}[{item.number}]"
    number, name = _whole(value.get("id")), value.get(key)
    if number is None or not isinstance(name, str) or not name:
        raise DataError(f'{place}: must have an "id", a whole number, and a "{key}"; found {brief(value)}')
    if number in names:
        raise DataError(
            f"{place}: id {number} is that of {brief(names[number])} and of {brief(name)}, so that nothing says which "
            "of them an annotation is about; number them anew"
        )
    names[number] = name


def _add_annotation(found: Instances, item: json_stream.Item, path: Path, report: LeftOut) -> None:
    value = _members_of(item, path)
    ids = [_whole(value.get(name)) for name in ("id", "image_id", "category_id")]
    number, image, category = ids
    place = annotation(path, number) if number is not None else f"{path}: {item.member}[{item.number}]"
    box = value.get("bbox")
    if number is None or image is None or category is None:
        report(place, "its id, image_id and category_id must be whole numbers", WRONG_LABEL)
    elif value.get("iscrowd"):
        found.crowds[category] = found.crowds.get(category, 0) + 1
    elif not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
        report(place, f"its bbox is {brief(box)}, must be [x, y, width, height]", WRONG_LABEL)
    else:
        found.annotations.extend(_PACKED.pack(number, image, category, *box))


def annotation(path: Path, number: int) -> str:
    """How messages call an annotation."""
    return f"{path}: annotation {number}"


def _members_of(item: json_stream.Item, path: Path) -> Mapping[str, Any]:
    if not isinstance(item.value, dict):
        raise DataError(f"{path}: {item.member}[{item.number}]: is {brief(item.value)}, must be an object")
    return item.value


def _is_number(value: object) -> bool:
    """Whether it is one that a float can hold."""
    return isinstance(value, float) or (type(value) is int and abs(value) <= _MAX_ID)


def _whole(value: object) -> int | None:
    """The number that an id is, which some programs write as 7.0; None if it is none."""
    is_whole = type(value) is int or (isinstance(value, float) and value.is_integer())
    return int(value) if is_whole and abs(value) <= _MAX_ID else None  # type: ignore[arg-type,call-overload]
