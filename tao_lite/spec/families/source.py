"""A file of another family as values by path: overridden, with interpolations filled in and old names replaced."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tao_lite.spec.findings import COMMAND_LINE, Finding, Place, error
from tao_lite.spec.text.nodes import PLAIN, Leaf, Named, Node, Sequenced
from tao_lite.spec.text.syntax import Scalar

# What OmegaConf reads as a value that is still to be given.
OPEN = "???"

_INTERPOLATION = re.compile(r"(?<!\\)\$\{([^${}]*)\}")
# Stands for the dollar sign of an environment variable, which is expanded later, and is no interpolation.
_DOLLAR = "\0"
_MAX_CHARACTERS = 10_000
_OFF = ("false", "no", "off", "0")
_ON = ("true", "yes", "on", "1")


class WrongValueError(Exception):
    """A value that can't be read; carries what is to be said."""

    def __init__(self, place: Place, path: str, text: str) -> None:
        super().__init__(text)
        self.finding: Finding = error(place, path, text)


class Item(NamedTuple):
    """A value or list of the file: its path as it is written there, the place of its name, and the value."""

    path: str
    place: Place
    node: Leaf | Sequenced


class Source:
    """The values of a file by path, with the newest name of each field; and what the family takes where one is unset.

    `renamed` gives the newer path, of a field or a block, for older ones.
    """

    def __init__(self, top: Named, renamed: Mapping[str, str], defaults: Mapping[str, str]) -> None:
        """Raises WrongValueError where a field stands there twice."""
        self._top, self._defaults = top, defaults
        self.items: dict[str, Item] = {}
        for item in _flat(top, ""):
            path = _newest(item.path, renamed)
            if path in self.items and item.place != COMMAND_LINE:
                first = self.items[path]
                text = f"set a second time; {first.path} on line {first.place.line} is the same field"
                raise WrongValueError(item.place, item.path, text)
            self.items[path] = item

    def has(self, *blocks: str) -> bool:
        """Whether the file sets a field in one of these blocks, or one of these fields."""
        return any(path == block or path.startswith(f"{block}.") for path in self.items for block in blocks)

    def first(self, *paths: str) -> str:
        """The first of these fields that the file sets, else the first of all."""
        return next((path for path in paths if self.has(path)), paths[0])

    def place(self, path: str) -> Place:
        """The field's, else that of the nearest block around it, else the beginning."""
        while path:
            places = [item.place for other, item in self.items.items() if f"{other}.".startswith(f"{path}.")]
            if places:
                return min(places)
            path = path.rpartition(".")[0]
        return Place(1, 1)

    def node(self, path: str) -> Leaf | Sequenced | None:
        """The value with its interpolations filled in; nothing where it is unset.

        Raises:
            WrongValueError: an interpolation that leads nowhere, or in a circle.
        """
        item = self.items.get(path)
        node = self._list_meant(item) if item else None
        if item is None or not isinstance(node, Sequenced):
            return self._filled(node, item.path, ()) if item and isinstance(node, Leaf) else None
        items = [self._filled(one, item.path, ()) if isinstance(one, Leaf) else one for one in node.items]
        return Sequenced(item.node.place, items)

    def text(self, path: str) -> str:
        """The value as text, else the family's default; empty where there is none.

        Raises:
            WrongValueError: it is a list, is still to be given, or can't be filled in.
        """
        node = self.node(path)
        if node is None:
            return self._defaults.get(path, "")
        if not isinstance(node, Leaf):
            raise self.wrong(path, "found a list, must be a single value")
        text = node.value.text if node.value else ""
        if text == OPEN:
            raise self.wrong(path, f"is still to be given ({OPEN}); write it into the file, or give {path}=VALUE")
        return text

    def texts(self, path: str) -> list[str]:
        """The values of a list, of a single value, or of the family's default, which has commas between.

        Raises:
            WrongValueError: as `text`.
        """
        node = self.node(path)
        if not isinstance(node, Sequenced):
            return [part.strip() for part in self.text(path).strip("[]() ").split(",") if part.strip()]
        texts = [one.value.text if isinstance(one, Leaf) and one.value else "" for one in node.items]
        if not all(texts):
            raise self.wrong(path, "found a list with something else than values in it")
        return texts

    def number(self, path: str) -> float:
        """The value as a number.

        Raises:
            WrongValueError: it is none.
        """
        return self.numbers(path)[0]

    def positive(self, path: str) -> float:
        """The value as a number above 0.

        Raises:
            WrongValueError: it is none.
        """
        number = self.number(path)
        if number <= 0:
            raise self.wrong(path, f"found {number:g}, must be above 0")
        return number

    def numbers(self, path: str) -> list[float]:
        """The values of a list as numbers.

        Raises:
            WrongValueError: one is none, or there is none.
        """
        texts = self.texts(path)
        try:
            numbers = [float(text) for text in texts]
        except ValueError:
            numbers = []
        if not numbers or not all(map(math.isfinite, numbers)):
            raise self.wrong(path, f"found {', '.join(texts) or 'nothing'}, must be a number")
        return numbers

    def is_on(self, path: str) -> bool:
        """The value as a switch; off where it is unset.

        Raises:
            WrongValueError: it is neither on nor off.
        """
        text = self.text(path).strip().lower()
        if text and text not in (*_ON, *_OFF):
            raise self.wrong(path, f"found {text}, must be true or false")
        return text in _ON

    def wrong(self, path: str, text: str) -> WrongValueError:
        """The error of a field."""
        item = self.items.get(path)
        if item is None:
            return WrongValueError(self.place(path), path, text)
        place = item.node.place if item.node.place != COMMAND_LINE else item.place
        return WrongValueError(place, item.path, text)

    def _list_meant(self, item: Item) -> Leaf | Sequenced:
        """The list that an interpolation stands for where it is the whole value; else the value as it is."""
        text = item.node.value.text if isinstance(item.node, Leaf) and item.node.value else ""
        whole = _INTERPOLATION.fullmatch(text)
        meant = (at(self._top, path) for path in _candidates(whole[1].strip(), item.path)) if whole else ()
        return next((node for node in meant if isinstance(node, Sequenced)), item.node)

    def _filled(self, leaf: Leaf, path: str, around: tuple[str, ...]) -> Leaf:
        """The value without interpolations; `around` are the paths that are being filled in."""
        value = leaf.value
        if value is None or "${" not in value.text:
            return leaf
        if path in around:
            raise WrongValueError(
                leaf.place, path, f"{' -> '.join([*around, path])} is a circle; write one of them out"
            )
        text = value.text
        while match := _INTERPOLATION.search(text):
            found = self._looked_up(match[1].strip(), leaf, path, (*around, path))
            text = text[: match.start()] + found + text[match.end() :]
            if len(text) > _MAX_CHARACTERS:
                raise WrongValueError(leaf.place, path, f"is longer than {_MAX_CHARACTERS:,} characters when filled in")
        kind = PLAIN if _INTERPOLATION.fullmatch(value.text) else value.kind
        return Leaf(leaf.place, Scalar(text.replace(_DOLLAR, "$").replace(r"\${", "${"), kind))

    def _looked_up(self, name: str, leaf: Leaf, path: str, around: tuple[str, ...]) -> str:
        """What an interpolation stands for."""
        if name.startswith("oc.env:") and "," not in name:
            return f"{_DOLLAR}{name.removeprefix('oc.env:').strip()}"
        for candidate in _candidates(name, path):
            node = at(self._top, candidate)
            if isinstance(node, Leaf):
                filled = self._filled(node, candidate, around)
                return filled.value.text if filled.value else ""
        if ":" in name:
            remedy = "only ${oc.env:NAME} is known of OmegaConf's resolvers; write the value out"
        else:
            remedy = f"the file has no value {name}; write the value out, or ${{oc.env:NAME}} for a variable"
        raise WrongValueError(leaf.place, path, f"can't fill in ${{{name}}}: {remedy}")


def _flat(block: Named, path: str) -> Iterator[Item]:
    """Every value and list with its path; null is not set."""
    names: dict[str, Place] = {}
    for one in block.entries:
        own = f"{path}.{one.name}" if path else one.name
        if one.name in names:
            raise WrongValueError(
                one.place, own, f"is given a second time; the first is on line {names[one.name].line}"
            )
        names[one.name] = one.place
        if isinstance(one.node, Named):
            yield from _flat(one.node, own)
        elif isinstance(one.node, Sequenced) or one.node.value:
            yield Item(own, one.place, one.node)


def _newest(path: str, renamed: Mapping[str, str]) -> str:
    """The path with the newest names."""
    for _ in range(4):  # A field may have moved, and its block too.
        for old, new in renamed.items():
            if path == old or path.startswith(f"{old}."):
                path = new + path[len(old) :]
                break
        else:
            return path
    return path


def names(path: str) -> list[str]:
    """The names of a dotted path; an index stands between dots or in brackets."""
    return re.sub(r"\[(\w+)\]", r".\1", path).split(".")


def _candidates(name: str, path: str) -> Iterator[str]:
    """Where an interpolation may lead: from the top, or from its own block for one that begins with dots.

    OmegaConf looks no further. NVIDIA's own files have ${root_dir} beside root_dir, so the blocks around are asked too.
    """
    parents = path.split(".")
    dots = len(name) - len(name.lstrip("."))
    if dots:
        yield ".".join([*parents[: max(len(parents) - dots, 0)], name.lstrip(".")])
        return
    yield name
    for depth in range(len(parents) - 1, 0, -1):
        yield ".".join([*parents[:depth], name])


def at(top: Named, path: str) -> Node | None:
    """What stands at a dotted path, if anything."""
    node: Node | None = top
    for name in names(path):
        if isinstance(node, Sequenced):
            node = node.items[int(name)] if name.isdecimal() and int(name) < len(node.items) else None
        elif isinstance(node, Named):
            node = next((one.node for one in node.entries if one.name == name), None)
        else:
            return None
    return node
