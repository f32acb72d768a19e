"""Values written in another form than their field's, such as "80" or 80.0 for 80, where the meaning is certain."""

import re

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tao_lite.spec import schema
from tao_lite.spec.bind import join
from tao_lite.spec.findings import Finding, note
from tao_lite.spec.text.syntax import Field, Scalar
from tao_lite.spec.text.tree import index_of

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_INTEGER = re.compile(r"-?(\d+|0[xX][0-9a-fA-F]+)")
_BOOLS = {
    **dict.fromkeys(("true", "t", "yes", "on", "1"), "true"),
    **dict.fromkeys(("false", "f", "no", "off", "0"), "false"),
}
# What a bool field takes as it is.
_PLAIN_BOOLS = ("true", "True", "t", "1", "false", "False", "f", "0")

_NUMERIC = {
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64,
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_FLOAT,
    FieldDescriptor.CPPTYPE_DOUBLE,
}


def convert(fields: list[Field], message: Descriptor, path: str = "") -> list[Finding]:
    """Rewrite the values of a block in the form of their fields; a note for each: where, which field, old -> new."""
    notes: list[Finding] = []
    known = schema.fields(message)
    for one in list(fields):
        descriptor, one_path = known.get(one.name), join(path, one.name)
        if descriptor is None or schema.is_map(descriptor):
            continue
        block = schema.block_type(descriptor)
        if block:
            notes += convert(one.value, block, one_path) if isinstance(one.value, list) else []
        elif isinstance(one.value, Scalar):
            notes += _convert_one(fields, one, descriptor, one_path)
    return notes


def shown(value: Scalar) -> str:
    """The value as the user wrote it, shortened."""
    text = value.text if len(value.text) <= 80 else f"{value.text[:77]}..."
    return f'"{text}"' if value.kind == "string" else text


def _convert_one(fields: list[Field], one: Field, descriptor: FieldDescriptor, path: str) -> list[Finding]:
    old = one.value
    assert isinstance(old, Scalar)
    parts = _parts(old, descriptor)
    if parts:
        index = index_of(one, fields)
        items = [Field(one.name, Scalar(part, "number"), one.place, one.value_place) for part in parts]
        items[0].comments, items[-1].comment = one.comments, one.comment
        fields[index : index + 1] = items
        return [note(one.value_place, path, f"{shown(old)} -> [{', '.join(parts)}]")]
    new = _repaired(old, descriptor)
    if new is None:
        return []
    one.value = new
    return [note(one.value_place, path, f"{shown(old)} -> {shown(new)}")]


def _parts(value: Scalar, descriptor: FieldDescriptor) -> list[str]:
    """The numbers of a list in quotes, for a field that is repeated; nothing if the value is no such list."""
    if not descriptor.is_repeated or descriptor.cpp_type not in _NUMERIC or value.kind not in ("string", "raw"):
        return []
    parts = [part for part in re.split(r"[\s,;]+", value.text.strip(" \t[](){}")) if part]
    is_list = len(parts) > 1 or value.kind == "string"
    return parts if is_list and all(map(_NUMBER.fullmatch, parts)) else []


def _repaired(value: Scalar, descriptor: FieldDescriptor) -> Scalar | None:
    """The value in the field's own form, or nothing: it has that form already, or its meaning is not certain."""
    kind = "raw" if value.kind == "raw" else "word"
    text: str | None
    if descriptor.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        kind = "raw" if value.kind == "raw" else "string"
        text = _string(value, descriptor)
    elif descriptor.enum_type:
        text = _enum(value, [known.name for known in descriptor.enum_type.values])
    elif descriptor.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        is_plain = value.kind != "string" and value.text in _PLAIN_BOOLS
        text = None if is_plain else _BOOLS.get(value.text.strip().lower())
    else:
        kind = "raw" if value.kind == "raw" else "number"
        is_integer = descriptor.cpp_type not in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)
        text = _integer(value) if is_integer else _float(value)
    new = Scalar(text, kind) if text is not None else None
    return new if new != value else None


def _string(value: Scalar, descriptor: FieldDescriptor) -> str | None:
    """A choice in its own case; a word without its quotes."""
    choices = {choice.lower(): choice for choice in schema.rule(descriptor).choices}
    if value.kind == "number":
        return None
    return choices.get(value.text.strip().lower(), value.text)


def _enum(value: Scalar, names: list[str]) -> str | None:
    wanted = re.sub(r"[\s-]+", "_", value.text.strip()).upper()
    return wanted if wanted in names else None


def _integer(value: Scalar) -> str | None:
    """`"80"`, 80.0 and 8e1 as 80; a fraction stays, to be refused."""
    text = value.text.strip()
    if _INTEGER.fullmatch(text):
        return text
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    # Larger ones are not exact, and no field holds them.
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else None


def _float(value: Scalar) -> str | None:
    text = value.text.strip()
    return text if value.kind != "number" and _NUMBER.fullmatch(text) else None
