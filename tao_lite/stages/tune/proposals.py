"""Between which values a field moves where the spec does not say it."""

import math
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import movable, schema
from tao_lite.spec.searched import USUAL

_FACTOR = 10
"""A number without usual values is searched from its own value divided by this to its own value times this."""


def of(path: str, experiment: pb.Experiment) -> dict[str, Any]:
    """What `Parameter` takes: all values that there are, the usual ones, or those around the spec's own.

    Nothing where nobody says what they could be.
    """
    field = movable.field(path)
    if known := _known(field):
        return {"choices": known}
    usual = USUAL.get(path)
    if usual and usual.is_power_of_two:
        powers = (2**power for power in range(int(math.log2(usual.maximum)) + 1))
        return {"choices": tuple(str(one) for one in powers if one >= usual.minimum)}
    if usual:
        return {"low": usual.minimum, "high": usual.maximum, "is_log": usual.is_log}
    return _around(field, _own(path, experiment)) if movable.is_number(field) else {}


def _known(field: FieldDescriptor) -> tuple[str, ...]:
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return "false", "true"
    values = [value.name for value in field.enum_type.values] if field.enum_type else []
    return tuple(values or schema.rule(field).choices)


def _around(field: FieldDescriptor, own: float) -> dict[str, Any]:
    """Factors around its own value, as far as its rule goes; of 0, what the rule allows."""
    limits = {sign: limit for sign, limit, _ in schema.bounds(schema.rule(field))}
    if own <= 0:
        return {"low": limits[">="], "high": limits["<="]} if {">=", "<="} <= limits.keys() else {}
    low, high = own / _FACTOR, own * _FACTOR
    if movable.is_whole(field):
        low, high = max(1, math.ceil(low)), math.floor(high)
    high = min(high, limits.get("<=", high))
    if high >= limits.get("<", math.inf):
        high = (own + limits["<"]) / 2
    return {"low": max(low, limits.get(">=", low)), "high": high, "is_log": True}


def _own(path: str, experiment: pb.Experiment) -> float:
    value: Any = experiment
    for name in path.split("."):
        value = getattr(value, name)
    return schema.as_written(float(value))
