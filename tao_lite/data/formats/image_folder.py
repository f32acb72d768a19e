"""Image folders: one sub-folder per class, images anywhere below it."""

import logging
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from tao_lite.data.columns import Texts
from tao_lite.data.example import Options
from tao_lite.data.examples import Examples
from tao_lite.data.formats import split_folders
from tao_lite.data.formats.listing import NO_FILE, SUFFIXES, Walk, is_file, suffix
from tao_lite.data.left_out import NO_CLASS, SUFFIX, LeftOut
from tao_lite.errors import DataError

# Of pictures that aren't read, among them what has no suffix: a class of these is lost, not absent.
_PICTURES = frozenset(
    {"", "gif", "heic", "heif", "avif", "jp2", "j2k", "jxl", "svg", "psd", "tga", "exr", "hdr", "dcm", "npy"}
    | {"raw", "dng", "cr2", "cr3", "nef", "arw", "pcx", "ico"}
)

_log = logging.getLogger(__name__)


def read(root: Path, options: Options) -> Examples:
    """Every image below `root`, labelled with the sub-folder of `root` it is in, sorted by path.

    Hidden files and folders are passed over, and what systems put there. Links to folders are followed; a folder is
    read once per class. What is named as an image but can't be one (a link to nothing, a pipe) is reported. What is
    left out by its suffix or place is logged.

    Raises:
        DataError: there are no images in folders, or the sub-folders are splits such as train and val.
    """
    walk = Walk(options.report)
    try:
        beside, entries = walk.entries(root)
    except OSError as error:
        raise DataError(f"{root}: can't be listed ({error.strerror})") from error
    folders = [entry.name for entry in entries]
    loose = sum(suffix(entry.name) in SUFFIXES for entry in beside)
    if split_folders.by_name(folders):
        raise _splits(root, folders, options)
    if loose:
        options.report.count(NO_CLASS, place=str(root), number=loose)
    classes = {folder: _Class(root, folder, walk) for folder in folders}
    paths = {name: Texts.of(sorted(one.paths(options.report))) for name, one in classes.items()}
    # The order is that of whole paths.
    examples = Examples.below(f"{root}/", {name: paths[name] for name in sorted(paths, key=lambda name: f"{name}/")})
    walk.log(root)
    inside = {name: one.inside for name, one in classes.items() if one.inside}
    suffixes = sum((one.suffixes for one in classes.values()), Counter[str]())
    _log_left_out(root, sorted(set(folders) - inside.keys()), loose, suffixes)
    _refuse_splits(root, inside, options)
    if not examples:
        beside_them = f" and {loose} images in no folder" if loose else ""
        raise DataError(
            f"{options.name}: {root} holds no folder with images{beside_them}; "
            "it must hold one folder of images per class"
        )
    _log.info("%s: read %d images of %d classes", root, len(examples), len(inside))
    return examples


class _Class:
    """The images of one class, and what was met on the way to them."""

    def __init__(self, root: Path, name: str, walk: Walk) -> None:
        self._root, self._name, self._walk = root, name, walk
        self.inside: set[str] = set()
        """The folders directly in the class's own in or below which images are; "" for that itself."""
        self.suffixes: Counter[str] = Counter()
        """Of files that are no images."""

    def paths(self, report: LeftOut) -> Iterator[str]:
        """Below the root."""
        above = f"{self._root}/"
        for place, files in self._walk.below(self._root / self._name, label=self._name):
            images = [entry for entry in files if self._is_image(entry, report)]
            for entry in images:
                if is_file(entry):
                    yield entry.path.removeprefix(above)
                else:
                    report(entry.path, NO_FILE, labels=[self._name])
            if images:
                self.inside.add(place.removeprefix(f"{above}{self._name}").lstrip("/").partition("/")[0])

    def _is_image(self, entry: os.DirEntry[str], report: LeftOut) -> bool:
        end = suffix(entry.name)
        if end in SUFFIXES:
            return True
        if not self._walk.is_of_a_system(entry.name):
            self.suffixes[f".{end}" if end else "no suffix"] += 1
            report.count(SUFFIX, self._name if end in _PICTURES else "", entry.path)
        return False


def _refuse_splits(root: Path, inside: Mapping[str, Collection[str]], options: Options) -> None:
    """`inside`: of each class the folders in it where images are, "" for itself.

    Raises:
        DataError: the classes are splits, or divided into splits.
    """
    splits = split_folders.by_content({name: () if "" in folders else folders for name, folders in inside.items()})
    held = [set(inside[name]) for name in splits]
    shared = set.intersection(*held) or set.union(*held) if held else set()
    if shared and split_folders.by_name(shared):
        raise DataError(
            f"{options.name}: the classes in {root} are divided into splits ({split_folders.listed(shared)}), which "
            "would be one; put the classes into a folder for each split, and give those"
        )
    if splits:
        raise _splits(root, splits, options, f", for they hold the same folders ({split_folders.listed(shared)})")


def _splits(root: Path, folders: Collection[str], options: Options, why: str = "") -> DataError:
    objects = "; for labelled objects, write a data.yaml beside them and give that"
    has_labels = any((root / name / "labels").is_dir() for name in folders)
    return DataError(
        f"{options.name}: the folders of {root} are splits of a data set, not classes "
        f"({split_folders.listed(folders)}){why}; give one of them: "
        f"{split_folders.listed([str(root / name) for name in folders])}{objects if has_labels else ''}"
    )


def _log_left_out(root: Path, empty: list[str], loose: int, suffixes: Counter[str]) -> None:
    if empty:
        _log.warning("%s: took as no class, being without images: %s", root, ", ".join(empty))
    if loose:
        _log.warning("%s: left out %d images that are in no class folder", root, loose)
    if suffixes:
        counts = ", ".join(f"{count} x {name}" for name, count in sorted(suffixes.items()))
        _log.warning("%s: left out files that are no images by their suffix: %s", root, counts)
