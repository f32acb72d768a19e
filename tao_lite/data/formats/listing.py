"""What is in the folders of a data set: what anyone can see, but for what systems and programs keep there."""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tao_lite.data.left_out import OUTSIDE, SYSTEM, LeftOut
from tao_lite.files import noting

# TAO's, WebP, and other names of the same formats. In any case.
SUFFIXES = frozenset(
    {"png", "apng", "jpg", "jpeg", "jpe", "jfif", "mpo", "bmp", "dib", "tif", "tiff", "webp"}
    | {"ppm", "pgm", "pbm", "pnm"}
)

NO_FILE = "not a file, or a link to nothing"

# In lower case: of network disks (Synology, QNAP, NetApp), of Windows, of macOS, of Linux, of programs.
_OF_SYSTEMS = re.compile(
    r"@(eadir|tmp|sharebin|recycle|recently-snapshot|__thumb)|\.@__thumb|#(recycle|snapshot)|[.~]snapshot"
    r"|\$recycle\.bin|system volume information|found\.\d{3}|(eh)?thumbs(_vista)?\.db|desktop\.ini"
    r"|__macosx|\.ds_store|\._.*|icon\r|network trash folder|temporary items|\.(trashes|fseventsd|spotlight-v100)"
    r"|lost\+found|\.trash(-\d+)?"
    r"|\.ipynb_checkpoints|__pycache__"
)

_log = logging.getLogger(__name__)


class Walk:
    """Goes through folders; state, for it counts by name what systems put there, to be said once."""

    def __init__(self, report: LeftOut) -> None:
        self._report = report
        self._of_systems: Counter[str] = Counter()

    def entries(self, folder: Path | str) -> tuple[list[os.DirEntry[str]], list[os.DirEntry[str]]]:
        """The visible files of a folder, and its visible folders, links among them, sorted by name.

        Raises:
            OSError: it can't be listed.
        """
        noting.note(folder)
        files, folders = [], []
        with os.scandir(folder) as found:
            listed = list(found)
        for entry in listed:
            if entry.name[0] == ".":
                self.is_of_a_system(entry.name)
            elif not is_folder(entry):
                files.append(entry)
            elif not self.is_of_a_system(entry.name):
                folders.append(entry)
        return files, sorted(folders, key=lambda entry: entry.name)

    def below(self, *roots: Path, label: str = "") -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
        """Each folder from these down with its files, listed once. Links that lead out of all of them are reported.

        `label` is the class of what is in them, if they are one's.
        """
        seen: set[tuple[int, int]] = set()
        pending = [str(root) for root in reversed(roots)]
        inside = [os.path.join(os.path.realpath(root), "") for root in roots]  # noqa: PTH118 - ends with a slash
        while pending:
            current = pending.pop()
            try:
                status = os.stat(current)  # noqa: PTH116 - a Path for each of 100,000 folders would take longer than it
                identity = status.st_dev, status.st_ino
                if identity in seen:  # reached by a link as well, perhaps in a circle
                    continue
                seen.add(identity)
                files, folders = self.entries(current)
            except OSError as error:
                noting.failed()
                self._report(current, f"can't be listed ({error.strerror})", labels=[label])
                continue
            pending += [entry.path for entry in reversed(folders) if self._is_inside(entry, inside)]
            yield current, files

    def _is_inside(self, folder: os.DirEntry[str], roots: list[str]) -> bool:
        """Whether it is no link out of the roots: in /proc and in homes such links lead to all of the machine."""
        is_inside = not folder.is_symlink() or f"{os.path.realpath(folder.path)}/".startswith(tuple(roots))
        if not is_inside:
            self._report(
                folder.path, f"leads out of its folder, to {os.path.realpath(folder.path)}; not followed", OUTSIDE
            )
        return is_inside

    def is_of_a_system(self, name: str) -> bool:
        """Whether a system or program keeps under this name what is its own; counted if so."""
        found = _OF_SYSTEMS.fullmatch(name.lower()) is not None
        if found:
            self._of_systems["._*" if name.startswith("._") else name] += 1
        return found

    def log(self, root: Path) -> None:
        """Say what was found of systems."""
        if self._of_systems:
            counts = ", ".join(f"{count} x {name}" for name, count in sorted(self._of_systems.items()))
            _log.info("%s: passed over what systems and programs put there: %s", root, counts)
        for name, count in self._of_systems.items():
            self._report.count(SYSTEM, place=name, number=count)


def visible(folder: Path) -> list[Path]:
    """The visible files and folders in a folder, sorted by name.

    Raises:
        OSError: it can't be listed.
    """
    files, folders = Walk(LeftOut()).entries(folder)
    return sorted(Path(entry.path) for entry in (*files, *folders) if not _OF_SYSTEMS.fullmatch(entry.name.lower()))


def images_below(folder: Path, report: LeftOut) -> list[Path]:
    """Every visible image below the folder, by its suffix, sorted; what can't be one is reported."""
    walk = Walk(report)
    images = [entry for _, files in walk.below(folder) for entry in files if suffix(entry.name) in SUFFIXES]
    for entry in images:
        if not is_file(entry):
            report(entry.path, NO_FILE)
    walk.log(folder)
    return sorted(Path(entry.path) for entry in images if is_file(entry))


def suffix(name: str) -> str:
    """Without the dot, in lower case."""
    _, dot, end = name.rpartition(".")
    return end.lower() if dot else ""


def is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False
