"""The rules written beside each field in the schema, applied to a message; and the few rules that join fields."""

import math
import re
from collections.abc import Iterator

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import schema
from tao_lite.spec.bind import Places, did_you_mean, join
from tao_lite.spec.syntax import Place, Problem


def violations(experiment: pb.Experiment, places: Places, stage: str) -> Iterator[Problem]:
    """Everything that breaks a rule for this stage, in the order of the schema."""
    yield from _message_violations(experiment, "", places, stage)
    yield from _joint_violations(experiment, places)


def warnings(experiment: pb.Experiment, places: Places) -> Iterator[Problem]:
    """Settings that surprise or have no effect."""
    yield from _message_warnings(experiment, "", places)
    yield from _joint_warnings(experiment, places)


def place_of(path: str, places: Places) -> Place:
    """Place of the field, else of the nearest block around it."""
    while path and path not in places:
        path = path.rpartition(".")[0]
    return places.get(path, Place(1, 1))


def _is_set(message: Message, field: FieldDescriptor) -> bool:
    return len(getattr(message, field.name)) > 0 if field.is_repeated else message.HasField(field.name)


def _blocks(message: Message, path: str) -> Iterator[tuple[str, Message]]:
    """The blocks that are set, with their paths."""
    for name, field in schema.fields(message).items():
        if schema.block_type(field) and message.HasField(name):
            yield join(path, name), getattr(message, name)


def _message_violations(message: Message, path: str, places: Places, stage: str) -> Iterator[Problem]:
    for name, field in schema.fields(message).items():
        rule, field_path = schema.rule(field), join(path, name)
        if not _is_set(message, field):
            if rule.required or stage in rule.required_by:
                yield Problem(place_of(path, places), field_path, f"is missing; {_example(field)}")
        elif not field.message_type:
            value = getattr(message, field.name)
            for one in value if field.is_repeated else [value]:
                broken = _broken(one, rule)
                if broken:
                    yield Problem(place_of(field_path, places), field_path, broken)
    for inner_path, inner in _blocks(message, path):
        yield from _message_violations(inner, inner_path, places, stage)


def _example(field: FieldDescriptor) -> str:
    rule = schema.rule(field)
    if field.message_type:
        return f"add a block {field.name} {{ ... }}"
    if rule.choices:
        return f"add {field.name}: one of {_quoted(rule)}"
    return f"add {field.name}: with {'a string' if field.cpp_type == FieldDescriptor.CPPTYPE_STRING else 'a number'}"


def _quoted(rule: pb.Rule) -> str:
    return ", ".join(f'"{choice}"' for choice in rule.choices)


def _broken(value: object, rule: pb.Rule) -> str:
    """What the value breaks, or nothing."""
    if isinstance(value, str):
        return _broken_string(value, rule)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if not math.isfinite(value):
        return f"found {value}, must be finite"
    bounds = list(schema.bounds(rule))
    if all(holds(value, limit) for _, limit, holds in bounds):
        return ""
    return f"found {value:g}, must be {' and '.join(f'{sign} {limit:g}' for sign, limit, _ in bounds)}"


def _broken_string(value: str, rule: pb.Rule) -> str:
    if not value and (rule.required or rule.required_by):
        return "found an empty string, must be set"
    if rule.choices and value not in rule.choices:
        return f'found "{value}", must be one of {_quoted(rule)}{did_you_mean(value, rule.choices)}'
    if rule.pattern and not re.fullmatch(rule.pattern, value):
        return f'found "{value}", must {rule.pattern_words}'
    return ""


def _message_warnings(message: Message, path: str, places: Places) -> Iterator[Problem]:
    for name, field in schema.fields(message).items():
        rule, field_path = schema.rule(field), join(path, name)
        if rule.warn_unset and not _is_set(message, field):
            yield Problem(place_of(path, places), field_path, rule.warn_unset)
        if rule.warn_set and _is_set(message, field):
            yield Problem(place_of(field_path, places), field_path, f"has no effect: {rule.warn_set}")
    for inner_path, inner in _blocks(message, path):
        yield from _message_warnings(inner, inner_path, places)


def _joint_violations(experiment: pb.Experiment, places: Places) -> Iterator[Problem]:
    train = experiment.train_config
    for path, block, chosen in (
        ("train_config.optimizer", train.optimizer, train.optimizer.WhichOneof("optim")),
        ("train_config.lr_config", train.lr_config, train.lr_config.WhichOneof("lr_scheduler")),
    ):
        if path in places and not chosen:
            names = ", ".join(name for name, field in schema.fields(block).items() if field.containing_oneof)
            yield Problem(places[path], path, f"is empty; add one of {names}")
    if train.image_mean:
        expected = {"l"} if experiment.model_config.input_image_size.strip().startswith("1") else {"r", "g", "b"}
        if set(train.image_mean) != expected:
            path = "train_config.image_mean"
            found, asked = (", ".join(sorted(keys)) for keys in (train.image_mean, expected))
            yield Problem(place_of(path, places), path, f"found the keys {found}, must have exactly {asked}")


def _joint_warnings(experiment: pb.Experiment, places: Places) -> Iterator[Problem]:
    train = experiment.train_config
    chosen = train.optimizer.WhichOneof("optim")
    path = f"train_config.optimizer.{chosen}.lr"
    if path in places:
        yield Problem(places[path], path, "has no effect: lr_config sets the learning rate, as in TAO")
    if train.image_mean and train.preprocess_mode != "caffe":
        path = "train_config.image_mean"
        yield Problem(
            place_of(path, places),
            path,
            f"has no effect: preprocess_mode is {train.preprocess_mode}, only caffe reads it",
        )
    if train.HasField("loss_scale") and train.precision not in (pb.Precision.FP16, pb.Precision.AUTO):
        path = "train_config.loss_scale"
        yield Problem(place_of(path, places), path, "has no effect: only precision FP16 scales the loss")
    if experiment.dataset_config.HasField("val_split") and train.val_dataset_path:
        path = "dataset_config.val_split"
        yield Problem(place_of(path, places), path, "has no effect: val_dataset_path is set")
