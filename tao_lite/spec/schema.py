"""Questions to the schema: the fields of a message, their rules, what they hold."""

import struct
from collections.abc import Callable, Iterator
from operator import ge, gt, le, lt
from typing import cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from tao_lite.spec import classification_pb2 as pb

EXPERIMENT = pb.Experiment.DESCRIPTOR


def message(name: str) -> Descriptor:
    """The top-level message type of that name."""
    return pb.DESCRIPTOR.message_types_by_name[name]


def fields(message: Message | Descriptor) -> dict[str, FieldDescriptor]:
    """The fields of a message by name, in the order of the schema."""
    descriptor = message if isinstance(message, Descriptor) else message.DESCRIPTOR
    return {field.name: cast("FieldDescriptor", field) for field in descriptor.fields}


def block_type(field: FieldDescriptor) -> Descriptor | None:
    """Type of the block a field holds; nothing for scalars and maps."""
    return None if is_map(field) else field.message_type


def is_map(field: FieldDescriptor) -> bool:
    """Whether the field is written as repeated `{ key: ... value: ... }`."""
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def is_set(message: Message, field: FieldDescriptor) -> bool:
    """Whether the message holds a value of its own for the field."""
    return len(getattr(message, field.name)) > 0 if field.is_repeated else message.HasField(field.name)


def blocks(message: Message) -> Iterator[tuple[str, Message]]:
    """The blocks that are set, with their names; of a repeated one each, counted from 0: parameter[0]."""
    for name, field in fields(message).items():
        if not block_type(field):
            continue
        if field.is_repeated:
            yield from ((f"{name}[{index}]", one) for index, one in enumerate(getattr(message, name)))
        elif message.HasField(field.name):
            yield name, getattr(message, name)


def rule(field: FieldDescriptor) -> pb.Rule:
    """The rule written beside the field."""
    return field.GetOptions().Extensions[pb.rule]


def bounds(rule: pb.Rule) -> Iterator[tuple[str, float, Callable[[float, float], bool]]]:
    """Sign, limit and comparison of each bound that the rule has."""
    if rule.HasField("min"):
        yield ">=", rule.min, ge
    if rule.HasField("above"):
        yield ">", rule.above, gt
    if rule.HasField("max"):
        yield "<=", rule.max, le
    if rule.HasField("below"):
        yield "<", rule.below, lt


def as_written(value: float) -> float:
    """The number that stands in the file: the shortest decimal that a 32-bit field stores as this value.

    Read as it is, the field turns 1e-5 into 9.99999974737875e-06 and 0.7 into 0.699999988079071.
    """
    decimals = (float(f"{value:.{digits}g}") for digits in range(6, 10))
    # The fallback is for nan, which equals nothing.
    return next((decimal for decimal in decimals if struct.unpack("f", struct.pack("f", decimal))[0] == value), value)
