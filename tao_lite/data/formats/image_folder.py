"""Image folders: one sub-folder per class, images anywhere below it."""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tao_lite.data.example import Example, Options, Report
from tao_lite.errors import DataError

# TAO's, and WebP. In any case.
SUFFIXES = frozenset({"png", "jpg", "jpeg", "bmp", "ppm", "tif", "tiff", "webp"})

_NO_FILE = "not a file, or a link to nothing"
_TRAINING = frozenset({"train", "training"})
_HELD_OUT = frozenset({"val", "valid", "validation", "test", "testing"})

_log = logging.getLogger(__name__)


def read(root: Path, options: Options) -> list[Example]:
    """Every image below `root`, labelled with the sub-folder of `root` it is in, sorted by path.

    Hidden files and folders are passed over. Links to folders are followed; a folder is read once per class. What is
    named as an image but can't be one (a link to nothing, a pipe) is reported. What is left out by its suffix or
    place is logged.

    Raises:
        DataError: there are fewer than two classes, or the sub-folders are splits such as train and val.
    """
    folders, loose = _inside(root)
    _refuse_splits(root, folders, options)
    suffixes: Counter[str] = Counter()
    examples = []
    for folder in folders:
        for entry in _files_below(root / folder, options.report):
            suffix = _suffix(entry.name)
            if suffix not in SUFFIXES:
                suffixes[f".{suffix}" if suffix else "no suffix"] += 1
            elif _is_file(entry):
                examples.append(Example(Path(entry.path), folder, entry.path.removeprefix(f"{root}/")))
            else:
                options.report(entry.path, _NO_FILE)
    examples.sort(key=lambda example: example.group)
    class_names = sorted({example.label for example in examples})
    _log_left_out(root, sorted(set(folders).difference(class_names)), loose, suffixes)
    if len(class_names) < 2:
        found = f"images of one class only ({class_names[0]})" if class_names else "no folder with images"
        raise DataError(
            f"{options.name}: {root} holds {found}{f' and {loose} images in no folder' if loose else ''}; "
            "it must hold one folder of images per class, two at least"
        )
    _log.info("%s: read %d images of %d classes", root, len(examples), len(class_names))
    return examples


def images_below(folder: Path, report: Report) -> list[Path]:
    """Every visible image below the folder, by its suffix, sorted; what can't be one is reported."""
    images = [entry for entry in _files_below(folder, report) if _suffix(entry.name) in SUFFIXES]
    for entry in images:
        if not _is_file(entry):
            report(entry.path, _NO_FILE)
    return sorted(Path(entry.path) for entry in images if _is_file(entry))


def splits_in(root: Path) -> list[str]:
    """The folders in `root` if they are splits of a data set, not classes; else none.

    Raises:
        DataError: the folder can't be listed.
    """
    folders, _ = _inside(root)
    return folders if _are_splits(folders) else []


def _inside(root: Path) -> tuple[list[str], int]:
    """Names of the visible folders in `root`, sorted, and the number of images beside them."""
    try:
        with os.scandir(root) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{root}: can't be listed ({error.strerror})") from error
    folders = sorted(entry.name for entry in visible if _is_folder(entry))
    return folders, sum(_suffix(entry.name) in SUFFIXES for entry in visible if not _is_folder(entry))


def _are_splits(folders: list[str]) -> bool:
    names = {name.lower() for name in folders}
    # A class may be called train, beside bus and tram; with a test or validation folder it is none.
    return bool(names and (names <= _TRAINING | _HELD_OUT or (names & _TRAINING and names & _HELD_OUT)))


def _refuse_splits(root: Path, folders: list[str], options: Options) -> None:
    if _are_splits(folders):
        raise DataError(
            f"{options.name}: the folders of {root} are splits of a data set, not classes ({', '.join(folders)}); "
            f"give one of them, such as {root / folders[0]}"
        )


def _files_below(folder: Path, report: Report) -> Iterator[os.DirEntry[str]]:
    """Everything visible below the folder that is not a folder itself."""
    seen: set[tuple[int, int]] = set()
    pending = [str(folder)]
    while pending:
        current = pending.pop()
        try:
            status = os.stat(current)  # noqa: PTH116 - a Path for each of 100,000 folders would take longer than the call
            identity = status.st_dev, status.st_ino
            if identity in seen:  # reached by a link as well, perhaps in a circle
                continue
            seen.add(identity)
            with os.scandir(current) as entries:
                visible = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            report(current, f"can't be listed ({error.strerror})")
            continue
        pending += sorted((entry.path for entry in visible if _is_folder(entry)), reverse=True)
        yield from (entry for entry in visible if not _is_folder(entry))


def _suffix(name: str) -> str:
    _, dot, suffix = name.rpartition(".")
    return suffix.lower() if dot else ""


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False


def _log_left_out(root: Path, empty: list[str], loose: int, suffixes: Counter[str]) -> None:
    if empty:
        _log.warning("%s: took as no class, being without images: %s", root, ", ".join(empty))
    if loose:
        _log.warning("%s: left out %d images that are in no class folder", root, loose)
    if suffixes:
        counts = ", ".join(f"{count} x {suffix}" for suffix, count in sorted(suffixes.items()))
        _log.warning("%s: left out files that are no images by their suffix: %s", root, counts)
