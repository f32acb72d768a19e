"""Tree to message: every name and value is checked against the schema, and all problems are collected."""

import contextlib
import difflib
import re
from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass, field

from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from tao_lite.errors import brief
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import schema
from tao_lite.spec.findings import Finding, Place, error
from tao_lite.spec.text.syntax import Field, Scalar

Places = dict[str, Place]

MAX_PROBLEMS = 100

_SIGNED = {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64}
_INTEGERS = _SIGNED | {FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64}


class _EnoughError(Exception):
    """There are so many problems that the rest is not worth finding."""


class _UnfitError(Exception):
    """A value does not fit its field; the text says what it must be."""


@dataclass
class Bound:
    """A message, the place of each field that was set, and every problem found on the way.

    Fields with a problem are left unset; `excused` holds the paths of those, which are not missing but wrong.
    """

    experiment: pb.Experiment = field(default_factory=pb.Experiment)
    places: Places = field(default_factory=Places)
    problems: list[Finding] = field(default_factory=list)
    excused: set[str] = field(default_factory=set)


def bind(tree: list[Field]) -> Bound:
    """Message of a tree."""
    bound = Bound()
    with contextlib.suppress(_EnoughError):
        _Binder(bound).block(tree, bound.experiment, "")
    return bound


def join(path: str, name: str) -> str:
    """Path of a field inside the message at `path`."""
    return f"{path}.{name}" if path else name


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing where no known word is near."""
    near = nearest(word, known)
    return f"; did you mean {near}?" if near else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that the user may have meant, or nothing."""
    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    return names[near[0]] if near else ""


def homes(name: str, message: Descriptor = schema.EXPERIMENT, path: str = "") -> Iterator[str]:
    """Paths of the fields called `name`."""
    for field_name, descriptor in schema.fields(message).items():
        if field_name == name:
            yield join(path, name)
        inner = schema.block_type(descriptor)
        if inner:
            yield from homes(name, inner, join(path, field_name))


class _Binder:
    def __init__(self, bound: Bound) -> None:
        self._bound = bound

    def block(self, tree: list[Field], message: Message, path: str) -> None:
        """Set the fields of a block."""
        known = schema.fields(message)
        for one in tree:
            one_path = join(path, one.name)
            if one.name not in known:
                near = nearest(one.name, known)
                self._refuse(one_path, one.place, _unknown(one.name, known, near))
                self._bound.excused.add(join(path, near))
                continue
            try:
                self._refuse_second(message, known[one.name], one_path)
                place = one.value_place if isinstance(one.value, Scalar) else one.place
                self._bound.places.setdefault(one_path, place)
                self._set(one, known[one.name], message, one_path)
            except _UnfitError as unfit:
                self._refuse(one_path, one.value_place, str(unfit))

    def _refuse(self, path: str, place: Place, text: str) -> None:
        self._bound.problems.append(error(place, path, text))
        self._bound.excused.add(path)
        if len(self._bound.problems) == MAX_PROBLEMS:
            self._bound.problems.append(error(place, "", f"{MAX_PROBLEMS} problems up to here; is it a spec file?"))
            raise _EnoughError

    def _refuse_second(self, message: Message, descriptor: FieldDescriptor, path: str) -> None:
        if not descriptor.is_repeated and path in self._bound.places:
            raise _UnfitError(f"set a second time; the first is on line {self._bound.places[path].line}")
        group = descriptor.containing_oneof
        other = message.WhichOneof(group.name) if group else None
        if group and other and other != descriptor.name:
            raise _UnfitError(f"{other} is set already; keep one of {', '.join(f.name for f in group.fields)}")

    def _set(self, one: Field, descriptor: FieldDescriptor, message: Message, path: str) -> None:
        block = schema.block_type(descriptor)
        if schema.is_map(descriptor):
            _set_map_entry(one, descriptor, getattr(message, one.name))
        elif block:
            if isinstance(one.value, Scalar):
                names = ", ".join(list(schema.fields(block))[:6])
                raise _UnfitError(f"found {_shown(one.value)}, must be a block: {one.name} {{ ... }} with {names}")
            inner = getattr(message, one.name)
            if descriptor.is_repeated:
                path = f"{path}[{len(inner)}]"
                inner = inner.add()
                self._bound.places[path] = one.place
            inner.SetInParent()
            self.block(one.value, inner, path)
        elif descriptor.is_repeated:
            getattr(message, one.name).append(_scalar(one.value, descriptor))
        else:
            setattr(message, one.name, _scalar(one.value, descriptor))


def _set_map_entry(one: Field, descriptor: FieldDescriptor, target: MutableMapping[object, object]) -> None:
    entry = {inner.name: inner.value for inner in one.value} if isinstance(one.value, list) else {}
    if set(entry) != {"key", "value"}:
        raise _UnfitError(f"must be {one.name} {{ key: ... value: ... }}")
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
            _refuse_what_is_not_utf8(value.text)
            return value.text
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return text_format.ParseBool(value.text)
        if kind == FieldDescriptor.CPPTYPE_ENUM:
            return text_format.ParseEnum(descriptor, value.text)
        if kind in _INTEGERS:
            return text_format.ParseInteger(_decimal(_number(value.text)), is_signed=kind in _SIGNED)
        return text_format.ParseFloat(_number(value.text))
    except (ValueError, text_format.ParseError) as error:
        raise _UnfitError(
            f"found {_shown(value)}, must be {_kind(descriptor)}{did_you_mean(value.text, _words(descriptor))}"
        ) from error


def _refuse_what_is_not_utf8(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _UnfitError(f"found {brief(text)}, which is not UTF-8, as a spec has to be; rename it") from error


def _number(text: str) -> str:
    """The text, which text format may hold: Python, in which protobuf's reader is written, takes 1_000 and 0b1 too."""
    if re.fullmatch(r".*_.*|[+-]?0[bBoO].*", text):
        raise ValueError(text)
    return text


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


def _unknown(name: str, known: Iterable[str], near: str) -> str:
    if near:
        return f"unknown field; did you mean {near}?"
    places = list(homes(name))
    if places:
        return f"unknown here; it belongs in {' or '.join(places)}"
    return f"unknown field; known are {', '.join(known)}"
