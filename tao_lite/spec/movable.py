"""Which fields of a spec can move in a search, and why others can't."""

from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import reference, schema
from tao_lite.spec.bind import did_you_mean, join
from tao_lite.spec.findings import Finding, Level

_ROOMS = ("model_config", "train_config")
_NOT_LEARNT = "it changes nothing of what is learnt"
# What can't move though it is a single value, or a block of such, and why.
_FIXED = {
    "train_config.n_epochs": "all trials have the same length, so that they can be compared on the way",
    "train_config.random_seed": "a luckier seed is no better setting",
    "train_config.early_stopping": "the pruner says which trials go on",
    "train_config.n_workers": _NOT_LEARNT,
    "train_config.checkpoint": _NOT_LEARNT,
    "train_config.communication_timeout_seconds": _NOT_LEARNT,
    "train_config.visualizer": _NOT_LEARNT,
}
_WEIGHTS = "train_config.pretrained_model_path"
_WHOLE = {
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64,
}


def violations(config: pb.TuneConfig) -> Iterator[Finding]:
    """Each parameter whose field can't move, or not as it is said."""
    for index, one in enumerate(config.parameter):
        is_second = any(before.field == one.field for before in config.parameter[:index])
        if why := f"{one.field} is named a second time" if is_second else why_not(one):
            yield Finding(Level.ERROR, f"tune_config.parameter[{index}]", why)


def why_not(one: pb.TuneParameter) -> str:
    """Why the field can't move, or not as it is said; nothing if it can."""
    if words := _unmovable(one.field):
        return words
    kind = one.WhichOneof("values")
    if kind and one.choice:
        return f"{one.field} has {kind} and choice; leave one of them out"
    if one.weight and len(one.weight) != len(one.choice):
        return f"{one.field} has {len(one.weight)} weights for {len(one.choice)} choices; give one to each"
    if len(set(one.choice)) < len(one.choice):
        return f"{one.field} has a choice twice"
    return _wrong_bounds(one, kind) if kind else ""


def field(path: str) -> FieldDescriptor:
    """The field of a path that exists."""
    found = reference.find(path)
    assert found is not None
    return found[1]


def is_number(field: FieldDescriptor) -> bool:
    """Whether it holds numbers, whole or not."""
    return is_whole(field) or field.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)


def is_whole(field: FieldDescriptor) -> bool:
    """Whether it holds whole numbers."""
    return field.cpp_type in _WHOLE


def _wrong_bounds(one: pb.TuneParameter, kind: str) -> str:
    bounds, path = getattr(one, kind), one.field
    if not is_number(field(path)):
        return f"{path} is no number; give its values as choice"
    if not bounds.min < bounds.max:
        return f"{path}: found min {bounds.min:g} and max {bounds.max:g}; max must be larger"
    if kind == "log_range" and (bounds.min <= 0 or bounds.step):
        return f"{path}: log_range takes a min above 0 and no step; range takes others"
    if is_whole(field(path)) and any(not part.is_integer() for part in (bounds.min, bounds.max, bounds.step)):
        return f"{path} is a whole number, and so must be min, max and step"
    return ""


def _unmovable(path: str) -> str:
    found = reference.find(path)
    if found is None or found[0] != path:
        near = f"; did you mean {found[0]}?" if found else did_you_mean(path, _all_paths(schema.EXPERIMENT, ""))
        return f"no such field: {path}{near}"
    one, why = found[1], ""
    rule = schema.rule(one)
    if path.partition(".")[0] not in _ROOMS:
        why = f"only fields of {' and '.join(_ROOMS)} are searched"
    elif schema.block_type(one) or one.is_repeated:
        why = "it is no single value"
    elif rule.HasField("path") and path != _WEIGHTS:
        why = "it is a path"
    else:
        why = next((why for fixed, why in _FIXED.items() if f"{path}.".startswith(f"{fixed}.")), rule.warn_set)
    return f"{path} can't move: {why}" if why else ""


def _all_paths(message: Descriptor, path: str) -> Iterator[str]:
    for name, one in schema.fields(message).items():
        if block := schema.block_type(one):
            yield from _all_paths(block, join(path, name))
        else:
            yield join(path, name)
