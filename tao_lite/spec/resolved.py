"""What a spec means once every default is filled in: its values by path, and as a text that says where each is from."""

import textwrap
from collections.abc import Callable, Iterator, Mapping

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import rules, schema
from tao_lite.spec.bind import join
from tao_lite.spec.text import write
from tao_lite.spec.text.syntax import Document, Field
from tao_lite.spec.unbind import scalar, unbind

NOT_SET = "not set"

_WIDTH = 80


def values(experiment: pb.Experiment) -> Mapping[str, str]:
    """Every value that counts, by its path, as it stands in a file. Specs that mean the same have the same."""
    return dict(_values(experiment, ""))


def differences(a: pb.Experiment, b: pb.Experiment) -> list[tuple[str, str, str]]:
    """What two specs mean differently: path, value in a, value in b."""
    in_a, in_b = values(a), values(b)
    rows = [(path, in_a.get(path, NOT_SET), in_b.get(path, NOT_SET)) for path in {**in_a, **in_b}]
    return [row for row in rows if row[1] != row[2]]


def text(experiment: pb.Experiment, stage: str, origin: Callable[[str], str]) -> str:
    """The spec with every default set, but for those that the rules don't let a file set; loads to the same values.

    `origin` gives the comment of a field by its path.
    """

    def annotate(path: str, field: FieldDescriptor, value: object, made: list[Field]) -> None:
        if isinstance(value, Message):
            made[0].opening, made[0].closing = f"# {origin(path)}", _unset(value)
        elif not schema.block_type(field):
            made[-1].comment = f"# {origin(path)}"

    return write.text(Document(unbind(filled(experiment, stage), annotate)))


def filled(experiment: pb.Experiment, stage: str) -> pb.Experiment:
    """A copy in which every default is set, but for those that the rules of the stage don't let a file set."""
    copy = pb.Experiment()
    copy.CopyFrom(experiment)
    _fill(copy)
    was_set, was_said = set(_set_paths(experiment, "")), _remarks(experiment, stage)
    for path in {path for path, _ in _remarks(copy, stage) - was_said} - was_set:
        _clear(copy, path)
    return copy


def _values(message: Message, path: str) -> Iterator[tuple[str, str]]:
    for group in message.DESCRIPTOR.oneofs:
        yield path, message.WhichOneof(group.name) or NOT_SET
    for name, field in schema.fields(message).items():
        yield from _of_field(message, name, field, join(path, name))


def _of_field(message: Message, name: str, field: FieldDescriptor, path: str) -> Iterator[tuple[str, str]]:
    block, value = schema.block_type(field), getattr(message, name)
    if schema.is_map(field):
        yield path, ", ".join(f"{key}: {value[key]}" for key in sorted(value)) or NOT_SET
    elif block and field.is_repeated:
        yield from (row for index, one in enumerate(value) for row in _values(one, f"{path}[{index}]"))
    elif field.is_repeated:
        yield path, ", ".join(write.scalar(scalar(field, one)) for one in value) or NOT_SET
    elif not (message.HasField(name) or _means_its_default(field)):
        yield from () if block else ((path, NOT_SET),)
    elif block:
        yield from _values(value, path)
    else:
        yield path, write.scalar(scalar(field, value))


def _means_its_default(field: FieldDescriptor) -> bool:
    """Whether a field that is left out means its default, a block one of defaults; else what its rule says of that."""
    block, rule = schema.block_type(field), schema.rule(field)
    if block is None:
        return not rule.unset
    if field.is_repeated:
        return False
    is_a_choice = bool(block.oneofs or field.containing_oneof)
    return not (is_a_choice or rule.unset or rule.required or rule.required_by or rule.warn_set)


def _fill(message: Message) -> None:
    for name, field in schema.fields(message).items():
        if schema.block_type(field):
            if _means_its_default(field):
                getattr(message, name).SetInParent()
        elif not field.is_repeated and _means_its_default(field):
            setattr(message, name, getattr(message, name))
    for _, block in schema.blocks(message):
        _fill(block)


def _remarks(experiment: pb.Experiment, stage: str) -> set[tuple[str, str]]:
    """Path and text of all that the rules say."""
    remarks = [*rules.violations(experiment, {}, stage), *rules.warnings(experiment, stage)]
    return {(remark.path, remark.text) for remark in remarks}


def _set_paths(message: Message, path: str) -> Iterator[str]:
    yield from (join(path, field.name) for field, _ in message.ListFields())
    for name, block in schema.blocks(message):
        yield from _set_paths(block, join(path, name))


def _clear(experiment: pb.Experiment, path: str) -> None:
    *blocks, name = path.split(".")
    message: Message = experiment
    for block in blocks:
        message = dict(schema.blocks(message))[block]
    message.ClearField(name)


def _unset(message: Message) -> list[str]:
    """The fields that are not set, as comment lines; members of a oneof are not named."""
    known = schema.fields(message)
    names = [name for name, field in known.items() if not (schema.is_set(message, field) or field.containing_oneof)]
    return textwrap.wrap(f"# Not set: {', '.join(names)}", _WIDTH, subsequent_indent="#   ") if names else []
