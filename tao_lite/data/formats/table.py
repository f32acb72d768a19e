"""FORMATS: the layouts of a data set on disk that can be read. A new one is a file with `read` and a row here."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from tao_lite.data.example import Example, Options
from tao_lite.data.formats import image_folder, kitti, listing, tfrecord, yolo
from tao_lite.errors import DataError

Reader = Callable[[Path, Options], list[Example]]

# By the names of DatasetFormat in proto/classification.proto.
FORMATS: Mapping[str, Reader] = {
    "IMAGE_FOLDER": image_folder.read,
    "KITTI": kitti.read,
    "TFRECORD": tfrecord.read,
    "YOLO": yolo.read,
}


# Where the data set itself says its classes and their order, by what it says and the labels found.
_ORDERS: Mapping[str, Callable[[Path, Options, Collection[str]], tuple[str, ...]]] = {
    "TFRECORD": tfrecord.class_names,
    "YOLO": yolo.class_names,
}


def class_names(root: Path, kind: str, options: Options, labels: Collection[str]) -> tuple[str, ...]:
    """The classes of a data set in its own order, those without an example too; else the labels found, sorted."""
    kind = detect(root, options) if kind == "AUTO" else kind
    return _ORDERS[kind](root, options, labels) if kind in _ORDERS else tuple(sorted(labels))


def detect(root: Path, options: Options) -> str:
    """The name in FORMATS of what `root` is: YOLO with a data.yaml of objects, KITTI with two folders, TFRECORD with
    record files, else IMAGE_FOLDER.

    Raises:
        DataError: it is none of them.
    """
    if yolo.is_at(root):
        return "YOLO"
    if all(kitti.folders(root, options.kitti)):
        return "KITTI"
    if tfrecord.record_files(root) and (not root.is_file() or tfrecord.may_hold_records(root)):
        return "TFRECORD"
    if not root.is_dir():
        raise DataError(f"{options.name}: {root} is neither a data.yaml nor a file of records, nor a folder")
    files = listing.visible(root)
    if any(path.is_dir() for path in files):
        return "IMAGE_FOLDER"
    suffixes = Counter(path.suffix.lower() or "no suffix" for path in files)
    found = ", ".join(f"{count} x {suffix}" for suffix, count in sorted(suffixes.items()))
    raise DataError(
        f"{options.name}: {root} is in no known format; looked for one folder of images per class, for a "
        f"{kitti.expected(options.kitti)}, for record files, and for a data.yaml; "
        f"found {f'only files ({found})' if found else 'an empty folder'}"
    )


def has_splits(root: Path, kind: str) -> bool:
    """Whether `root` is itself divided into training, validation and test, so that one path may serve all three."""
    return kind in {"AUTO", "YOLO"} and yolo.is_at(root)
