"""FORMATS: the layouts of a data set on disk that can be read. A new one is a file with `read` and a row here."""

from collections import Counter
from collections.abc import Callable, Mapping
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


def detect(root: Path, options: Options) -> str:
    """The name in FORMATS of what `root` is: YOLO with a data.yaml, KITTI with its two folders, TFRECORD with record
    files, else IMAGE_FOLDER.

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
