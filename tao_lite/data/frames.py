"""The pictures of examples on their way to another format: named, and written by several threads.

Every file appears under its name when it is complete, so that what is there after an interruption can stay.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from tao_lite.data.decode import header, picture_bytes
from tao_lite.data.example import Example
from tao_lite.data.left_out import LeftOut
from tao_lite.errors import DataError
from tao_lite.files.writing import new_file, remove_dead
from tao_lite.machine.host import usable_cores

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


def whole(example: Example) -> tuple[str, bytes]:
    """Suffix, by the content, and bytes of the whole picture."""
    form = header(example.path, example.span).format
    return _SUFFIXES.get(form, form.lower()), picture_bytes(example.path, example.span)


def told(report: LeftOut, frame: Frame, error: DataError) -> None:
    """Report that the picture can't be decoded."""
    path, labels = frame[0].example.path, [item.example.label for item in frame]
    report(str(path), str(error).removeprefix(f"{path}: "), labels=labels)


def put(path: Path, content: bytes | Iterator[bytes]) -> None:
    """The file, complete or not there; not forced to the disk, for what was written is read again afterwards."""
    with new_file(path, is_synced=False) as file:
        for part in [content] if isinstance(content, bytes) else content:
            file.write(part)


def make_ready(folders: Iterable[Path]) -> None:
    """The folders, without what writers that were killed have left in them."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        remove_dead(folder)


def mapped(function: Callable[[Frame], T], pictures: Sequence[Frame]) -> Iterator[T]:
    """As map, by several threads, a part after the other."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        for start in range(0, len(pictures), _NUM_AT_ONCE):
            yield from pool.map(function, pictures[start : start + _NUM_AT_ONCE])
