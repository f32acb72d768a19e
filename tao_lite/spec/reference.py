"""What the schema says of a field, in words: type, default, rule, and the meaning, its comment in the .proto."""

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import schema
from tao_lite.spec.bind import did_you_mean, homes

# Comments are not in the generated code; proto/generate.py writes them beside it.
_MEANINGS = Path(__file__).with_name("meanings.json")


def meaning(of: Descriptor | FieldDescriptor | EnumDescriptor, value: str = "") -> str:
    """The comment of a message, field, enum or one of its values."""
    name = of.full_name.partition(".")[2]
    return _meanings()[f"{name}.{value}" if value else name]


def type_words(field: FieldDescriptor) -> str:
    """The type of a field, such as `uint32, repeated`."""
    if schema.is_map(field) and field.message_type:
        key, value = schema.fields(field.message_type).values()
        return f"map {type_words(key)} to {type_words(value)}"
    kind = field.message_type or field.enum_type
    name = kind.full_name.partition(".")[2] if kind else _SCALARS[field.cpp_type]
    return f"{name}, repeated" if field.is_repeated else name


def default_words(field: FieldDescriptor) -> str:
    """The default written beside a field as it would stand in a file; nothing if it is the zero of its type."""
    if not field.has_default_value:
        return ""
    return value_words(field, field.default_value)


def value_words(field: FieldDescriptor, value: object) -> str:
    """A value of a field as it stands in a file, strings without quotes."""
    if field.enum_type:
        return str(next(known.name for known in field.enum_type.values if known.number == value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(schema.as_written(value)).removesuffix(".0")
    return str(value)


def rule_words(field: FieldDescriptor) -> str:
    """The rule beside a field in words, such as `required; >= 1`."""
    rule = schema.rule(field)
    words = []
    if rule.required:
        words.append("required")
    if rule.required_by:
        words.append(f"required by {', '.join(rule.required_by)}")
    if rule.HasField("path"):
        words.append(f"path ({pb.Rule.Path.Name(rule.path).lower().replace('_', ' ')})")
    words += [f"{sign} {limit:g}" for sign, limit, _ in schema.bounds(rule)]
    if rule.choices:
        words.append("one of " + ", ".join(rule.choices))
    if rule.warn_set:
        words.append("no effect")
    if rule.unset:
        words.append(f"unset: {rule.unset}")
    return "; ".join(words)


def find(path: str) -> tuple[str, FieldDescriptor] | None:
    """The field at a path, or the only one of that name, with its whole path."""
    names = path.split(".")
    matches = [home for home in homes(names[-1]) if f".{home}".endswith(f".{path}")]
    exact = path in matches
    if not exact and len(matches) != 1:
        return None
    whole = path if exact else matches[0]
    message = schema.EXPERIMENT
    for block in whole.split(".")[:-1]:
        message = schema.block_type(schema.fields(message)[block]) or message
    return whole, schema.fields(message)[names[-1]]


def why_not_found(path: str) -> str:
    """What to do about a path that `find` does not know."""
    name = path.rpartition(".")[2]
    places = list(homes(name))
    if places:
        return f"found in {', '.join(places)}; name one of them"
    words = {one.rpartition(".")[2] for one in _meanings()}
    return f"no such field{did_you_mean(name, words)}"


def describe(path: str, field: FieldDescriptor) -> Iterator[str]:
    """Lines on one field; for a block also a line on each field inside."""
    yield f"{path}: {meaning(field)}"
    words = ("type", type_words(field)), ("default", default_words(field)), ("rule", rule_words(field))
    yield from (f"  {name:<8} {text}" for name, text in words if text)
    if field.enum_type:
        yield from _columns([(value.name, meaning(field.enum_type, value.name)) for value in field.enum_type.values])
    block = schema.block_type(field)
    if block:
        yield from overview(block)


def overview(message: Descriptor) -> Iterator[str]:
    """A line on each field of a message."""
    yield from _columns([(name, type_words(field), meaning(field)) for name, field in schema.fields(message).items()])


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


@functools.cache
def _meanings() -> Mapping[str, str]:
    words: dict[str, str] = json.loads(_MEANINGS.read_text(encoding="utf-8"))
    return words


_SCALARS = {
    FieldDescriptor.CPPTYPE_BOOL: "bool",
    FieldDescriptor.CPPTYPE_DOUBLE: "double",
    FieldDescriptor.CPPTYPE_FLOAT: "float",
    FieldDescriptor.CPPTYPE_INT32: "int32",
    FieldDescriptor.CPPTYPE_STRING: "string",
    FieldDescriptor.CPPTYPE_UINT32: "uint32",
}
