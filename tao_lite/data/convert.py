"""Examples written as another format: TARGETS. Whole pictures keep their bytes, cut-out ones become PNG, without loss.

Every file appears under its name when it is complete, so that what is there after an interruption can stay.
"""

import io
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from PIL import Image

from tao_lite.data.decode import decode, header, picture_bytes
from tao_lite.data.example import Example
from tao_lite.data.formats.tfrecord_example import encoded
from tao_lite.data.formats.tfrecord_file import framed
from tao_lite.data.left_out import LeftOut
from tao_lite.errors import DataError
from tao_lite.files.writing import new_file, remove_dead
from tao_lite.machine.host import usable_cores

EXAMPLES_PER_SHARD = 1024
PNG_LEVEL = 3
"""Of 9: half the time of Pillow's 6 for files 3 % larger (object crops of KITTI)."""

_SUFFIXES = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif"}
_NUM_AT_ONCE = 256

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Item:
    """An example, the name of its file, and the name its picture has where that is written whole.

    Names begin with a number, so that they sort as examples do.
    """

    example: Example
    name: str
    picture: str


Frame = Sequence[Item]
"""The items of one picture."""


def frames(examples: Sequence[Example]) -> list[Frame]:
    """The examples picture by picture, named after their picture and in their order."""
    found: list[Frame] = []
    number = 0
    for _, group in groupby(examples, key=lambda example: example.path):
        members = list(group)
        stem = re.sub(r"[^A-Za-z0-9-]+", "_", Path(members[0].group).stem)[-60:]
        names = [f"{number + place:06d}_{stem}" for place in range(len(members))]
        found.append([Item(example, name, names[0]) for example, name in zip(members, names, strict=True)])
        number += len(members)
    return found


def write_image_folder(root: Path, pictures: Sequence[Frame], class_names: Sequence[str], report: LeftOut) -> None:
    """root/class/number_name.suffix for each example.

    Raises:
        DataError: a class can't be the name of a folder.
    """
    for name in class_names:
        if name != Path(name).name or name.startswith("."):
            raise DataError(f"the class {name!r} can't be the name of a folder; rename it with class_mapping")
    folders = {root / item.example.label for frame in pictures for item in frame}
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    _remove_dead(folders)
    done = {path.stem for folder in folders for path in folder.iterdir()}

    def write(frame: Frame) -> None:
        for item, suffix, content in _contents([item for item in frame if item.name not in done], report):
            _put(root / item.example.label / f"{item.name}.{suffix}", content)

    _for_each(write, pictures)


def write_kitti(root: Path, pictures: Sequence[Frame], class_names: Sequence[str], report: LeftOut) -> None:
    """Pictures in root/image_2 and a line for each object in root/label_2; a whole picture is one object.

    Raises:
        DataError: two classes would be one, for KITTI's have no blanks.
    """
    kitti_names(class_names)
    for name in ("image_2", "label_2"):
        (root / name).mkdir(parents=True, exist_ok=True)
    _remove_dead([root / "image_2", root / "label_2"])

    def write(frame: Frame) -> None:
        first = frame[0].example
        label = root / "label_2" / f"{frame[0].picture}.txt"
        if label.exists():
            return
        try:
            suffix, content = _whole(first)
            height, width, _ = decode(first.path, 3, first.span, first.full_scale).shape
        except DataError as error:
            _report(report, frame, error)
            return
        _put(root / "image_2" / f"{frame[0].picture}.{suffix}", content)
        boxes = [(item.example.label, item.example.box or (0, 0, width, height)) for item in frame]
        # The label file comes last: where it is, the picture is.
        _put(label, "".join(_kitti_line(name, box) for name, box in boxes).encode("utf-8", "surrogateescape"))

    _for_each(write, pictures)


def write_tfrecord(root: Path, pictures: Sequence[Frame], class_names: Sequence[str], report: LeftOut) -> None:
    """Shards of classification records, root/part-00000-of-00003.tfrecord; a record for each example."""
    root.mkdir(parents=True, exist_ok=True)
    _remove_dead([root])
    index_of = {name: index for index, name in enumerate(class_names)}
    items = [item for frame in pictures for item in frame]
    shards = [items[start : start + EXAMPLES_PER_SHARD] for start in range(0, len(items), EXAMPLES_PER_SHARD)]
    for number, shard in enumerate(shards):
        path = root / f"part-{number:05d}-of-{len(shards):05d}.tfrecord"
        if path.exists():
            continue
        parts = [tuple(group) for _, group in groupby(shard, key=lambda item: item.example.path)]
        records = _mapped(lambda frame: list(_contents(frame, report)), parts)
        _put(path, (_record(*one, index_of) for contents in records for one in contents))


def kitti_names(class_names: Collection[str]) -> dict[str, str]:
    """Each class as KITTI can name it: blanks part the columns of a label.

    Raises:
        DataError: two classes would get one name.
    """
    names = {name: _without_blanks(name) for name in class_names}
    if len(set(names.values())) < len(names) or "DontCare" in names.values():
        raise DataError(f"classes can't be named in KITTI labels: {', '.join(class_names)}; rename with class_mapping")
    return names


TARGETS: Mapping[str, Callable[[Path, Sequence[Frame], Sequence[str], LeftOut], None]] = {
    "image_folder": write_image_folder,
    "kitti": write_kitti,
    "tfrecord": write_tfrecord,
}


def _contents(frame: Frame, report: LeftOut) -> Iterator[tuple[Item, str, bytes]]:
    """Each item with the suffix and the bytes of its picture; what can't be decoded is reported and left out."""
    if not frame:
        return
    first = frame[0].example
    try:
        suffix, content = _whole(first) if first.box is None else ("", b"")
        pixels = decode(first.path, 3, first.span, first.full_scale)
    except DataError as error:
        _report(report, frame, error)
        return
    for item in frame:
        if item.example.box is None:
            yield item, suffix, content
            continue
        left, top, right, bottom = item.example.box
        file = io.BytesIO()
        Image.fromarray(pixels[top:bottom, left:right]).save(file, "PNG", compress_level=PNG_LEVEL)
        yield item, "png", file.getvalue()


def _whole(example: Example) -> tuple[str, bytes]:
    """Suffix, by the content, and bytes of the whole picture."""
    form = header(example.path, example.span).format
    return _SUFFIXES.get(form, form.lower()), picture_bytes(example.path, example.span)


def _record(item: Item, suffix: str, content: bytes, index_of: Mapping[str, int]) -> bytes:
    label = item.example.label
    return framed(
        encoded(
            {
                "image/encoded": [content],
                "image/format": [suffix.encode()],
                "image/class/label": [index_of[label]],
                "image/class/text": [os.fsencode(label)],
                "image/filename": [os.fsencode(f"{item.name}.{suffix}")],
                "image/source_id": [os.fsencode(item.picture)],
            }
        )
    )


def _kitti_line(name: str, box: tuple[int, int, int, int]) -> str:
    sides = " ".join(f"{side:.2f}" for side in box)
    return f"{_without_blanks(name)} 0.00 0 -10 {sides} -1 -1 -1 -1000 -1000 -1000 -10\n"


def _without_blanks(name: str) -> str:
    return re.sub(r"\s+", "_", name)


def _report(report: LeftOut, frame: Frame, error: DataError) -> None:
    path, labels = frame[0].example.path, [item.example.label for item in frame]
    report(str(path), str(error).removeprefix(f"{path}: "), labels=labels)


def _put(path: Path, content: bytes | Iterator[bytes]) -> None:
    """The file, complete or not there; not forced to the disk, for what was written is read again afterwards."""
    with new_file(path, is_synced=False) as file:
        for part in [content] if isinstance(content, bytes) else content:
            file.write(part)


def _remove_dead(folders: Iterable[Path]) -> None:
    for folder in folders:
        remove_dead(folder)


def _for_each(write: Callable[[Frame], None], pictures: Sequence[Frame]) -> None:
    for _ in _mapped(write, pictures):
        pass


def _mapped(function: Callable[[Frame], T], pictures: Sequence[Frame]) -> Iterator[T]:
    """As map, by several threads, a part after the other."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        for start in range(0, len(pictures), _NUM_AT_ONCE):
            yield from pool.map(function, pictures[start : start + _NUM_AT_ONCE])
