"""classification_tf2, in its three forms: rows and steps.

Source of names and defaults: NVIDIA's user guides of TAO 3.22.05 to 6.0, and its public source of 2023.
"""

import re
from collections.abc import Iterator

from tao_lite.spec.families import shared
from tao_lite.spec.families.recognise import TF2
from tao_lite.spec.families.source import Source
from tao_lite.spec.families.table import Family, Made, Row, elsewhere, leaf, lost, made, made_of, moved, said
from tao_lite.spec.findings import Finding, Level
from tao_lite.spec.text.nodes import Entry, Named

_OPTIMIZERS = {
    "sgd": ("momentum", "decay", "nesterov"),
    "adam": ("beta_1", "beta_2", "epsilon", "decay"),
    "rmsprop": ("rho", "epsilon", "decay"),
}
_SCHEDULERS = {
    "cosine": ("learning_rate", "min_lr_ratio", "soft_start"),
    "step": ("learning_rate", "gamma", "step_size"),
    "soft_anneal": ("learning_rate", "soft_start", "annealing_divider", "annealing_points"),
}
_SCOPES = {"conv2d": "Conv2D", "dense": "Dense"}
# White in a picture of 16 bits, as a multiple of white in one of 8.
_OF_16_BITS = 257

_OPTIM, _RATE, _PENALTY = "train.optim_config", "train.lr_config", "train.reg_config"
_CHANNELS, _DEPTH, _MEAN = "model.input_channels", "model.input_image_depth", "dataset.image_mean"


def _input_size(source: Source) -> Iterator[Made | Finding]:
    path = "model.input_image_size"
    if source.has(path):
        yield made_of(source, path, "model_config.input_image_size", ",".join(source.texts(path)))
        return
    channels = source.text(_CHANNELS)
    if source.text(_DEPTH) == "16" and not source.has(_CHANNELS):
        channels = "1"
        yield said(source, Level.NOTE, _DEPTH, "-> one channel, for only grey pictures have 16 bits there")
    size = ",".join((channels, source.text("model.input_height"), source.text("model.input_width")))
    given = (path for path in ("model.input_height", "model.input_width", _CHANNELS) if source.has(path))
    yield made_of(source, next(given, "model.input_height"), "model_config.input_image_size", size)


def _pixels(source: Source) -> Iterator[Made | Finding]:
    """Depth and mean: pictures of 16 bits are scaled to the range of 8 here, and so is their mean."""
    depth = source.text(_DEPTH)
    if depth not in ("8", "16"):
        raise source.wrong(_DEPTH, f"found {depth}, must be 8 or 16")
    if depth == "16":
        text = "no field here: every file's own depth is read, and 65535 becomes 255 before preprocess_mode counts"
        yield said(source, Level.NOTE, _DEPTH, text)
    if not source.texts(_MEAN) or not source.has(_MEAN):
        return
    means, keys = source.numbers(_MEAN), {1: ("l",), 3: ("b", "g", "r")}
    if len(means) not in keys:
        raise source.wrong(_MEAN, f"found {len(means)} numbers, must be one, or three for blue, green and red")
    if depth == "16":
        means = [mean / _OF_16_BITS for mean in means]
        words = ", ".join(f"{mean:.6g}" for mean in means)
        yield said(source, Level.NOTE, _MEAN, f"-> {words}: a {_OF_16_BITS}th, as pictures of 16 bits are scaled here")
    place = source.place(_MEAN)
    entries = [Entry(key, place, leaf(f"{mean:.6g}", place)) for key, mean in zip(keys[len(means)], means, strict=True)]
    yield Made("train_config.image_mean", Named(place, entries), _MEAN)


def _network(source: Source) -> Iterator[Made | Finding]:
    path = "model.backbone"
    name = re.sub(r"[\s-]+", "_", source.text(path).strip()).lower()
    deep = re.fullmatch(r"(resnet|vgg|darknet|cspdarknet)_?(\d+)", name)
    arch = deep[1] if deep else name
    yield made_of(source, path, "model_config.arch", arch)
    if source.has("model.n_layers"):
        yield made_of(source, "model.n_layers", "model_config.n_layers", source.text("model.n_layers"))
    elif deep:
        yield made_of(source, path, "model_config.n_layers", deep[2])
    # Elsewhere these two are not a choice.
    for switch in ("use_batch_norm", "use_pooling"):
        if source.has(f"model.{switch}") or arch == "resnet":
            yield made_of(source, f"model.{switch}", f"model_config.{switch}", source.text(f"model.{switch}").lower())


def _optimizer(source: Source) -> Iterator[Made | Finding]:
    if source.has("train.optimizer"):  # The first form may say it as we do.
        return
    path = f"{_OPTIM}.optimizer"
    name = source.text(path).strip().lower()
    if name not in _OPTIMIZERS:
        raise source.wrong(path, f"found {name}, must be one of {', '.join(_OPTIMIZERS)}")
    yield from _settings(source, _OPTIM, f"train_config.optimizer.{name}", _OPTIMIZERS[name])
    unread = {setting for settings in _OPTIMIZERS.values() for setting in settings} - set(_OPTIMIZERS[name])
    yield from _unread(source, _OPTIM, unread, name)


def _schedule(source: Source) -> Iterator[Made | Finding]:
    if source.has(*(f"{_RATE}.{name}" for name in _SCHEDULERS)):
        return
    path = f"{_RATE}.scheduler"
    name = source.text(path).strip().lower()
    if name not in _SCHEDULERS:
        raise source.wrong(path, f"found {name}, must be one of {', '.join(_SCHEDULERS)}")
    yield from _settings(source, _RATE, f"train_config.lr_config.{name}", _SCHEDULERS[name])
    unread = {setting for settings in _SCHEDULERS.values() for setting in settings} - set(_SCHEDULERS[name])
    yield from _unread(source, _RATE, unread, name)


def _settings(source: Source, block: str, ours: str, names: tuple[str, ...]) -> Iterator[Made]:
    for name in names:
        theirs = f"{block}.{name}"
        if name == "annealing_points":
            yield shared.numbers_of(source, theirs, f"{ours}.{name}", source.numbers(theirs))
        else:
            yield made_of(source, theirs, f"{ours}.{name}", source.text(theirs).lower())


def _unread(source: Source, block: str, names: set[str], chosen: str) -> Iterator[Finding]:
    for name in sorted(names):
        if source.has(f"{block}.{name}"):
            yield said(source, Level.NOTE, f"{block}.{name}", f"-> dropped; {chosen} does not read it")


def _penalty(source: Source) -> Iterator[Made | Finding]:
    kind = source.text(f"{_PENALTY}.type").strip().upper()
    yield made_of(
        source, f"{_PENALTY}.type", "train_config.reg_config.type", "None" if kind == "NONE" else kind, "string"
    )
    path = f"{_PENALTY}.scope"
    words = source.texts(path)
    unknown = [word for word in words if word.lower() not in _SCOPES]
    if unknown:
        text = f"-> without {', '.join(unknown)}, which is unknown there too; known are Conv2D and Dense"
        yield said(source, Level.NOTE, path, text)
    scope = ",".join(_SCOPES[word.lower()] for word in words if word not in unknown)
    yield made_of(source, path, "train_config.reg_config.scope", scope)
    theirs = f"{_PENALTY}.weight_decay"
    yield made_of(source, theirs, "train_config.reg_config.weight_decay", source.text(theirs))


_DATA = (
    moved("dataset.train_dataset_path", "train_config.train_dataset_path"),
    moved("dataset.val_dataset_path", "train_config.val_dataset_path"),
    moved("dataset.preprocess_mode", "train_config.preprocess_mode", default="caffe"),
    made(
        _MEAN,
        "train_config.image_mean",
        _pixels,
        "blue, green, red, or one number for grey; divided by 257 for 16 bits",
    ),
    elsewhere("dataset.num_classes", "no field here: the classes are counted in the data"),
    moved("dataset.augmentation.enable_random_crop", "train_config.enable_random_crop", default="true"),
    moved("dataset.augmentation.enable_center_crop", "train_config.enable_center_crop", default="true"),
    moved("dataset.augmentation.enable_color_augmentation", "train_config.enable_color_augmentation"),
    moved("dataset.augmentation.disable_horizontal_flip", "train_config.disable_horizontal_flip"),
    moved("dataset.augmentation.mixup_alpha", "train_config.mixup_alpha"),
)
_TRAIN = (
    moved("train.checkpoint", "train_config.pretrained_model_path"),
    moved("train.batch_size_per_gpu", "train_config.batch_size_per_gpu", default="64"),
    moved("train.num_epochs", "train_config.n_epochs", default="100"),
    moved("train.n_workers", "train_config.n_workers"),
    moved("train.random_seed", "train_config.random_seed", default="42"),
    moved("train.label_smoothing", "train_config.label_smoothing", default="0.01"),
    moved("train.checkpoint_interval", "train_config.checkpoint.every_n_epochs"),
    moved("init_epoch", "train_config.checkpoint.init_epoch"),
    moved("train.init_epoch", "train_config.checkpoint.init_epoch"),
    lost("train.qat", "there is no quantization-aware training here"),
    made(f"{_OPTIM}.optimizer", "train_config.optimizer", _optimizer, "a block of that name", default="sgd"),
    *(
        made(f"{_OPTIM}.{name}", f"train_config.optimizer.*.{name}", _optimizer, default=value)
        for name, value in (
            *(("decay", "0.0001"), ("epsilon", "0.0001"), ("rho", "0.5"), ("beta_1", "0.99"), ("beta_2", "0.99")),
            *(("momentum", "0.99"), ("nesterov", "true")),
        )
    ),
    elsewhere(f"{_OPTIM}.lr", "no field here: lr_config sets the learning rate, there too"),
    made(f"{_RATE}.scheduler", "train_config.lr_config", _schedule, "a block of that name", default="cosine"),
    *(
        made(f"{_RATE}.{name}", f"train_config.lr_config.*.{name}", _schedule, default=value)
        for name, value in (
            *(("learning_rate", "0.05"), ("soft_start", "0.05"), ("min_lr_ratio", "0.00003"), ("gamma", "0.000015")),
            *(("step_size", "10"), ("annealing_points", "0.33, 0.66, 0.88"), ("annealing_divider", "10")),
        )
    ),
    made(f"{_PENALTY}.type", "train_config.reg_config.type", _penalty, default="L2"),
    made(f"{_PENALTY}.scope", "train_config.reg_config.scope", _penalty, "a string", default="conv2d, dense"),
    made(f"{_PENALTY}.weight_decay", "train_config.reg_config.weight_decay", _penalty, default="0.000015"),
    moved("train.bn_config.momentum", "model_config.batch_norm_config.momentum"),
    moved("train.bn_config.epsilon", "model_config.batch_norm_config.epsilon"),
    elsewhere("train.wandb", "no field here: TensorBoard's files are written"),
    elsewhere("train.clearml", "no field here: TensorBoard's files are written"),
)
_MODEL = (
    made("model.backbone", "model_config.arch", _network, "efficientnet-b0 is efficientnet_b0", default="resnet_18"),
    made("model.n_layers", "model_config.n_layers", _network, "or the number in backbone"),
    made("model.input_image_size", "model_config.input_image_size", _input_size, "a string"),
    made(_CHANNELS, "model_config.input_image_size", _input_size, "1 where unset and 16 bits deep", default="3"),
    made("model.input_height", "model_config.input_image_size", _input_size, default="224"),
    made("model.input_width", "model_config.input_image_size", _input_size, default="224"),
    Row(theirs=_DEPTH, by=_pixels, words="no field here: each file's own depth is read", default="8"),
    moved("model.resize_interpolation_method", "model_config.resize_interpolation_method"),
    made("model.use_batch_norm", "model_config.use_batch_norm", _network, default="true"),
    made("model.use_pooling", "model_config.use_pooling", _network, default="true"),
    *(
        moved(f"model.{name}", f"model_config.{name}")
        for name in (
            "use_bias",
            "all_projections",
            "freeze_bn",
            "freeze_blocks",
            "retain_head",
            "dropout",
            "byom_model",
        )
    ),
    moved("model.activation_type", "model_config.activation.activation_type"),
    elsewhere("model.num_classes", "no field here: the classes are counted in the data"),
)
_STAGES = (
    moved("evaluate.dataset_path", "eval_config.eval_dataset_path"),
    made("evaluate.checkpoint", "eval_config.model_path", shared.evaluated),
    made("inference.checkpoint", "eval_config.model_path", shared.evaluated, "where evaluate has none"),
    moved("evaluate.top_k", "eval_config.top_k", default="3"),
    moved("evaluate.batch_size", "eval_config.batch_size", default="64"),
    moved("evaluate.n_workers", "eval_config.n_workers"),
    elsewhere("evaluate.classmap", "no field here: a checkpoint knows its classes"),
    elsewhere("inference.image_dir", "no field here: inference -d FOLDER"),
    elsewhere("inference.classmap", "no field here: a checkpoint knows its classes"),
    moved("prune.checkpoint", "prune_config.model_path"),
    moved("prune.output_path", "prune_config.output_path"),
    moved("prune.threshold", "prune_config.pruning_threshold"),
    moved("prune.normalizer", "prune_config.normalizer"),
    moved("prune.equalization_criterion", "prune_config.equalization_criterion"),
    moved("prune.granularity", "prune_config.pruning_granularity"),
    moved("prune.min_num_filters", "prune_config.min_num_filters"),
    moved("prune.excluded_layers", "prune_config.excluded_layers"),
    lost("prune.byom_model_path", "NVIDIA encrypts own-model files, so only TAO can read them"),
    elsewhere("export.checkpoint", "no field here: export -m FILE, or the best checkpoint of -r"),
    elsewhere("export.onnx_file", "no field here: export -o FILE"),
    elsewhere("export.data_type", "no field here: TensorRT chooses when it builds an engine from the ONNX file"),
    elsewhere("export", "no field here: it is about a TensorRT engine, which is built from the exported ONNX file"),
)

FAMILY = Family(
    name=TF2,
    rows=(
        *_DATA,
        *_TRAIN,
        *_MODEL,
        *_STAGES,
        *shared.AROUND,
        elsewhere("data_format", "no field here: chosen by itself"),
    ),
    renamed={
        "train_config": "train",
        "model_config": "model",
        "eval_config": "evaluate",
        "eval": "evaluate",
        "augment": "dataset.augmentation",
        "data": "dataset",
        "key": "encryption_key",
        "train.n_epochs": "train.num_epochs",
        "train.pretrained_model_path": "train.checkpoint",
        **{
            f"train.{name}": f"dataset.{name}"
            for name in ("train_dataset_path", "val_dataset_path", "preprocess_mode", "image_mean")
        },
        **{
            f"train.{name}": f"dataset.augmentation.{name}"
            for name in (
                *("enable_random_crop", "enable_center_crop", "enable_color_augmentation"),
                *("disable_horizontal_flip", "mixup_alpha"),
            )
        },
        "evaluate.eval_dataset_path": "evaluate.dataset_path",
        **{f"{stage}.model_path": f"{stage}.checkpoint" for stage in ("evaluate", "inference", "prune", "export")},
        "model.arch": "model.backbone",
        "prune.pruning_threshold": "prune.threshold",
        "prune.pruning_granularity": "prune.granularity",
        "export.output_path": "export.onnx_file",
        "export.dtype": "export.data_type",
    },
    takes_ours=True,
)
