"""Message to tree: the fields that are set, in the order of the schema, the way `bind` reads them."""

from collections.abc import Callable, Mapping, Sequence

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tao_lite.spec import reference, schema
from tao_lite.spec.bind import join
from tao_lite.spec.findings import COMMAND_LINE
from tao_lite.spec.text.syntax import Field, Scalar

# Called with the path, the descriptor, the value and the fields made of it, to give these comments.
Annotate = Callable[[str, FieldDescriptor, object, list[Field]], None]

# What a reader wants to see first; the schema has them in the order of TAO's numbers.
_FIRST = ("compat", "model_config", "dataset_config", "train_config")


def unbind(message: Message, annotate: Annotate, path: str = "") -> list[Field]:
    """The fields of the message; several of a name for a list or a map."""
    known = schema.fields(message)
    first = [name for name in _FIRST if name in known] if not path else []
    found: list[Field] = []
    for name in (*first, *(name for name in known if name not in first)):
        if schema.is_set(message, known[name]):
            one_path, value = join(path, name), getattr(message, name)
            made = _made(known[name], value, annotate, one_path)
            annotate(one_path, known[name], value, made)
            found += made
    return found


def scalar(field: FieldDescriptor, value: object) -> Scalar:
    """A single value of the field as it stands in a file."""
    is_string = field.cpp_type == FieldDescriptor.CPPTYPE_STRING
    return Scalar(reference.value_words(field, value), "string" if is_string else "word")


def _made(field: FieldDescriptor, value: object, annotate: Annotate, path: str) -> list[Field]:
    if isinstance(value, Message):
        return [_field(field.name, unbind(value, annotate, path))]
    if isinstance(value, Mapping):
        return [_field(field.name, _entry(field, key, value[key])) for key in sorted(value)]
    several = value if field.is_repeated and isinstance(value, Sequence) else [value]
    if schema.block_type(field):
        paths = (f"{path}[{index}]" for index in range(len(several)))
        return [_field(field.name, unbind(one, annotate, own)) for one, own in zip(several, paths, strict=True)]
    return [_field(field.name, scalar(field, one)) for one in several]


def _entry(field: FieldDescriptor, key: object, value: object) -> list[Field]:
    assert field.message_type is not None
    kinds = schema.fields(field.message_type)
    return [_field("key", scalar(kinds["key"], key)), _field("value", scalar(kinds["value"], value))]


def _field(name: str, value: Scalar | list[Field]) -> Field:
    return Field(name, value, COMMAND_LINE, COMMAND_LINE)
