"""A spec as YAML: text to nodes, each with its place. Only plain data: no tags, no aliases, one document."""

from collections.abc import Iterator

import yaml
from yaml import events

from tao_lite.spec.findings import Place
from tao_lite.spec.text.nodes import PLAIN, Entry, Leaf, Named, Node, Sequenced
from tao_lite.spec.text.syntax import MAX_DEPTH, Scalar, TextFormatError

# PyYAML's own reader takes about a second for so many. libyaml's is ten times as fast and words its errors otherwise.
MAX_CHARACTERS = 100_000

_NULL = ("", "~", "null", "Null", "NULL")


def parse(text: str, max_characters: int = MAX_CHARACTERS) -> Named:
    """The mapping that the file holds.

    Raises:
        TextFormatError: with the place and what was expected there.
    """
    if len(text) > max_characters:
        raise TextFormatError(
            Place(1, 1), f"the file has {len(text):,} characters; at most {max_characters:,} are read"
        )
    loader = None
    try:
        loader = _loader(text)
        return _document(loader)
    except yaml.reader.ReaderError as error:
        raise TextFormatError(_place_in(text, error.position), "YAML can't hold this character") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        raise TextFormatError(place, f"can't be read as YAML: {error.problem or error.context}") from error
    except (ValueError, OverflowError) as error:  # an escape such as "\\U00110000", or a huge number after %YAML
        place = Place(loader.line + 1, loader.column + 1) if isinstance(loader, yaml.SafeLoader) else Place(1, 1)
        raise TextFormatError(place, "can't be read as YAML: no such character") from error


def _loader(text: str) -> "yaml.SafeLoader | yaml.CSafeLoader":
    is_long = len(text) > MAX_CHARACTERS and yaml.__with_libyaml__
    return yaml.CSafeLoader(text) if is_long else yaml.SafeLoader(text)


def _document(loader: "yaml.SafeLoader | yaml.CSafeLoader") -> Named:
    reader = _Reader(loader)
    if isinstance(reader.next, events.StreamEndEvent):
        return Named(Place(1, 1), [])
    reader.take()
    place = _place(reader.next)
    top = reader.node(depth=0)
    if isinstance(top, Leaf) and not top.value:
        top = Named(place, [])
    if not isinstance(top, Named):
        raise TextFormatError(place, "must be values or blocks by name, with a colon after each name")
    reader.take()
    if not isinstance(reader.next, events.StreamEndEvent):
        raise TextFormatError(_place(reader.next), "a second document starts here; a spec is one")
    return top


class _Reader:
    def __init__(self, loader: "yaml.SafeLoader | yaml.CSafeLoader") -> None:
        self._events: Iterator[yaml.Event] = iter(loader.get_event, None)
        self.next = next(self._events)
        self.take()

    def take(self) -> yaml.Event:
        event = self.next
        if not isinstance(event, events.StreamEndEvent):
            self.next = next(self._events)
        return event

    def node(self, *, depth: int) -> Node:
        event = self.take()
        place = _place(event)
        if isinstance(event, events.AliasEvent):
            raise TextFormatError(place, f"*{event.anchor} is an alias; write the value out")
        if isinstance(event, events.NodeEvent) and _tag(event):
            raise TextFormatError(place, f"{_tag(event)} is a tag; write the value without it")
        if isinstance(event, events.ScalarEvent):
            return Leaf(place, _scalar(event))
        if depth > MAX_DEPTH:
            raise TextFormatError(place, f"blocks are nested more than {MAX_DEPTH} deep")
        if isinstance(event, events.MappingStartEvent):
            return Named(place, self._entries(depth))
        return Sequenced(place, self._items(depth))

    def _entries(self, depth: int) -> list[Entry]:
        entries: list[Entry] = []
        while not isinstance(self.next, events.MappingEndEvent):
            place = _place(self.next)
            name = self.node(depth=depth + 1)
            if not isinstance(name, Leaf):
                raise TextFormatError(place, "a name must be a single word")
            entries.append(Entry(name.value.text if name.value else "null", place, self.node(depth=depth + 1)))
        self.take()
        return entries

    def _items(self, depth: int) -> list[Node]:
        items: list[Node] = []
        while not isinstance(self.next, events.SequenceEndEvent):
            items.append(self.node(depth=depth + 1))
        self.take()
        return items


def _scalar(event: events.ScalarEvent) -> Scalar | None:
    if event.style:
        return Scalar(event.value, "string")
    return None if event.value in _NULL else Scalar(event.value, PLAIN)


def _tag(event: events.NodeEvent) -> str:
    """The tag that the file gives the node; nothing for an ordinary one."""
    tag = getattr(event, "tag", None)
    return str(tag) if tag else ""


def _place(event: yaml.Event) -> Place:
    mark = event.start_mark
    return Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)


def _place_in(text: str, position: int) -> Place:
    line = text.count("\n", 0, position) + 1
    return Place(line, position - (text.rfind("\n", 0, position) + 1) + 1)
