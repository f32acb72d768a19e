"""Values of a JSON or YAML file, and the tree of fields that they stand for."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tao_lite.spec import schema
from tao_lite.spec.findings import Place
from tao_lite.spec.text.syntax import Field, Scalar, TextFormatError

# The kind of a word without quotes in YAML, which may be anything that its field may hold.
PLAIN = "plain"

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A single value; nothing where the file says null."""

    place: Place
    value: Scalar | None


@dataclass(frozen=True, slots=True)
class Sequenced:
    """A list."""

    place: Place
    items: "Sequence[Node]"


@dataclass(frozen=True, slots=True)
class Named:
    """Values by name."""

    place: Place
    entries: "Sequence[Entry]"


Node = Leaf | Sequenced | Named


class Entry(NamedTuple):
    """One name and its value."""

    name: str
    place: Place
    node: Node


def fields(block: Named, descriptor: Descriptor | None = schema.EXPERIMENT) -> list[Field]:
    """The fields of a block; null is a field that is not set, a list a repeated field, and a map its entries.

    A word without quotes is a string only where the schema holds one, so that `no` names a class in one place and is
    refused in another.

    Raises:
        TextFormatError: a name comes twice, or a list holds what no field can.
    """
    known = schema.fields(descriptor) if descriptor else {}
    found: list[Field] = []
    for entry in _distinct(block):
        found += _field(entry, entry.node, known.get(entry.name))
    return found


def named(fields: Sequence[Field], place: Place) -> Named:
    """The values of text format by name, a field that is repeated as a list; what `fields` undoes."""
    several: dict[str, list[Field]] = {}
    for one in fields:
        several.setdefault(one.name, []).append(one)
    entries = [Entry(name, ones[0].place, _node(ones)) for name, ones in several.items()]
    return Named(place, entries)


def _node(ones: Sequence[Field]) -> Node:
    nodes = [
        named(one.value, one.value_place) if isinstance(one.value, list) else Leaf(one.value_place, _literal(one.value))
        for one in ones
    ]
    return nodes[0] if len(nodes) == 1 else Sequenced(ones[0].value_place, nodes)


def _literal(value: Scalar) -> Scalar:
    """The value, ${NAME} in it not to be taken for YAML's interpolation: in text format it is a variable."""
    return Scalar(value.text.replace("${", r"\${"), value.kind)


def _distinct(block: Named) -> Sequence[Entry]:
    places: dict[str, Place] = {}
    for entry in block.entries:
        if entry.name in places:
            first = places[entry.name].line
            raise TextFormatError(entry.place, f"{entry.name} is given a second time; the first is on line {first}")
        places[entry.name] = entry.place
    return block.entries


def _field(entry: Entry, node: Node, descriptor: FieldDescriptor | None) -> Iterator[Field]:
    if isinstance(node, Sequenced):
        for item in node.items:
            if isinstance(item, Sequenced) or (isinstance(item, Leaf) and not item.value):
                raise TextFormatError(item.place, f"{entry.name}: a list holds values or blocks, not lists or null")
            yield from _field(entry, item, descriptor)
    elif isinstance(node, Named) and descriptor and schema.is_map(descriptor):
        yield from (_map_entry(entry, one, descriptor) for one in _distinct(node))
    elif isinstance(node, Named):
        block = schema.block_type(descriptor) if descriptor else None
        yield Field(entry.name, fields(node, block), entry.place, node.place)
    elif node.value:
        yield Field(entry.name, _scalar(node, node.value, descriptor), entry.place, node.place)


def _map_entry(entry: Entry, one: Entry, descriptor: FieldDescriptor) -> Field:
    """`name { key: ... value: ... }` for one entry of the map."""
    kinds = schema.fields(descriptor.message_type) if descriptor.message_type else {}
    key = Field("key", Scalar(one.name, "string"), one.place, one.place)
    value = _field(one._replace(name="value"), one.node, kinds.get("value"))
    return Field(entry.name, [key, *value], entry.place, one.place)


def _scalar(node: Leaf, value: Scalar, descriptor: FieldDescriptor | None) -> Scalar:
    if not value.text.isprintable():
        _refuse_half_characters(node.place, value.text)
    if descriptor and descriptor.enum_type:
        return Scalar(value.text, "word")
    if value.kind != PLAIN:
        return value
    return Scalar(value.text, _kind(value.text, descriptor))


def _kind(plain: str, descriptor: FieldDescriptor | None) -> str:
    """What a word without quotes is; where the schema does not know the field, what it looks like."""
    if descriptor and descriptor.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return "string"
    if _NUMBER.fullmatch(plain):
        return "number"
    is_single = descriptor is not None and not descriptor.message_type
    return "word" if is_single or plain.lower() in ("true", "false") else "string"


def _refuse_half_characters(place: Place, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TextFormatError(place, "the string holds half of a surrogate pair, which is no character") from error
