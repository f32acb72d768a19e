"""classification_pyt of TAO 6 and 7: rows and steps. Facts: its schema, schedules and augmentation as of 7.3.0."""

import os
from collections.abc import Iterator
from pathlib import Path

from tao_lite.spec.families import backbones, shared
from tao_lite.spec.families.recognise import PYT
from tao_lite.spec.families.source import OPEN, Source
from tao_lite.spec.families.table import Family, Made, Row, elsewhere, lost, made, made_of, moved, said
from tao_lite.spec.findings import Finding, Level
from tao_lite.spec.text.nodes import Leaf

_OPTIM, _POLICY = "train.optim", "train.optim.policy_params"
_AUGMENT = "dataset.augmentation"
_CLASSES = "classes.txt"
_PRECISIONS = {"fp32": "FP32", "fp16": "FP16", "bf16": "BF16"}
_IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
_HALVES = ([0.5] * 3, [0.5] * 3)


def _input_size(source: Source) -> Iterator[Made]:
    path = "dataset.img_size"
    sizes = [f"{size:g}" for size in source.numbers(path)]
    yield made_of(source, path, "model_config.input_image_size", ",".join(["3", sizes[0], sizes[-1]]))


def _network(source: Source) -> Iterator[Made | Finding]:
    path = "model.backbone.type"
    name = source.text(path)
    yield made_of(source, path, "model_config.arch", backbones.ours(name), "string")
    if backbones.ours(name) != name:
        yield said(source, Level.NOTE, path, f'-> model_config.arch: "{backbones.ours(name)}", the same network')


def _weights(source: Source) -> Iterator[Made | Finding]:
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


def _classes(source: Source) -> Iterator[Made | Finding]:
    """The order of classes: of classes.txt, in the file's order, where there is one."""
    path = next((path for path in ("dataset.classes_file", "dataset.root_dir") if source.has(path)), "")
    node = source.node(path) if path else None
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


def _optimizer(source: Source) -> Iterator[Made]:
    path = f"{_OPTIM}.optim"
    name = source.text(path).strip().lower()
    block = f"train_config.optimizer.{name}"
    if name == "adamw":
        betas = source.numbers(f"{_OPTIM}.betas")
        if len(betas) != 2:
            raise source.wrong(f"{_OPTIM}.betas", f"found {len(betas)} numbers, must be two")
        for field, beta in zip(("beta_1", "beta_2"), betas, strict=True):
            yield made_of(source, f"{_OPTIM}.betas", f"{block}.{field}", f"{beta:.7g}")
    elif name == "sgd":
        yield made_of(source, f"{_OPTIM}.momentum", f"{block}.momentum", source.text(f"{_OPTIM}.momentum"))
    elif name == "adam":
        yield made_of(source, path, f"{block}.beta_1", "0.9")
    else:
        raise source.wrong(path, f"found {name}, must be one of adamw, adam, sgd")
    yield from shared.decay(source, f"{_OPTIM}.weight_decay", name)


def _schedule(source: Source) -> Iterator[Made]:
    rate, path = f"{_OPTIM}.lr", f"{_OPTIM}.policy"
    policy, length = source.text(path).strip().lower(), source.positive("train.num_epochs")
    if policy == "linear":
        yield from shared.linear(source, rate, length)
    elif policy == "step":
        theirs = f"{_POLICY}.step_size"
        epochs = shared.multiples(source, theirs, source.positive(theirs), length)
        yield from shared.stairs(source, rate, theirs, epochs, gamma=source.number(f"{_POLICY}.gamma"), length=length)
    elif policy == "multistep":
        theirs = f"{_POLICY}.milestones"
        epochs, gamma = source.numbers(theirs), source.number(f"{_POLICY}.gamma")
        yield from shared.stairs(source, rate, theirs, epochs, gamma=gamma, length=length)
    elif policy == "cosine":
        theirs, block = f"{_OPTIM}.warmup_epochs", "train_config.lr_config.cosine"
        yield made_of(source, rate, f"{block}.learning_rate", source.text(rate))
        if source.number(theirs):
            yield made_of(source, theirs, f"{block}.soft_start", f"{source.number(theirs) / length:.7g}")
    else:
        raise source.wrong(path, f"found {policy}, must be one of linear, step, multistep, cosine")


def _run(source: Source) -> Iterator[Made | Finding]:
    """Seed, precision, average and checkpoints."""
    if source.number("train.seed") >= 0:
        yield made_of(source, "train.seed", "train_config.random_seed", source.text("train.seed"))
    else:
        yield said(source, Level.NOTE, "train.seed", "-> unset; every run has a seed here, 0 without another")
    precision = source.text("train.precision").strip().lower()
    yield made_of(source, "train.precision", "train_config.precision", _PRECISIONS.get(precision, precision))
    if source.is_on("train.enable_ema"):
        yield made_of(source, "train.ema_decay", "train_config.ema_decay", source.text("train.ema_decay"))
    interval, unit = "train.checkpoint_interval", source.text("train.checkpoint_interval_unit").lower()
    if source.has(interval) and unit == "step":
        yield said(
            source, Level.WARNING, interval, "has no effect: checkpoints are written after epochs, the first too"
        )
    elif source.has(interval):
        yield made_of(source, interval, "train_config.checkpoint.every_n_epochs", source.text(interval))


def _freezing(source: Source) -> Iterator[Made | Finding]:
    path = "model.backbone.freeze_backbone"
    if source.is_on(path):
        yield made_of(source, path, "train_config.linear_probe", "true")
        words = "-> train_config.linear_probe: the head is trained on features computed once, without augmentation"
        yield said(source, Level.NOTE, path, words)


def _pixels(source: Source) -> Iterator[Made | Finding]:
    means, deviations = source.numbers(f"{_AUGMENT}.mean"), source.numbers(f"{_AUGMENT}.std")
    mode = "tf" if (means, deviations) == _HALVES else "torch"
    path = f"{_AUGMENT}.mean"
    yield made_of(source, path, "train_config.preprocess_mode", mode)
    if (means, deviations) not in (_IMAGENET, _HALVES):
        words = "has no effect: preprocess_mode is torch, with ImageNet's mean and deviation, or tf, with 0.5"
        yield said(source, Level.WARNING, path, words)


def _flips(source: Source) -> Iterator[Made | Finding]:
    block = f"{_AUGMENT}.random_flip"
    sideways, upright = f"{block}.hflip_probability", f"{block}.vflip_probability"
    is_on = source.is_on(f"{block}.enable")
    if not is_on or not source.number(sideways):
        yield made_of(source, f"{block}.enable", "train_config.disable_horizontal_flip", "true")
    elif source.number(sideways) != 0.5:
        yield said(source, Level.WARNING, sideways, "has no effect: half of the images are flipped sideways")
    if is_on and source.number(upright):
        yield said(source, Level.WARNING, upright, "has no effect: no image is turned upside down here")


def _changes(source: Source) -> Iterator[Made | Finding]:
    """Augmentation for which there are fields, and a word on what is on by default there and isn't here."""
    if source.is_on("model.backbone.freeze_backbone"):
        return
    if source.is_on(f"{_AUGMENT}.with_random_crop"):
        yield made_of(source, f"{_AUGMENT}.with_random_crop", "train_config.enable_random_crop", "true")
    color, erase, random_aug = (f"{_AUGMENT}.{name}.enable" for name in ("random_color", "random_erase", "random_aug"))
    if source.is_on(color):
        yield made_of(source, color, "train_config.enable_color_augmentation", "true")
        words = "-> train_config.enable_color_augmentation; its strengths are its own, whatever stands here"
        if source.has(f"{_AUGMENT}.random_color"):
            yield said(source, Level.WARNING, color, words)
    if source.is_on(erase):
        theirs = f"{_AUGMENT}.random_erase.erase_probability"
        yield made_of(source, theirs, "train_config.random_erasing", source.text(theirs))
    if source.is_on(random_aug):
        yield made_of(source, random_aug, "train_config.rand_augment.num_operations", "2")
        yield made_of(source, random_aug, "train_config.rand_augment.magnitude", "5")
    if source.is_on(f"{_AUGMENT}.mixup_cutmix"):
        theirs = f"{_AUGMENT}.mixup_alpha"
        for name in ("mixup_alpha", "cutmix_alpha"):
            yield made_of(source, theirs, f"train_config.{name}", source.text(theirs))
    yield from _not_here(source)


def _not_here(source: Source) -> Iterator[Finding]:
    names = {
        "random_rotate.enable": "are no quarter turns",
        "with_scale_random_crop.enable": "is no enlarging before the crop",
        "with_random_blur": "is no blur",
    }
    for name, words in names.items():
        path = f"{_AUGMENT}.{name}"
        if source.is_on(path) and source.has(path):
            yield said(source, Level.WARNING, path, f"has no effect: there {words} here")
    silent = [
        words.partition(" no ")[2]
        for name, words in names.items()
        if source.is_on(f"{_AUGMENT}.{name}") and not source.has(f"{_AUGMENT}.{name}")
    ]
    if silent and source.has("train"):
        text = f"is on there by default and not here: {', '.join(silent)}"
        yield said(source, Level.NOTE, _AUGMENT, text)


def _top_k(source: Source) -> Iterator[Made]:
    path = "model.head.topk"
    yield made_of(source, path, "eval_config.top_k", f"{max(source.numbers(path)):g}")


def _batch(source: Source) -> Iterator[Made]:
    path = "evaluate.batch_size"
    if source.has(path) and source.number(path) > 0:
        yield made_of(source, path, "eval_config.batch_size", source.text(path))


_DATA = (
    made("dataset.root_dir", "dataset_config.classmap_path", _classes, "the classes.txt in it, where there is one"),
    made("dataset.classes_file", "dataset_config.classmap_path", _classes, "in its own order, which is not sorted"),
    moved("dataset.train_dataset.images_dir", "train_config.train_dataset_path"),
    moved("dataset.val_dataset.images_dir", "train_config.val_dataset_path", "evaluate reads it too"),
    elsewhere("dataset.test_dataset", "no field here: evaluate -i FOLDER, inference -d FOLDER"),
    elsewhere("dataset.quant_calibration_dataset", "no field here: a spec quantizes nothing"),
    lost("dataset.train_nolabel", "nothing is learnt from pictures without a class here"),
    moved("dataset.batch_size", "train_config.batch_size_per_gpu", default="8"),
    moved("dataset.workers", "train_config.n_workers"),
    made("dataset.img_size", "model_config.input_image_size", _input_size, "a square of three channels", default="224"),
    elsewhere("dataset.num_classes", "no field here: the classes are counted in the data"),
    elsewhere("dataset.dataset", "no field here: the layout is recognised"),
    elsewhere("dataset.shuffle", "no field here: training images are shuffled, as there whatever it says"),
)
_AUGMENTATION = (
    made(
        f"{_AUGMENT}.random_flip.enable", "train_config.disable_horizontal_flip", _flips, "the opposite", default="true"
    ),
    Row(theirs=f"{_AUGMENT}.random_flip.hflip_probability", by=_flips, words="0.5 or 0 here", default="0.5"),
    Row(theirs=f"{_AUGMENT}.random_flip.vflip_probability", by=_flips, words="has no effect", default="0.5"),
    Row(theirs=f"{_AUGMENT}.random_rotate.enable", by=_changes, words="has no effect", default="true"),
    elsewhere(f"{_AUGMENT}.random_rotate", "no field here: nothing is turned", "0.5", "90, 180, 270"),
    made(f"{_AUGMENT}.random_color.enable", "train_config.enable_color_augmentation", _changes, "", default="true"),
    Row(theirs=f"{_AUGMENT}.random_color", words="the strengths are fixed here", by=_changes),
    made(f"{_AUGMENT}.random_erase.enable", "train_config.random_erasing", _changes, default="true"),
    made(f"{_AUGMENT}.random_erase.erase_probability", "train_config.random_erasing", _changes, default="0.2"),
    made(
        f"{_AUGMENT}.random_aug.enable",
        "train_config.rand_augment",
        _changes,
        "two operations of strength 5",
        default="true",
    ),
    Row(theirs=f"{_AUGMENT}.with_scale_random_crop.enable", by=_changes, words="has no effect", default="true"),
    elsewhere(f"{_AUGMENT}.with_scale_random_crop", "no field here: nothing is enlarged", "1, 1.2", "1.0, 1.2"),
    made(
        f"{_AUGMENT}.with_random_crop",
        "train_config.enable_random_crop",
        _changes,
        "0.45 to 1 of each side here, there 0.08 to 1 of the area",
        default="true",
    ),
    Row(theirs=f"{_AUGMENT}.with_random_blur", by=_changes, words="has no effect", default="true"),
    made(
        f"{_AUGMENT}.mixup_cutmix", "train_config.mixup_alpha, cutmix_alpha", _changes, "each image gets one of the two"
    ),
    made(f"{_AUGMENT}.mixup_alpha", "train_config.mixup_alpha, cutmix_alpha", _changes, default="0.4"),
    made(
        f"{_AUGMENT}.mean",
        "train_config.preprocess_mode",
        _pixels,
        "torch; tf where all are 0.5",
        default="0.485, 0.456, 0.406",
    ),
    made(f"{_AUGMENT}.std", "train_config.preprocess_mode", _pixels, default="0.229, 0.224, 0.225"),
)
_TRAIN = (
    moved("train.num_epochs", "train_config.n_epochs", default="10"),
    made("train.seed", "train_config.random_seed", _run, default="1234"),
    made("train.precision", "train_config.precision", _run, default="fp32"),
    moved("train.clip_grad_norm", "train_config.max_grad_norm", default="2.0"),
    made("train.enable_ema", "train_config.ema_decay", _run),
    made("train.ema_decay", "train_config.ema_decay", _run, "where enable_ema is on", default="0.998"),
    made(
        "train.checkpoint_interval",
        "train_config.checkpoint.every_n_epochs",
        _run,
        "the best and the newest are kept, not all",
    ),
    Row(theirs="train.checkpoint_interval_unit", by=_run, words="epoch; step has no effect", default="epoch"),
    lost("train.validation_interval", "each epoch is validated", "1"),
    elsewhere("train.checkpointer", "no field here: the best checkpoint by validation accuracy is always kept"),
    elsewhere("train.resume_training_checkpoint_path", "no field here: the same command goes on where it stopped"),
    made("train.pretrained_model_path", "train_config.pretrained_model_path", _weights),
    elsewhere("train.num_nodes", "no field here: --num_processes, or torchrun", "1"),
    elsewhere("train.cudnn", "no field here: a run is repeatable but for the order of sums on a GPU"),
    elsewhere(
        "train.tensorboard", "no field here: visualizer says what TensorBoard shows; curves are always written", "true"
    ),
    made(f"{_OPTIM}.optim", "train_config.optimizer", _optimizer, "a block of that name", default="adamw"),
    made(
        f"{_OPTIM}.lr",
        "train_config.lr_config.*.learning_rate",
        _schedule,
        "times the number of processes here",
        default="6e-5",
    ),
    made(f"{_OPTIM}.momentum", "train_config.optimizer.sgd.momentum", _optimizer, "sgd only", default="0.9"),
    made(
        f"{_OPTIM}.betas", "train_config.optimizer.adamw.beta_1, beta_2", _optimizer, "adamw only", default="0.9, 0.999"
    ),
    made(
        f"{_OPTIM}.weight_decay",
        "train_config.optimizer.adamw.weight_decay",
        _optimizer,
        "sgd and adam: reg_config L2; kernels only, not biases and norms",
        default="0.01",
    ),
    lost(f"{_OPTIM}.skip_names", "biases and norms never decay here, all kernels do"),
    made(
        f"{_OPTIM}.policy",
        "train_config.lr_config",
        _schedule,
        "linear; step and multistep: soft_anneal; cosine",
        default="linear",
    ),
    made(
        f"{_POLICY}.step_size",
        "train_config.lr_config.soft_anneal.annealing_points",
        _schedule,
        "shares of the run",
        default="30",
    ),
    made(
        f"{_POLICY}.milestones",
        "train_config.lr_config.soft_anneal.annealing_points",
        _schedule,
        "shares of the run",
        default="10, 20",
    ),
    made(
        f"{_POLICY}.gamma",
        "train_config.lr_config.soft_anneal.annealing_divider",
        _schedule,
        "1 / gamma",
        default="0.1",
    ),
    made(
        f"{_OPTIM}.warmup_epochs",
        "train_config.lr_config.cosine.soft_start",
        _schedule,
        "a share of the run; cosine only",
        default="0",
    ),
    elsewhere(f"{_OPTIM}.monitor_name", "no field here, and no effect there"),
)
_MODEL = (
    made(
        "model.backbone.type",
        "model_config.arch",
        _network,
        "see the table of networks",
        default="fan_small_12_p4_hybrid",
    ),
    made(
        "model.backbone.pretrained_backbone_path",
        "train_config.pretrained_model_path",
        _weights,
        "train.pretrained_model_path before it",
    ),
    made("model.backbone.freeze_backbone", "train_config.linear_probe", _freezing, "without augmentation"),
    moved("model.backbone.freeze_norm", "model_config.freeze_bn"),
    made("model.head.topk", "eval_config.top_k", _top_k, "the largest", default="1"),
    moved("model.head.loss.label_smooth_val", "train_config.label_smoothing"),
    elsewhere("model.head", "no field here: the head is global pooling and one linear layer, the loss cross-entropy"),
)
_STAGES = (
    made("evaluate.checkpoint", "eval_config.model_path", shared.evaluated),
    made("inference.checkpoint", "eval_config.model_path", shared.evaluated, "where evaluate has none"),
    made("evaluate.batch_size", "eval_config.batch_size", _batch, "-1 is train_config's"),
    elsewhere("evaluate", "no field here: it is about screens or engines"),
    elsewhere("inference", "no field here: inference -d FOLDER -b N"),
    elsewhere("export.checkpoint", "no field here: export -m FILE, or the best checkpoint of -r"),
    elsewhere("export.onnx_file", "no field here: export -o FILE"),
    elsewhere("export.opset_version", "no field here: export --target_opset N"),
    elsewhere("export.batch_size", "no field here: export --static_batch_size N", "-1"),
    elsewhere(
        "export", "no field here: export takes size and channels from the checkpoint and compares its file with PyTorch"
    ),
    elsewhere("distill", "no field here: train_config.distillation learns from a checkpoint of ours"),
    elsewhere("quantize", "no field here: a spec quantizes nothing"),
)

FAMILY = Family(name=PYT, rows=(*_DATA, *_AUGMENTATION, *_TRAIN, *_MODEL, *_STAGES, *shared.AROUND, shared.UNSCALED))
