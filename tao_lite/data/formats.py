"""FORMATS: the layouts of a data set on disk that can be read. A new one is a file with `read` and a row here."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from tao_lite.data import image_folder, kitti
from tao_lite.data.example import Example, Options
from tao_lite.errors import DataError

Reader = Callable[[Path, Options], list[Example]]

# By the names of DatasetFormat in proto/classification.proto.
FORMATS: Mapping[str, Reader] = {
    "IMAGE_FOLDER": image_folder.read,
    "KITTI": kitti.read,
}


def detect(root: Path, options: Options) -> str:
    """The name in FORMATS of what `root` holds: KITTI if its two folders are there, else IMAGE_FOLDER.

    Raises:
        DataError: it holds neither.
    """
    if all(kitti.folders(root, options.kitti)):
        return "KITTI"
    visible = [path for path in root.iterdir() if not path.name.startswith(".")]
    if any(path.is_dir() for path in visible):
        return "IMAGE_FOLDER"
    suffixes = Counter(path.suffix.lower() or "no suffix" for path in visible)
    found = ", ".join(f"{count} x {suffix}" for suffix, count in sorted(suffixes.items()))
    raise DataError(
        f"{options.name}: {root} is in no known format; looked for one folder of images per class, and for a "
        f"{kitti.expected(options.kitti)}; found {f'only files ({found})' if found else 'an empty folder'}"
    )
