"""FORMATS: the layouts of a data set on disk that can be read. A new one is a file with `read` and a row here."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from tao_lite.data.example import Example, Options, Split
from tao_lite.data.formats import (
    coco,
    image_folder,
    kitti,
    listing,
    manifest,
    multitask,
    split_folders,
    tfrecord,
    webdataset,
    yolo,
)
from tao_lite.errors import DataError

Reader = Callable[[Path, Options], Sequence[Example]]

# By the names of DatasetFormat in proto/classification.proto.
FORMATS: Mapping[str, Reader] = {
    "IMAGE_FOLDER": image_folder.read,
    "KITTI": kitti.read,
    "TFRECORD": tfrecord.read,
    "YOLO": yolo.read,
    "COCO": coco.read,
    "MANIFEST": manifest.read,
    "MULTITASK": multitask.read,
    "WEBDATASET": webdataset.read,
}


# Where the data set itself says its classes and their order, by what it says and the labels found.
_ORDERS: Mapping[str, Callable[[Path, Options, Collection[str]], tuple[str, ...]]] = {
    "TFRECORD": tfrecord.class_names,
    "YOLO": yolo.class_names,
    "COCO": coco.class_names,
    "MULTITASK": multitask.class_names,
    "WEBDATASET": webdataset.class_names,
}

# Where the data set itself may be divided: its parts.
_PARTS: Mapping[str, Callable[[Path], Collection[str]]] = {
    "YOLO": yolo.split_names,
    "COCO": coco.split_names,
    "MANIFEST": manifest.split_names,
}


def class_names(root: Path, kind: str, options: Options, labels: Collection[str]) -> tuple[str, ...]:
    """The classes of a data set in its own order, those without an example too; else the labels found, sorted."""
    kind = detect(root, options) if kind == "AUTO" else kind
    return _ORDERS[kind](root, options, labels) if kind in _ORDERS else tuple(sorted(labels))


def detect(root: Path, options: Options) -> str:
    """The name in FORMATS of what `root` is: YOLO with a data.yaml of objects, KITTI with two folders, TFRECORD with
    record files, COCO with a JSON file of instances, MANIFEST with a table, WEBDATASET with shards and no folders
    beside them, for they may be what was unpacked, else IMAGE_FOLDER.

    Raises:
        DataError: it is none of them.
    """
    if yolo.is_at(root):
        return "YOLO"
    if all(kitti.folders(root, options.kitti)):
        return "KITTI"
    if tfrecord.record_files(root) and (not root.is_file() or tfrecord.may_hold_records(root)):
        return "TFRECORD"
    if coco.is_at(root):
        return "COCO"
    if manifest.is_at(root):
        return "MANIFEST"
    files = listing.visible(root) if root.is_dir() else []
    has_folders = any(path.is_dir() for path in files)
    if has_folders or webdataset.shard_names(root):
        return "IMAGE_FOLDER" if has_folders else "WEBDATASET"
    if not root.is_dir():
        raise DataError(
            f"{options.name}: {root} is no data.yaml, file of records, COCO file, manifest or shard, nor is it a folder"
        )
    suffixes = Counter(path.suffix.lower() or "no suffix" for path in files)
    found = ", ".join(f"{count} x {suffix}" for suffix, count in sorted(suffixes.items()))
    raise DataError(
        f"{options.name}: {root} is in no known format; looked for one folder of images per class, for a "
        f"{kitti.expected(options.kitti)}, for record files, shards (*.tar), a data.yaml, a COCO file and a manifest; "
        f"found {f'only files ({found})' if found else 'an empty folder'}"
    )


def split_names(root: Path, kind: str) -> list[Split]:
    """The parts into which `root` itself is divided, so that one path may serve training, validation and test.

    Raises:
        DataError: what says it can't be read.
    """
    kind = _divided_kind(root) if kind == "AUTO" else kind
    found = set(_PARTS[kind](root)) if kind in _PARTS else set()
    return [split for split, aliases in split_folders.ALIASES.items() if found.intersection(aliases)]


def says_validation(root: Path, kind: str) -> bool:
    """Whether `root`, named for training alone, says which of its examples are for validation: a manifest may.

    Raises:
        DataError: as split_names.
    """
    kind = _divided_kind(root) if kind == "AUTO" else kind
    return kind == "MANIFEST" and "val" in manifest.split_names(root)


def _divided_kind(root: Path) -> str:
    """The format of what may be divided; empty for others, whatever they are."""
    may_be = yolo.is_at(root) or coco.is_at(root) or manifest.is_at(root)
    return detect(root, Options()) if may_be else ""
