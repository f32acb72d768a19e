"""Class names in files: a class map, or the label map that stands beside records with numbers for classes."""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from tao_lite.errors import DataError, brief, listed, printable
from tao_lite.files import reading
from tao_lite.files.noting import note
from tao_lite.spec.text import syntax

MAX_BYTES = 2**24

# Of a label map: 16 for each item that is laid out in lines, so 60,000 classes.
_MAX_PIECES = 1_000_000
_ITEM = 'item { id: 1 name: "cat" }'
# Control characters, and what else ends a line.
_UNUSABLE = {"Cc", "Zl", "Zp"}
_NUMBERED = re.compile(r"\s*(\d+)\s*:\s*(.*\S)")


def usable(name: str) -> str:
    """The name, if it can be one of a class: a text of one line, which any file or screen can show.

    Raises:
        ValueError: it has a control character, or bytes that are no UTF-8.
    """
    kinds = set(map(unicodedata.category, name))
    if "Cs" in kinds:
        raise ValueError(f"the class {brief(name)} has bytes that are not UTF-8; rename it")
    if not kinds.isdisjoint(_UNUSABLE):
        raise ValueError(f"the class {brief(name)} has control characters; rename it")
    return name


def refuse_unusable(names: Mapping[str, object]) -> None:
    """Refuse names that can't be those of classes; with each, where it is from.

    Raises:
        DataError: one is none.
    """
    for name, place in names.items():
        try:
            usable(name)
        except ValueError as error:
            raise DataError(f"{printable(str(place))}: {error}") from error


class Names:
    """The names of classes that labels give by number; without names, the numbers themselves.

    It keeps the numbers that have no name. They refuse the data set at its end, for then all of them may be one off:
    labels that count from 1 beside names that count from 0.
    """

    def __init__(self, names: Mapping[int, str], source: str) -> None:
        """`source` is where the names are from, for messages."""
        self._names, self._source = names, source
        self._seen: set[int] = set()

    def of(self, number: int) -> str:
        """The name of a class; the number where it has none.

        Raises:
            ValueError: the number says that there is no class.
        """
        if number < 0:
            raise ValueError(f"its class is {number}: not labelled")
        self._seen.add(number)
        return self._names.get(number, str(number))

    def check(self, name: str) -> None:
        """Refuse numbers that don't fit the names.

        Raises:
            DataError: there are some; `name` is how it calls the data set.
        """
        unknown = self._seen - self._names.keys()
        if self._names and unknown:
            seen, known = (f"{min(numbers)} to {max(numbers)}" for numbers in (self._seen, self._names))
            raise DataError(
                f"{name}: its labels number the classes {seen}, and {self._source} names {known}; every name may be "
                "one off: correct the labels or the names (a text can have number:name in each line)"
            )

    def ordered(self, labels: Collection[str]) -> tuple[str, ...]:
        """The classes in the order of their numbers, all that have a name; then further labels, sorted."""
        if not self._names:
            return tuple(
                sorted(labels, key=lambda label: (not label.isdecimal(), label.isdecimal() and int(label), label))
            )
        named = tuple(dict.fromkeys(name for _, name in sorted(self._names.items())))
        return (*named, *sorted(set(labels).difference(named)))


def names_beside(folder: Path, chosen: str) -> Names:
    """Of the label map that is chosen, relative to the folder; empty for the one in it, if there is one.

    Raises:
        DataError: it can't be read.
    """
    path = folder / chosen if chosen else label_map_beside(folder)
    return Names(read_label_map(path) if path else {}, str(path))


def read_classmap(path: Path) -> tuple[str, ...]:
    """Class names in the order of their indices, from JSON such as {"cat": 0, "dog": 1}, or of a .txt by line.

    Raises:
        DataError: the file can't be read, is no such JSON, or its indices are not 0, 1, 2, ... once each.
    """
    if path.suffix.lower() == ".txt":
        return _read_class_list(path)
    pairs = reading.read_json(path, DataError, max_bytes=MAX_BYTES, of_pairs=list)
    if not isinstance(pairs, list) or not pairs or not all(isinstance(pair, tuple) for pair in pairs):
        raise DataError(f'{path}: must be an object of class names and indices, such as {{"cat": 0, "dog": 1}}')
    for name, index in pairs:
        if type(index) is not int:
            raise DataError(f"{path}: the index of {brief(name)} is {brief(index)}, must be a whole number")
    if twice := sorted(name for name, count in Counter(name for name, _ in pairs).items() if count > 1):
        raise DataError(f"{path}: {listed(map(brief, twice))} stands there more than once")
    if sorted(index for _, index in pairs) != list(range(len(pairs))):
        found = listed(brief(index) for index in sorted(index for _, index in pairs))
        raise DataError(f"{path}: the indices are {found}; must be 0 to {len(pairs) - 1}, each once")
    names = tuple(name for name, _ in sorted(pairs, key=lambda pair: pair[1]))
    refuse_unusable(dict.fromkeys(names, path))
    return names


def _read_class_list(path: Path) -> tuple[str, ...]:
    """Class names in the order of the lines; empty lines are none."""
    text = reading.read_text(path, DataError, max_bytes=MAX_BYTES)
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not names:
        raise DataError(f"{path}: names no class; must hold a name in each line")
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise DataError(f"{path}: {listed(map(brief, twice))} stands there more than once")
    refuse_unusable(dict.fromkeys(names, path))
    return names


def label_map_beside(folder: Path) -> Path | None:
    """The label map in a folder: its only .pbtxt, else labels.txt or classmap.json; None if there is none."""
    note(folder)
    maps = sorted(folder.glob("*.pbtxt")) if folder.is_dir() else []
    candidates = [*(maps if len(maps) == 1 else []), folder / "labels.txt", folder / "classmap.json"]
    return next((path for path in candidates if path.is_file()), None)


def read_label_map(path: Path) -> Mapping[int, str]:
    """Class names by number: of a .pbtxt with `item { id: 1 name: "cat" }`, a class map (.json), or a text.

    The text has a name in each line, counted from 0, or all of them as `number:name`.

    Raises:
        DataError: the file can't be read, or names nothing.
    """
    if path.suffix.lower() == ".json":
        return dict(enumerate(read_classmap(path)))
    text = reading.read_text(path, DataError, max_bytes=MAX_BYTES)
    names = _items(text, path) if path.suffix.lower() == ".pbtxt" else _lines(text)
    if not names:
        raise DataError(f"{path}: names no class; must hold {_ITEM}, or a name in each line")
    refuse_unusable(dict.fromkeys(names.values(), path))
    return names


def _items(text: str, path: Path) -> dict[int, str]:
    try:
        fields = syntax.parse(text, max_pieces=_MAX_PIECES)
        return dict(_item(one) for one in fields if one.name == "item")
    except syntax.TextFormatError as error:
        raise DataError(f"{path}:{error.place.line}:{error.place.column}: {error.text}") from error


def _item(item: syntax.Field) -> tuple[int, str]:
    # Ten digits hold every int32.
    number = _scalar(item, "id", "number", r"-?\d{1,10}")
    return int(number), _scalar(item, "name", "string", r"(?s).*")


def _scalar(item: syntax.Field, name: str, kind: str, form: str) -> str:
    """Text of the field that stands in the item itself, not in a block inside it."""
    one = next((one for one in item.value if one.name == name), None) if isinstance(item.value, list) else None
    if one is None:
        raise syntax.TextFormatError(item.place, f"the item has no {name}; must be as {_ITEM}")
    if not isinstance(one.value, syntax.Scalar) or one.value.kind != kind or not re.fullmatch(form, one.value.text):
        raise syntax.TextFormatError(one.value_place, f"{name} must be written as in {_ITEM}")
    return one.value.text


def _lines(text: str) -> dict[int, str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if all(numbered):
        return {int(match[1]): match[2] for match in numbered if match}
    return dict(enumerate(lines))
