"""Steps of classification_tf2: what is not one field here for one there."""

import re
from collections.abc import Iterator

from tao_lite.spec.families import shared
from tao_lite.spec.families.source import Source
from tao_lite.spec.families.table import Made, leaf, made_of, said
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

OPTIM, RATE, PENALTY = "train.optim_config", "train.lr_config", "train.reg_config"
CHANNELS, DEPTH, MEAN = "model.input_channels", "model.input_image_depth", "dataset.image_mean"


def input_size(source: Source) -> Iterator[Made | Finding]:
    """Three numbers, or channels, height and width, as one text."""
    path = "model.input_image_size"
    if source.has(path):
        yield made_of(source, path, "model_config.input_image_size", ",".join(source.texts(path)))
        return
    channels = source.text(CHANNELS)
    if source.text(DEPTH) == "16" and not source.has(CHANNELS):
        channels = "1"
        yield said(source, Level.NOTE, DEPTH, "-> one channel, for only grey pictures have 16 bits there")
    size = ",".join((channels, source.text("model.input_height"), source.text("model.input_width")))
    given = (path for path in ("model.input_height", "model.input_width", CHANNELS) if source.has(path))
    yield made_of(source, next(given, "model.input_height"), "model_config.input_image_size", size)


def pixels(source: Source) -> Iterator[Made | Finding]:
    """Depth and mean: pictures of 16 bits are scaled to the range of 8 here, and so is their mean."""
    depth = source.text(DEPTH)
    if depth not in ("8", "16"):
        raise source.wrong(DEPTH, f"found {depth}, must be 8 or 16")
    if depth == "16":
        text = "no field here: every file's own depth is read, and 65535 becomes 255 before preprocess_mode counts"
        yield said(source, Level.NOTE, DEPTH, text)
    if not source.texts(MEAN) or not source.has(MEAN):
        return
    means, keys = source.numbers(MEAN), {1: ("l",), 3: ("b", "g", "r")}
    if len(means) not in keys:
        raise source.wrong(MEAN, f"found {len(means)} numbers, must be one, or three for blue, green and red")
    if depth == "16":
        means = [mean / _OF_16_BITS for mean in means]
        words = ", ".join(f"{mean:.6g}" for mean in means)
        yield said(source, Level.NOTE, MEAN, f"-> {words}: a {_OF_16_BITS}th, as pictures of 16 bits are scaled here")
    place = source.place(MEAN)
    entries = [Entry(key, place, leaf(f"{mean:.6g}", place)) for key, mean in zip(keys[len(means)], means, strict=True)]
    yield Made("train_config.image_mean", Named(place, entries), MEAN)


def network(source: Source) -> Iterator[Made | Finding]:
    """Architecture and depth, which may stand in one word; and the switches that only some networks have."""
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


def optimizer(source: Source) -> Iterator[Made | Finding]:
    """The block of the optimizer that is named, with the settings that it reads."""
    if source.has("train.optimizer"):  # The first form may say it as we do.
        return
    path = f"{OPTIM}.optimizer"
    name = source.text(path).strip().lower()
    if name not in _OPTIMIZERS:
        raise source.wrong(path, f"found {name}, must be one of {', '.join(_OPTIMIZERS)}")
    yield from _settings(source, OPTIM, f"train_config.optimizer.{name}", _OPTIMIZERS[name])
    unread = {setting for settings in _OPTIMIZERS.values() for setting in settings} - set(_OPTIMIZERS[name])
    yield from _unread(source, OPTIM, unread, name)


def schedule(source: Source) -> Iterator[Made | Finding]:
    """The block of the scheduler that is named, with the settings that it reads."""
    if source.has(*(f"{RATE}.{name}" for name in _SCHEDULERS)):
        return
    path = f"{RATE}.scheduler"
    name = source.text(path).strip().lower()
    if name not in _SCHEDULERS:
        raise source.wrong(path, f"found {name}, must be one of {', '.join(_SCHEDULERS)}")
    yield from _settings(source, RATE, f"train_config.lr_config.{name}", _SCHEDULERS[name])
    unread = {setting for settings in _SCHEDULERS.values() for setting in settings} - set(_SCHEDULERS[name])
    yield from _unread(source, RATE, unread, name)


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


def penalty(source: Source) -> Iterator[Made | Finding]:
    """The penalty, whose scope is a text here."""
    kind = source.text(f"{PENALTY}.type").strip().upper()
    yield made_of(
        source, f"{PENALTY}.type", "train_config.reg_config.type", "None" if kind == "NONE" else kind, "string"
    )
    path = f"{PENALTY}.scope"
    words = source.texts(path)
    unknown = [word for word in words if word.lower() not in _SCOPES]
    if unknown:
        text = f"-> without {', '.join(unknown)}, which is unknown there too; known are Conv2D and Dense"
        yield said(source, Level.NOTE, path, text)
    scope = ",".join(_SCOPES[word.lower()] for word in words if word not in unknown)
    yield made_of(source, path, "train_config.reg_config.scope", scope)
    theirs = f"{PENALTY}.weight_decay"
    yield made_of(source, theirs, "train_config.reg_config.weight_decay", source.text(theirs))
