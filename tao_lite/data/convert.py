"""Examples written as another format: TARGETS. Whole pictures keep their bytes, objects cut out become PNG."""

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from PIL import Image

from tao_lite.data.convert_whole import write_coco, write_kitti, write_manifest
from tao_lite.data.decode import decode
from tao_lite.data.example import Example
from tao_lite.data.formats import shard_index as shards
from tao_lite.data.formats.tfrecord_example import encoded
from tao_lite.data.formats.tfrecord_file import framed
from tao_lite.data.formats.webdataset import CLASS_NAMES
from tao_lite.data.frames import Frame, Item, make_ready, mapped, put, told, whole
from tao_lite.data.left_out import LeftOut
from tao_lite.errors import DataError
from tao_lite.files import reading
from tao_lite.files.writing import csv_text

EXAMPLES_PER_SHARD = 1024
PNG_LEVEL = 3
"""Of 9: half the time of Pillow's 6 for files 3 % larger (object crops of KITTI)."""


LABELS = "labels.csv"
"""Of several tasks."""

# KITTI's 3 is unknown.
_OCCLUSION: Mapping[float, str] = {0: "visible", 1: "partly", 2: "largely"}


def write_image_folder(root: Path, pictures: Sequence[Frame], class_names: Sequence[str], report: LeftOut) -> None:
    """root/class/number_name.suffix for each example.

    Raises:
        DataError: a class can't be the name of a folder.
    """
    for name in class_names:
        if name != Path(name).name or name.startswith("."):
            raise DataError(f"the class {name!r} can't be the name of a folder; rename it with class_mapping")
    _put_each(pictures, lambda example: root / example.label, report)


def write_tfrecord(root: Path, pictures: Sequence[Frame], class_names: Sequence[str], report: LeftOut) -> None:
    """Shards of classification records, root/part-00000-of-00003.tfrecord; a record for each example."""
    make_ready([root])
    index_of = {name: index for index, name in enumerate(class_names)}
    items = [item for frame in pictures for item in frame]
    shards = [items[start : start + EXAMPLES_PER_SHARD] for start in range(0, len(items), EXAMPLES_PER_SHARD)]
    for number, shard in enumerate(shards):
        path = root / f"part-{number:05d}-of-{len(shards):05d}.tfrecord"
        if path.exists():
            continue
        records = mapped(lambda frame: list(_contents(frame, report)), _by_picture(shard))
        put(path, (_record(*one, index_of) for contents in records for one in contents))


def write_webdataset(root: Path, pictures: Sequence[Frame], class_names: Sequence[str], report: LeftOut) -> None:
    """Shards root/shard-000000.tar, each with its index, and root/classnames.txt; a sample for each example."""
    make_ready([root])
    names = root / CLASS_NAMES
    if not names.exists():
        put(names, "".join(f"{name}\n" for name in class_names).encode("utf-8", "surrogateescape"))
    index_of = {name: index for index, name in enumerate(class_names)}
    items = [item for frame in pictures for item in frame]
    for start in range(0, len(items), EXAMPLES_PER_SHARD):
        path = root / f"shard-{start // EXAMPLES_PER_SHARD:06d}.tar"
        if not path.exists():
            shard = items[start : start + EXAMPLES_PER_SHARD]
            contents = mapped(lambda frame: list(_contents(frame, report)), _by_picture(shard))
            put(path, shards.written(_files(one, index_of) for content in contents for one in content))
        index = path.with_name(shards.index_name(path.name))
        if not index.exists():
            with reading.open_regular(path, DataError) as file:
                put(index, shards.scan(path, file).to_text().encode())


def _files(content: tuple[Item, str, bytes], index_of: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """The files of a sample: its class, its picture and, of an object, to which picture it belongs."""
    item, suffix, picture = content
    yield f"{item.name}.cls", str(index_of[item.example.label]).encode()
    yield f"{item.name}.{suffix}", picture
    if item.name != item.picture or item.example.box is not None:
        yield f"{item.name}.json", json.dumps({"group": item.picture}).encode()


def write_multitask(root: Path, pictures: Sequence[Frame], _: Sequence[str], report: LeftOut) -> None:
    """root/images/number_name.suffix for each example, and root/labels.csv with its type and, of objects, occlusion."""
    folder = root / "images"
    make_ready([root, folder])
    _put_each(pictures, lambda _: folder, report)
    names = {path.stem: path.name for path in folder.iterdir()}
    rows = [
        (f"{folder.name}/{names[item.name]}", task_labels(item.example))
        for frame in pictures
        for item in frame
        if item.name in names
    ]
    tasks = sorted({task for _, labels in rows for task in labels})
    cells = [[name, *(labels.get(task, "") for task in tasks)] for name, labels in rows]
    put(root / LABELS, csv_text([["fname", *tasks], *cells]).encode("utf-8", "surrogateescape"))


def task_labels(example: Example) -> dict[str, str]:
    """The class of an example in each task that is known of it."""
    state = _OCCLUSION.get(example.occluded)
    return {"type": example.label, **({"occlusion": state} if state else {})}


TARGETS: Mapping[str, Callable[[Path, Sequence[Frame], Sequence[str], LeftOut], None]] = {
    "image_folder": write_image_folder,
    "kitti": write_kitti,
    "tfrecord": write_tfrecord,
    "coco": write_coco,
    "manifest": write_manifest,
    "multitask": write_multitask,
    "webdataset": write_webdataset,
}


def _by_picture(items: Sequence[Item]) -> list[Frame]:
    return [tuple(group) for _, group in groupby(items, key=lambda item: item.example.path)]


def _put_each(pictures: Sequence[Frame], folder_of: Callable[[Example], Path], report: LeftOut) -> None:
    """A file for each example in its folder; what is there already stays."""
    folders = {folder_of(item.example) for frame in pictures for item in frame}
    make_ready(folders)
    done = {path.stem for folder in folders for path in folder.iterdir()}

    def write(frame: Frame) -> None:
        for item, suffix, content in _contents([item for item in frame if item.name not in done], report):
            put(folder_of(item.example) / f"{item.name}.{suffix}", content)

    for _ in mapped(write, pictures):
        pass


def _contents(frame: Frame, report: LeftOut) -> Iterator[tuple[Item, str, bytes]]:
    """Each item with the suffix and the bytes of its picture; what can't be decoded is reported and left out."""
    if not frame:
        return
    first = frame[0].example
    try:
        suffix, content = whole(first) if first.box is None else ("", b"")
        pixels = decode(first.path, 3, first.span, first.full_scale)
    except DataError as error:
        told(report, frame, error)
        return
    for item in frame:
        if item.example.box is None:
            yield item, suffix, content
            continue
        left, top, right, bottom = item.example.box
        file = io.BytesIO()
        Image.fromarray(pixels[top:bottom, left:right]).save(file, "PNG", compress_level=PNG_LEVEL)
        yield item, "png", file.getvalue()


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
