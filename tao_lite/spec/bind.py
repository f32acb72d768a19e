"""Tree to message: every name and value is checked against the schema, and all problems are collected."""

import difflib
import re
from collections.abc import Iterable, Iterator, MutableMapping

from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import schema
from tao_lite.spec.syntax import Field, Place, Problem, Scalar

Places = dict[str, Place]

_SIGNED = {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64}
_INTEGERS = _SIGNED | {FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64}


class _UnfitError(Exception):
    """A value does not fit its field; the text says what it must be."""


def bind(tree: list[Field]) -> tuple[pb.Experiment, Places, list[Problem]]:
    """Message of a tree, the place of each field that was set, and every problem found on the way.

    Fields with a problem are left unset.
    """
    experiment, binder = pb.Experiment(), _Binder()
    binder.block(tree, experiment, "")
    return experiment, binder.places, binder.problems


def join(path: str, name: str) -> str:
    """Path of a field inside the message at `path`."""
    return f"{path}.{name}" if path else name


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing where no known word is near."""
    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    return f"; did you mean {names[near[0]]}?" if near else ""


class _Binder:
    def __init__(self) -> None:
        self.places = Places()
        self.problems: list[Problem] = []

    def block(self, tree: list[Field], message: Message, path: str) -> None:
        known = schema.fields(message)
        for field in tree:
            field_path = join(path, field.name)
            if field.name not in known:
                self.problems.append(Problem(field.place, field_path, _unknown(field.name, known)))
                continue
            try:
                self._refuse_second(message, known[field.name], field_path)
                self.places.setdefault(
                    field_path, field.value_place if isinstance(field.value, Scalar) else field.place
                )
                self._set(field, known[field.name], message, field_path)
            except _UnfitError as unfit:
                self.problems.append(Problem(field.value_place, field_path, str(unfit)))

    def _refuse_second(self, message: Message, descriptor: FieldDescriptor, path: str) -> None:
        if not descriptor.is_repeated and path in self.places:
            raise _UnfitError(f"set a second time; the first is on line {self.places[path].line}")
        group = descriptor.containing_oneof
        other = message.WhichOneof(group.name) if group else None
        if group and other and other != descriptor.name:
            raise _UnfitError(f"{other} is set already; keep one of {', '.join(f.name for f in group.fields)}")

    def _set(self, field: Field, descriptor: FieldDescriptor, message: Message, path: str) -> None:
        block = schema.block_type(descriptor)
        if schema.is_map(descriptor):
            _set_map_entry(field, descriptor, getattr(message, field.name))
        elif block:
            if isinstance(field.value, Scalar):
                names = ", ".join(list(schema.fields(block))[:6])
                raise _UnfitError(f"found {_shown(field.value)}, must be a block: {field.name} {{ ... }} with {names}")
            inner = getattr(message, field.name)
            inner.SetInParent()
            self.block(field.value, inner, path)
        elif descriptor.is_repeated:
            getattr(message, field.name).append(_scalar(field.value, descriptor))
        else:
            setattr(message, field.name, _scalar(field.value, descriptor))


def _set_map_entry(field: Field, descriptor: FieldDescriptor, target: MutableMapping[object, object]) -> None:
    entry = {inner.name: inner.value for inner in field.value} if isinstance(field.value, list) else {}
    if set(entry) != {"key", "value"}:
        raise _UnfitError(f"must be {field.name} {{ key: ... value: ... }}")
    kinds = schema.fields(descriptor.message_type) if descriptor.message_type else {}
    key, value = (_scalar(entry[name], kinds[name]) for name in ("key", "value"))
    if key in target:
        raise _UnfitError(f"key {key!r} is given a second time")
    target[key] = value


def _scalar(value: Scalar | list[Field], descriptor: FieldDescriptor) -> object:
    if isinstance(value, list):
        raise _UnfitError(f"found a block, must be {_kind(descriptor)}")
    kind = descriptor.cpp_type
    if (kind == FieldDescriptor.CPPTYPE_STRING) != (value.kind == "string") and value.kind != "raw":
        raise _UnfitError(f"found {_shown(value)}, must be {_kind(descriptor)}")
    try:
        if kind == FieldDescriptor.CPPTYPE_STRING:
            return value.text
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return text_format.ParseBool(value.text)
        if kind == FieldDescriptor.CPPTYPE_ENUM:
            return text_format.ParseEnum(descriptor, value.text)
        if kind in _INTEGERS:
            return text_format.ParseInteger(_decimal(value.text), is_signed=kind in _SIGNED)
        return text_format.ParseFloat(value.text)
    except (ValueError, text_format.ParseError) as error:
        raise _UnfitError(
            f"found {_shown(value)}, must be {_kind(descriptor)}{did_you_mean(value.text, _words(descriptor))}"
        ) from error


def _decimal(text: str) -> str:
    """The number without leading zeros: `010` is ten to people who write spec files, not C's octal eight."""
    return re.sub(r"^0+(?=\d)", "", text)


def _shown(value: Scalar) -> str:
    return f'"{value.text}"' if value.kind == "string" else value.text or '""'


def _words(descriptor: FieldDescriptor) -> list[str]:
    """The words that an enum or bool field may hold."""
    if descriptor.enum_type:
        return [value.name for value in descriptor.enum_type.values]
    return ["true", "false"] if descriptor.cpp_type == FieldDescriptor.CPPTYPE_BOOL else []


def _kind(descriptor: FieldDescriptor) -> str:
    if descriptor.enum_type:
        return "one of " + ", ".join(_words(descriptor))
    if descriptor.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return "a string in quotes"
    if descriptor.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return "true or false"
    return "a whole number of 0 or more" if descriptor.cpp_type in _INTEGERS else "a number"


def _unknown(name: str, known: Iterable[str]) -> str:
    near = did_you_mean(name, known)
    homes = [] if near else list(_homes(name, schema.EXPERIMENT, ""))
    if homes:
        return f"unknown here; it belongs in {' or '.join(homes)}"
    return f"unknown field{near or '; known are ' + ', '.join(known)}"


def _homes(name: str, message: Descriptor, path: str) -> Iterator[str]:
    for field_name, field in schema.fields(message).items():
        if field_name == name:
            yield join(path, name)
        inner = schema.block_type(field)
        if inner:
            yield from _homes(name, inner, join(path, field_name))
