"""Examples written in formats whose pictures stay whole, with boxes beside them: KITTI, COCO and manifests."""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tao_lite.data.decode import decode
from tao_lite.data.frames import Frame, make_ready, mapped, put, told, whole
from tao_lite.data.left_out import LeftOut
from tao_lite.errors import DataError

_Box = tuple[int, int, int, int]


class _Picture(NamedTuple):
    """A picture that is written: the name of its file, its size, and what is in it."""

    name: str
    width: int
    height: int
    frame: Frame

    def boxes(self) -> Iterator[tuple[str, _Box]]:
        """Class and box of each example; that of a whole picture is as large as it."""
        for item in self.frame:
            yield item.example.label, item.example.box or (0, 0, self.width, self.height)


def write_kitti(root: Path, pictures: Sequence[Frame], class_names: Sequence[str], report: LeftOut) -> None:
    """Pictures in root/image_2 and a line for each object in root/label_2; a whole picture is one object.

    Raises:
        DataError: two classes would be one, for KITTI's have no blanks.
    """
    kitti_names(class_names)
    labels = root / "label_2"
    make_ready([labels])
    # The label file comes last: where it is, the picture is.
    missing = [frame for frame in pictures if not (labels / f"{frame[0].picture}.txt").exists()]
    for picture in _written(root / "image_2", missing, report):
        text = "".join(_kitti_line(*one) for one in picture.boxes())
        put(labels / f"{picture.frame[0].picture}.txt", text.encode("utf-8", "surrogateescape"))


def write_coco(root: Path, pictures: Sequence[Frame], class_names: Sequence[str], report: LeftOut) -> None:
    """Pictures in root/images, and root/instances.json; a whole picture is one box. Numbers begin with 1."""
    number_of = {name: number for number, name in enumerate(class_names, 1)}
    images, annotations = list[object](), list[object]()
    for number, picture in enumerate(_written(root / "images", pictures, report), 1):
        name, width, height, _ = picture
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for label, (left, top, right, bottom) in picture.boxes():
            sides = [left, top, right - left, bottom - top]
            one = {"id": len(annotations) + 1, "image_id": number, "category_id": number_of[label]}
            annotations.append({**one, "bbox": sides, "area": sides[2] * sides[3], "iscrowd": 0})
    categories = [{"id": number, "name": name} for name, number in number_of.items()]
    _put_if_new(
        root / "instances.json",
        _json_object({"images": images, "annotations": annotations, "categories": categories}),
    )


def write_manifest(root: Path, pictures: Sequence[Frame], class_names: Sequence[str], report: LeftOut) -> None:
    """Pictures in root/images, and root/manifest.jsonl with a line for each example; its weight where that is not 1."""
    written = _written(root / "images", pictures, report)
    _put_if_new(root / "manifest.jsonl", (_manifest_lines(picture) for picture in written))


def kitti_names(class_names: Collection[str]) -> dict[str, str]:
    """Each class as KITTI can name it: blanks part the columns of a label.

    Raises:
        DataError: two classes would get one name.
    """
    names = {name: _without_blanks(name) for name in class_names}
    if len(set(names.values())) < len(names) or "DontCare" in names.values():
        raise DataError(f"classes can't be named in KITTI labels: {', '.join(class_names)}; rename with class_mapping")
    return names


def _written(folder: Path, pictures: Sequence[Frame], report: LeftOut) -> Iterator[_Picture]:
    """The pictures, each once it is in the folder; what can't be decoded is reported and left out."""
    make_ready([folder])

    def write(frame: Frame) -> _Picture | None:
        first = frame[0].example
        try:
            suffix, content = whole(first)
            height, width, _ = decode(first.path, 3, first.span, first.full_scale).shape
        except DataError as error:
            told(report, frame, error)
            return None
        name = f"{frame[0].picture}.{suffix}"
        if not (folder / name).exists():
            put(folder / name, content)
        return _Picture(name, width, height, frame)

    return (picture for picture in mapped(write, pictures) if picture)


def _put_if_new(path: Path, parts: Iterator[bytes]) -> None:
    """The file, unless it is there; in either case all parts are made."""
    if path.exists():
        for _ in parts:
            pass
    else:
        put(path, parts)


def _json_object(lists: Mapping[str, Sequence[object]]) -> Iterator[bytes]:
    """The object as JSON, each item in a line of its own."""
    start = "{"
    for name, items in lists.items():
        yield f'{start}"{name}": ['.encode()
        for number, item in enumerate(items):
            yield f"{',' if number else ''}\n{json.dumps(item)}".encode()
        yield b"]"
        start = ",\n"
    yield b"}\n"


def _manifest_lines(picture: _Picture) -> bytes:
    lines = []
    for example in (item.example for item in picture.frame):
        sides = dict(zip(("left", "top", "right", "bottom"), example.box or (), strict=False))
        weight = {} if example.weight == 1 else {"weight": example.weight}
        row = {"path": f"images/{picture.name}", "label": example.label, **sides, "group": example.group, **weight}
        lines.append(f"{json.dumps(row)}\n")
    return "".join(lines).encode()


def _kitti_line(name: str, box: _Box) -> str:
    sides = " ".join(f"{side:.2f}" for side in box)
    return f"{_without_blanks(name)} 0.00 0 -10 {sides} -1 -1 -1 -1000 -1000 -1000 -10\n"


def _without_blanks(name: str) -> str:
    return re.sub(r"\s+", "_", name)
