"""The rules written beside each field in the schema, applied to a message; and the few rules that join fields."""

import math
import re
from collections.abc import Collection, Iterator

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import movable, multitask, schema
from tao_lite.spec.advice import for_stage
from tao_lite.spec.bind import Places, did_you_mean, join
from tao_lite.spec.findings import Finding, Level, Place, warning


def violations(experiment: pb.Experiment, places: Places, stage: str) -> Iterator[Finding]:
    """Everything that breaks a rule for this stage, in the order of the schema."""
    missing = _missing_for_training(experiment) if stage == "train" else []
    if missing:
        names = ", ".join(missing)
        text = f"this file has only what evaluate needs; to train, add {names} (or use it with evaluate)"
        yield _violation("train_config", text)
    yield from _message_violations(experiment, "", "evaluate" if missing else stage)
    yield from _joint_violations(experiment, places, stage)


def warnings(experiment: pb.Experiment, stage: str, left_out: Collection[str] = ()) -> Iterator[Finding]:
    """Settings that surprise or have no effect in this stage; `left_out` are paths of the file that can't be read."""
    yield from _message_warnings(experiment, "", stage)
    yield from for_stage(experiment, stage, left_out)
    yield from multitask.warnings(experiment)


def _missing_for_training(experiment: pb.Experiment) -> list[str]:
    """What training needs and is not there, where the file has nothing of it but something to evaluate."""
    train = experiment.train_config
    needed = [field for field in schema.fields(train).values() if "train" in schema.rule(field).required_by]
    missing = [field.name for field in needed if not schema.is_set(train, field)]
    # The other two, path and length, are often given on the command line.
    is_for_evaluation = experiment.HasField("eval_config") and {"optimizer", "lr_config"} <= set(missing)
    return missing if is_for_evaluation and "batch_size_per_gpu" in missing else []


def place_of(path: str, places: Places) -> Place:
    """Place of the field, else of the nearest block around it."""
    while path and path not in places:
        path = path.rpartition(".")[0]
    return places.get(path, Place(1, 1))


def _blocks(message: Message, path: str) -> Iterator[tuple[str, Message]]:
    """The blocks that are set, with their paths."""
    return ((join(path, name), block) for name, block in schema.blocks(message))


def _message_violations(message: Message, path: str, stage: str) -> Iterator[Finding]:
    for name, field in schema.fields(message).items():
        rule, field_path = schema.rule(field), join(path, name)
        is_needed = _is_needed(rule, stage)
        if not schema.is_set(message, field):
            if is_needed:
                yield _violation(field_path, f"is missing; {_example(field)}")
        elif not field.message_type:
            values = getattr(message, field.name) if field.is_repeated else [getattr(message, field.name)]
            broken = filter(None, (_broken(value, rule, is_needed=is_needed) for value in values))
            yield from (_violation(field_path, text) for text in broken)
    for inner_path, inner in _blocks(message, path):
        yield from _message_violations(inner, inner_path, stage)


def _is_needed(rule: pb.Rule, stage: str) -> bool:
    """Whether the stage asks for the field; for a path only if it reads it."""
    is_read = not rule.read_by or stage in rule.read_by
    return stage in rule.required_by or (rule.required and is_read)


def _example(field: FieldDescriptor) -> str:
    rule = schema.rule(field)
    if field.message_type:
        return f"add a block {field.name} {{ ... }}"
    if rule.choices:
        return f"add {field.name}: one of {_quoted(rule)}"
    return f"add {field.name}: with {'a string' if field.cpp_type == FieldDescriptor.CPPTYPE_STRING else 'a number'}"


def _quoted(rule: pb.Rule) -> str:
    return ", ".join(f'"{choice}"' for choice in rule.choices)


def _broken(value: object, rule: pb.Rule, *, is_needed: bool) -> str:
    """What the value breaks, or nothing."""
    if isinstance(value, str):
        return _broken_string(value, rule, is_needed=is_needed)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if not math.isfinite(value):
        return f"found {value}, must be finite"
    bounds = list(schema.bounds(rule))
    if all(holds(value, limit) for _, limit, holds in bounds):
        return ""
    asked = " and ".join(f"{sign} {limit:g}" for sign, limit, _ in bounds)
    return f"found {value:g}, must be {asked}{f'; {rule.remedy}' if rule.remedy else ''}"


def _broken_string(value: str, rule: pb.Rule, *, is_needed: bool) -> str:
    if not value and is_needed:
        return "found an empty string, must be set"
    if rule.choices and value not in rule.choices:
        return f'found "{value}", must be one of {_quoted(rule)}{did_you_mean(value, rule.choices)}'
    if rule.pattern and not re.fullmatch(rule.pattern, value):
        return f'found "{value}", must {rule.pattern_words}'
    return ""


def _message_warnings(message: Message, path: str, stage: str) -> Iterator[Finding]:
    """What the rules say about fields that are set or not; only training reads its own fields and the network's."""
    for name, field in schema.fields(message).items():
        rule, field_path = schema.rule(field), join(path, name)
        if rule.warn_unset and not schema.is_set(message, field):
            yield warning(field_path, rule.warn_unset)
        if rule.warn_set and schema.is_set(message, field):
            yield warning(field_path, f"has no effect: {rule.warn_set}")
    for inner_path, inner in _blocks(message, path):
        if stage == "train" or inner_path not in ("model_config", "train_config"):
            yield from _message_warnings(inner, inner_path, stage)


def _joint_violations(experiment: pb.Experiment, places: Places, stage: str) -> Iterator[Finding]:
    train = experiment.train_config
    for path, block, chosen in (
        ("train_config.optimizer", train.optimizer, train.optimizer.WhichOneof("optim")),
        ("train_config.lr_config", train.lr_config, train.lr_config.WhichOneof("lr_scheduler")),
    ):
        if path in places and not chosen:
            names = ", ".join(name for name, field in schema.fields(block).items() if field.containing_oneof)
            yield _violation(path, f"is empty; add one of {names}")
    yield from _crop_violations(experiment)
    yield from _mean_violations(experiment)
    yield from _annealing_violations(train.lr_config.soft_anneal)
    yield from _exponential_violations(train.lr_config.exponential)
    yield from _optimizer_violations(train.optimizer)
    yield from _range_violations(train.random_crop)
    yield from _angle_violations(experiment)
    yield from _fold_violations(experiment)
    yield from multitask.violations(experiment, stage)
    yield from movable.violations(experiment.tune_config)
    evaluation = experiment.eval_config
    if evaluation.HasField("reject") and not evaluation.reject.WhichOneof("promise"):
        yield _violation("eval_config.reject", "has neither max_error nor coverage; say what is to hold by one of them")
    if stage == "evaluate":
        yield from _evaluation_violations(experiment)


def _violation(path: str, text: str) -> Finding:
    return Finding(Level.ERROR, path, text)


def _crop_violations(experiment: pb.Experiment) -> Iterator[Finding]:
    model = experiment.model_config
    if not model.HasField("resize_mode"):
        return
    mode = pb.ResizeMode.Kind.Name(model.resize_mode)
    for path, config in (("train_config", experiment.train_config), ("eval_config", experiment.eval_config)):
        if config.HasField("enable_center_crop") and config.enable_center_crop != (
            model.resize_mode in (pb.ResizeMode.CENTRE_CROP, pb.ResizeMode.TAO_CROP)
        ):
            found = str(config.enable_center_crop).lower()
            text = f"found {found} beside model_config.resize_mode {mode}; leave one out"
            yield _violation(f"{path}.enable_center_crop", text)


def _fold_violations(experiment: pb.Experiment) -> Iterator[Finding]:
    fold, path = experiment.dataset_config.fold, "dataset_config.fold"
    if not experiment.dataset_config.HasField("fold"):
        return
    if experiment.train_config.val_dataset_path:
        yield _violation(path, "found beside train_config.val_dataset_path, in whose place it validates; leave one out")
    if fold.number > fold.num_folds:
        yield _violation(f"{path}.number", f"found {fold.number}, must be <= num_folds, {fold.num_folds}")


def _mean_violations(experiment: pb.Experiment) -> Iterator[Finding]:
    means = experiment.train_config.image_mean
    expected = {"l"} if experiment.model_config.input_image_size.strip().startswith("1") else {"r", "g", "b"}
    if means and set(means) != expected:
        found, asked = (", ".join(sorted(keys)) for keys in (means, expected))
        yield _violation("train_config.image_mean", f"found the keys {found}, must have exactly {asked}")


def _annealing_violations(config: pb.SoftAnnealLrConfig) -> Iterator[Finding]:
    path = "train_config.lr_config.soft_anneal.annealing_points"
    points = list(config.annealing_points)
    found = ", ".join(f"{point:g}" for point in points[:10])
    if points != sorted(points):
        yield _violation(path, f"found {found}, must increase; write them in order")
    elif points and points[0] <= config.soft_start:
        text = f"found {found}, must all be above soft_start {config.soft_start:g}; move the points or it"
        yield _violation(path, text)


def _exponential_violations(config: pb.ExponentialLrConfig) -> Iterator[Finding]:
    if config.soft_start > config.annealing:
        text = (
            f"found {config.annealing:g}, must not be below soft_start {config.soft_start:g}; the rate falls after it"
        )
        yield _violation("train_config.lr_config.exponential.annealing", text)


def _optimizer_violations(optimizer: pb.OptimizerConfig) -> Iterator[Finding]:
    if optimizer.sgd.nesterov and not optimizer.sgd.momentum:
        path = "train_config.optimizer.sgd.nesterov"
        yield _violation(path, "found true without momentum; set momentum (0.9 is usual) or nesterov: false")


def _range_violations(config: pb.RandomCropConfig) -> Iterator[Finding]:
    for name in ("area", "aspect"):
        least, largest = getattr(config, f"min_{name}"), getattr(config, f"max_{name}")
        if least > largest:
            path = f"train_config.random_crop.min_{name}"
            yield _violation(path, f"found {least:g}, must be at most max_{name}, which is {largest:g}")


def _angle_violations(experiment: pb.Experiment) -> Iterator[Finding]:
    train, path = experiment.train_config, "train_config.random_rotate.angle_list"
    if not train.HasField("random_rotate"):
        return
    angles = set(train.random_rotate.angle_list)
    size = [part.strip() for part in experiment.model_config.input_image_size.split(",")]
    if not angles <= {90, 180, 270}:
        found = ", ".join(map(str, sorted(angles)))
        yield _violation(path, f"found {found}, must be 90, 180 or 270")
    elif len(size) == 3 and size[1] != size[2] and angles != {180}:
        text = f"turns by 90 and 270 need a square input, model_config.input_image_size is {','.join(size)}; set 180"
        yield _violation(path, text)


def _evaluation_violations(experiment: pb.Experiment) -> Iterator[Finding]:
    train = experiment.train_config
    if not (experiment.eval_config.eval_dataset_path or train.val_dataset_path or train.train_dataset_path):
        text = "is missing; add the folder of images, or give it with -i"
        yield _violation("eval_config.eval_dataset_path", text)
