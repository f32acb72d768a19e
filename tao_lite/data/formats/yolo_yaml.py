"""data.yaml: the class names of a YOLO data set and where its pictures are, in the dialects that tools write."""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from tao_lite.data.example import Options, Split
from tao_lite.data.formats.class_names import refuse_unusable
from tao_lite.data.formats.listing import SUFFIXES, Walk, images_below, suffix, visible
from tao_lite.data.formats.split_folders import ALIASES
from tao_lite.data.left_out import LeftOut
from tao_lite.errors import DataError, brief
from tao_lite.files import reading
from tao_lite.files.noting import note
from tao_lite.spec.text import yaml_form
from tao_lite.spec.text.nodes import Named, Node, Sequenced
from tao_lite.spec.text.syntax import TextFormatError

FILE_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
MAX_BYTES = 2**22
LABELS = "labels"
"""The folder of label files beside that of pictures."""

_YAML = (".yaml", ".yml")
_MAX_TRIED = 20

# Of the parts that a data.yaml may name, those that serve as one of ours, the best first.
_SPLITS: Mapping[Split, tuple[str, ...]] = {
    "train": ALIASES["train"],
    "val": ALIASES["val"],
    "test": (*ALIASES["test"], *ALIASES["val"]),
}
_UNSET = ("", "null", "~", "none", "None")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """What a data.yaml says. Every path in it leads to somewhere below `root`; `prefix` is its `path:`."""

    path: Path
    root: Path
    names: Mapping[int, str]
    splits: Mapping[str, tuple[str, ...]]
    prefix: str
    num_keypoint_columns: int

    def pictures(self, split: Split, report: LeftOut) -> list[Path]:
        """The pictures of a split, each once, folder by folder; for a test split that is not there, those of val.

        Raises:
            DataError: there is no such split, or its folder is not there.
        """
        given = [name for name in _SPLITS[split] if name in self.splits]
        if not given:
            raise DataError(f"{self.path}: has no {split} split; it has {', '.join(self.splits) or 'none'}")
        # Roboflow names a test folder also where it wrote none.
        is_there = given[0] != split or all(map(self._found, self.splits[given[0]]))
        if split == "test" and len(given) > 1 and not is_there:
            _log.warning("%s: the folder of %s is not there; took %s", self.path, *given[:2])
            given.pop(0)
        elif split == "test" and given[0] not in ALIASES["test"]:
            _log.info("%s: has no test split; took %s", self.path, given[0])
        places = [self._place(given[0], entry) for entry in self.splits[given[0]]]
        return list(dict.fromkeys(picture for place in places for picture in self._pictures_at(place, report)))

    def _pictures_at(self, place: Path, report: LeftOut) -> list[Path]:
        """The pictures in a folder, or those listed in a text."""
        if place.is_dir():
            return images_below(place, report)
        if place.suffix != ".txt":
            return [place]
        pictures = []
        for number, line in enumerate(reading.read_text(place, DataError, errors="surrogateescape").splitlines(), 1):
            if line.strip():
                base = place.parent if line.startswith("./") else None
                if picture := self._found(line.strip(), base):
                    pictures.append(picture)
                else:
                    report(f"{place}:{number}", f"no picture {line.strip()} below {self.root}")
        return pictures

    def _place(self, split: str, entry: str) -> Path:
        literal, place = self._literal(entry), self._found(entry)
        if place is None:
            looked = ", ".join(map(str, self._candidates(entry))) or f"nothing: it leads out of {self.root}"
            outside = literal.exists() and not literal.is_relative_to(self.root)
            allow = f"; {literal} lies outside: to allow it, set dataset_config.yolo_root" if outside else ""
            raise DataError(f"{self.path}: {split} is {entry!r}, which is not there; looked for {looked}{allow}")
        if place != literal:
            _log.info("%s: %s is %s, found as %s", self.path, split, entry, place)
        return place

    def _found(self, entry: str, base: Path | None = None) -> Path | None:
        for place in self._candidates(entry, base):
            note(place.parent)
            if place.exists():
                return place
        return None

    def _literal(self, entry: str, base: Path | None = None) -> Path:
        return Path(os.path.normpath((base or self.path.parent / _slashes(self.prefix)) / _slashes(entry)))

    def _candidates(self, entry: str, base: Path | None = None) -> Iterator[Path]:
        """Where an entry may be, all below the root: as written, then without what leads there on another machine.

        Roboflow writes ../train for the folder beside its data.yaml; others write where the data was when they made
        it. What the entry itself names below that is never left out, so that two splits can't become one folder.
        """
        literal = self._literal(entry, base)
        is_windows = bool(PureWindowsPath(entry.strip()).drive)
        if literal.is_relative_to(self.root) and not is_windows:
            yield literal
        own = _parts(entry)
        is_absolute = is_windows or _slashes(entry).startswith("/")
        parts = own if is_absolute else [*_parts(self.prefix), *own]
        shortest = min(2, len(own)) if is_absolute else len(own)
        for start in range(len(parts) - shortest + 1):
            place = self.root.joinpath(*parts[start:])
            if place != literal:
                yield place


def data_file(root: Path) -> Path | None:
    """The data.yaml that `root` is or, as a folder, holds: by its name, else as the only YAML that is one.

    Raises:
        DataError: several are.
    """
    if root.suffix.lower() in _YAML and root.is_file():
        return root
    if named := next((root / name for name in FILE_NAMES if (root / name).is_file()), None):
        return named
    files = sorted(path for path in root.glob("*.y*ml") if path.suffix.lower() in _YAML and path.name[0] != ".")
    found = [path for path in files[:_MAX_TRIED] if path.is_file() and _is_data_file(path)]
    if len(found) > 1:
        raise DataError(f"{root}: holds {', '.join(path.name for path in found)}, each a data.yaml; give one of them")
    return found[0] if found else None


def has_labels(path: Path) -> bool:
    """Whether a data.yaml is of labelled objects: people also put one beside folders of classes.

    It is not, where there are folders of pictures around it, two at least, and nowhere a label beside them.
    """
    root = path.parent
    if any(folder.is_dir() for folder in (root / LABELS, *(root.glob(f"*/{LABELS}")))):
        return True
    num_folders = 0
    for place, files in Walk(LeftOut()).below(root, *filter(Path.is_dir, visible(root))):
        stems: dict[bool, set[str]] = {True: set(), False: set()}
        for name in (entry.name for entry in files if suffix(entry.name) in SUFFIXES | {"txt"}):
            stems[suffix(name) == "txt"].add(name.rpartition(".")[0])
        if os.path.basename(place) == LABELS or not stems[True].isdisjoint(stems[False]):  # noqa: PTH119 - a text
            return True
        num_folders += bool(stems[False])
    return num_folders < 2


def _is_data_file(path: Path) -> bool:
    try:
        content = _content(path)
    except DataError:
        return False
    return "names" in content and any(name in content for aliases in ALIASES.values() for name in aliases)


def load(path: Path, options: Options) -> DataFile:
    """What the data.yaml says.

    Raises:
        DataError: it can't be read, or names neither classes nor splits.
    """
    path = Path(os.path.normpath(path.absolute()))
    content = _content(path)
    names = _names(path, content)
    splits = {
        name: entries
        for name in dict.fromkeys(name for aliases in _SPLITS.values() for name in aliases)
        if (entries := _entries(path, name, content.get(name)))
    }
    if not splits:
        raise DataError(f"{path}: names no folder of pictures; must have train, val or test")
    prefix = content.get("path", "")
    root = Path(os.path.normpath(path.parent / options.yolo_root))
    keypoints = content.get("kpt_shape", [])
    return DataFile(
        path=path,
        root=root,
        names=names,
        splits=splits,
        prefix="" if not isinstance(prefix, str) or prefix in _UNSET else prefix,
        num_keypoint_columns=_product(keypoints) if isinstance(keypoints, list) else 0,
    )


def _content(path: Path) -> dict[str, Any]:
    """The top of the file, every scalar as its text: YAML takes an unquoted No, On or 1.0 for no text."""
    text = reading.read_text(path, DataError, max_bytes=MAX_BYTES)
    try:
        content = _plain(yaml_form.parse(text, MAX_BYTES))
    except TextFormatError as error:
        raise DataError(f"{path}:{error.place.line}:{error.place.column}: {error.text}") from error
    assert isinstance(content, dict)
    return content


def _plain(node: Node) -> Any:
    if isinstance(node, Named):
        return {entry.name: _plain(entry.node) for entry in node.entries}
    if isinstance(node, Sequenced):
        return [_plain(item) for item in node.items]
    return node.value.text if node.value else ""


def _names(path: Path, content: Mapping[str, Any]) -> dict[int, str]:
    names, count = content.get("names"), content.get("nc", "")
    count = int(count) if isinstance(count, str) and re.fullmatch(r"\d{1,6}", count) else None
    if isinstance(names, list):
        names = {str(number): name for number, name in enumerate(names)}
    if names in (None, "") and count:
        _log.warning("%s: names no classes, so they were called 0 to %d", path, count - 1)
        names = {str(number): str(number) for number in range(count)}
    if not isinstance(names, dict) or not names:
        raise DataError(f"{path}: names is missing; must be a list of classes, or number: name of each")
    for number, name in names.items():
        if not re.fullmatch(r"\d{1,6}", number) or not isinstance(name, str) or not name.strip():
            raise DataError(
                f"{path}: names has {brief(number)}: {brief(name)}; must be a number and the name of a class"
            )
    if count is not None and count != len(names):
        _log.warning("%s: nc is %d, but there are %d names, which were used", path, count, len(names))
    refuse_unusable(dict.fromkeys(names.values(), path))
    return {int(number): name.strip() for number, name in names.items()}


def _entries(path: Path, name: str, value: object) -> tuple[str, ...]:
    entries = value if isinstance(value, list) else ["" if value is None else value]
    if not all(isinstance(entry, str) for entry in entries):
        raise DataError(f"{path}: {name} must be a folder, a list of pictures in a .txt, or several of them")
    return tuple(entry for entry in map(str, entries) if entry.strip() not in _UNSET)


def _slashes(path: str) -> str:
    return path.replace("\\", "/").strip()


def _parts(path: str) -> list[str]:
    """The names in a path, without drive, root and what leads up."""
    own = PurePosixPath(_slashes(path)[len(PureWindowsPath(path.strip()).drive) :])
    return [part for part in own.parts if part not in {"/", "..", "."}]


def _product(shape: list[object]) -> int:
    numbers = [int(number) for number in shape if isinstance(number, str) and number.isdigit()]
    return numbers[0] * numbers[1] if len(numbers) == 2 else 0
