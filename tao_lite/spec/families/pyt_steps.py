"""Steps of classification_pyt: what is not one field here for one there.

Source: its schedules and augmentation in NVIDIA's public code of 2025, whose defaults are those of 7.3.0.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from tao_lite.spec.families import backbones, shared
from tao_lite.spec.families.source import OPEN, Source
from tao_lite.spec.families.table import Made, made_of, said
from tao_lite.spec.findings import Finding, Level
from tao_lite.spec.text.nodes import Leaf

OPTIM, POLICY = "train.optim", "train.optim.policy_params"
AUGMENT = "dataset.augmentation"
FROZEN = "model.backbone.freeze_backbone"
_PROCESSES = "train.num_gpus"
_CLASSES = "classes.txt"
_MONITORED = {"val_acc_1": "TOP1", "val_loss": "LOSS"}
_PRECISIONS = {"fp32": "FP32", "fp16": "FP16", "bf16": "BF16"}
_IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
_HALVES = ([0.5] * 3, [0.5] * 3)


def input_size(source: Source) -> Iterator[Made]:
    """A square of three channels."""
    path = "dataset.img_size"
    sizes = [f"{size:g}" for size in source.numbers(path)]
    yield made_of(source, path, "model_config.input_image_size", ",".join(["3", sizes[0], sizes[-1]]))


def network(source: Source) -> Iterator[Made | Finding]:
    """The network by our name for it."""
    path = "model.backbone.type"
    name = source.text(path)
    yield made_of(source, path, "model_config.arch", backbones.ours(name), "string")
    if backbones.ours(name) != name:
        yield said(source, Level.NOTE, path, f'-> model_config.arch: "{backbones.ours(name)}", the same network')


def weights(source: Source) -> Iterator[Made | Finding]:
    """A whole network's weights count after the backbone's there, so they win."""
    paths = [
        path for path in ("train.pretrained_model_path", "model.backbone.pretrained_backbone_path") if source.has(path)
    ]
    nodes = [
        (path, node) for path in paths if isinstance(node := source.node(path), Leaf) and node.value and node.value.text
    ]
    for path, node in nodes[:1]:
        yield Made("train_config.pretrained_model_path", node, path)
    for path, _ in nodes[1:]:
        yield said(source, Level.NOTE, path, f"-> dropped; {nodes[0][0]} counts")


def classes(source: Source) -> Iterator[Made | Finding]:
    """The order of classes: of classes.txt, in the file's order, where there is one."""
    path = source.first("dataset.classes_file", "dataset.root_dir")
    node = source.node(path)
    text = node.value.text if isinstance(node, Leaf) and node.value else ""
    if not text or OPEN in text:
        return
    file = text if path == "dataset.classes_file" else f"{text.rstrip('/')}/{_CLASSES}"
    if Path(os.path.expandvars(file)).expanduser().is_file():
        yield made_of(source, path, "dataset_config.classmap_path", file, "string")
        yield said(
            source, Level.NOTE, path, f"-> dataset_config.classmap_path: {file}; its order is that of the classes"
        )
    else:
        words = f"no field here: {file} is not there, so the classes have the order of their names"
        yield said(source, Level.NOTE, path, words)


def optimizer(source: Source) -> Iterator[Made]:
    """The block of the optimizer that is named."""
    path = f"{OPTIM}.optim"
    name = source.text(path).strip().lower()
    block = f"train_config.optimizer.{name}"
    if name == "adamw":
        betas = source.numbers(f"{OPTIM}.betas")
        if len(betas) != 2:
            raise source.wrong(f"{OPTIM}.betas", f"found {len(betas)} numbers, must be two")
        for field, beta in zip(("beta_1", "beta_2"), betas, strict=True):
            yield made_of(source, f"{OPTIM}.betas", f"{block}.{field}", f"{beta:.7g}")
    elif name == "sgd":
        yield made_of(source, f"{OPTIM}.momentum", f"{block}.momentum", source.text(f"{OPTIM}.momentum"))
    elif name == "adam":
        yield made_of(source, path, f"{block}.beta_1", "0.9")
    else:
        raise source.wrong(path, f"found {name}, must be one of adamw, adam, sgd")
    yield from shared.decay(source, f"{OPTIM}.weight_decay", name)


def schedule(source: Source) -> Iterator[Made]:
    """The rate of a policy, whose epochs are shares of the run here."""
    rate, path = f"{OPTIM}.lr", f"{OPTIM}.policy"
    policy, length = source.text(path).strip().lower(), source.positive("train.num_epochs")
    match policy:
        case "linear":
            yield from shared.linear(source, rate, length)
        case "step":
            theirs = f"{POLICY}.step_size"
            epochs = shared.multiples(source, theirs, source.positive(theirs), length)
            yield from shared.stairs(
                source, rate, theirs, epochs, gamma=source.number(f"{POLICY}.gamma"), length=length
            )
        case "multistep":
            theirs = f"{POLICY}.milestones"
            epochs, gamma = source.numbers(theirs), source.number(f"{POLICY}.gamma")
            yield from shared.stairs(source, rate, theirs, epochs, gamma=gamma, length=length)
        case "cosine":
            yield from _cosine(source, rate, length)
        case _:
            raise source.wrong(path, f"found {policy}, must be one of linear, step, multistep, cosine")


def _cosine(source: Source, rate: str, length: float) -> Iterator[Made]:
    theirs, block = f"{OPTIM}.warmup_epochs", "train_config.lr_config.cosine"
    yield made_of(source, rate, f"{block}.learning_rate", source.text(rate))
    if source.number(theirs):
        yield made_of(source, theirs, f"{block}.soft_start", f"{source.number(theirs) / length:.7g}")


def run(source: Source) -> Iterator[Made | Finding]:
    """Seed, precision, average and checkpoints."""
    if source.number("train.seed") >= 0:
        yield made_of(source, "train.seed", "train_config.random_seed", source.text("train.seed"))
    else:
        yield said(source, Level.NOTE, "train.seed", "-> unset; every run has a seed here, 0 without another")
    precision = source.text("train.precision").strip().lower()
    yield made_of(source, "train.precision", "train_config.precision", _PRECISIONS.get(precision, precision))
    yield made_of(source, _PROCESSES, "train_config.sync_batch_norm", "true")
    if source.has(_PROCESSES) and source.number(_PROCESSES) != 1:
        yield said(source, Level.NOTE, _PROCESSES, shared.UNSCALED.words)
    if source.is_on("train.enable_ema"):
        yield made_of(source, "train.ema_decay", "train_config.ema_decay", source.text("train.ema_decay"))
    interval, unit = "train.checkpoint_interval", source.text("train.checkpoint_interval_unit").lower()
    if source.has(interval) and unit == "step":
        yield said(
            source, Level.WARNING, interval, "has no effect: checkpoints are written after epochs, the first too"
        )
    elif source.has(interval):
        yield made_of(source, interval, "train_config.checkpoint.every_n_epochs", source.text(interval))


def best(source: Source) -> Iterator[Made | Finding]:
    """What the best checkpoint is chosen by; each metric has its own way up here."""
    path = "train.checkpointer.monitor"
    name = source.text(path).strip().lower().replace("/", "_")
    if name in _MONITORED:
        yield made_of(source, path, "train_config.checkpoint.best_metric", _MONITORED[name])
    elif name and name != "none":
        words = f"has no effect: the best checkpoint is chosen by top-1; of {', '.join(_MONITORED)} it could be"
        yield said(source, Level.WARNING, path, words)


def freezing(source: Source) -> Iterator[Made | Finding]:
    """A frozen backbone, of which only the head trains."""
    yield from shared.frozen(source, FROZEN)


def pixels(source: Source) -> Iterator[Made | Finding]:
    """The mode whose mean and deviation these are."""
    means, deviations = source.numbers(f"{AUGMENT}.mean"), source.numbers(f"{AUGMENT}.std")
    mode = "tf" if (means, deviations) == _HALVES else "torch"
    path = f"{AUGMENT}.mean"
    yield made_of(source, path, "train_config.preprocess_mode", mode)
    if (means, deviations) not in (_IMAGENET, _HALVES):
        words = "has no effect: preprocess_mode is torch, with ImageNet's mean and deviation, or tf, with 0.5"
        yield said(source, Level.WARNING, path, words)


def batch(source: Source) -> Iterator[Made]:
    """The batch size of evaluation, where it is one."""
    path = "evaluate.batch_size"
    if source.has(path) and source.number(path) > 0:
        yield made_of(source, path, "eval_config.batch_size", source.text(path))
