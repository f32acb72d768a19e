"""Steps of OpenMMLab's words: what is not one field here for one there."""

from collections.abc import Iterator, Mapping

from tao_lite.spec.families import backbones, shared
from tao_lite.spec.families.source import Source
from tao_lite.spec.families.table import Made, made_of, said
from tao_lite.spec.findings import Finding, Level
from tao_lite.spec.text.nodes import Leaf, Named, Sequenced

TRAIN = "train.train_config"
LENGTH, HOOKS = f"{TRAIN}.runner.max_epochs", f"{TRAIN}.custom_hooks"
OPTIM, RATE = f"{TRAIN}.optimizer", f"{TRAIN}.lr_config"
DATA, PIPELINE = "dataset.data", "dataset.data.train.pipeline"
FROZEN = "model.backbone.freeze"
CLIP = "model.backbone.custom_args.model_name"
_FLIPS = {"horizontal": "hflip_probability", "vertical": "vflip_probability"}
# What can't go into the published default of a dictionary: TAO's own defaults of it are not known here.
_ASSUMED = "is not in the file: AdamW with a rate of 0.001 along a cosine is taken; write it to be sure"

Settings = Mapping[str, str]


def network(source: Source) -> Iterator[Made | Finding]:
    """The network by our name for it; open_clip's stands beside it."""
    path = "model.backbone.type"
    if source.text(path) == "open_clip" and source.has(CLIP):
        path = CLIP
    name = source.text(path)
    new = backbones.ours(name)
    yield made_of(source, path, "model_config.arch", new, "string")
    if new != name:
        words = ", without its projection to the space of texts" if path == CLIP else ""
        yield said(source, Level.NOTE, path, f'-> model_config.arch: "{new}", the same network{words}')


def weights(source: Source) -> Iterator[Made | Finding]:
    """The weights to start from: a file, or a tag of open_clip."""
    path = source.first(
        "model.init_cfg.checkpoint",
        "model.backbone.init_cfg.checkpoint",
        f"{TRAIN}.load_from",
        "model.backbone.pretrained",
    )
    if not source.has(path):
        return
    name = source.text(path)
    is_tag = path == "model.backbone.pretrained" and "/" not in name and "." not in name
    tag = name.partition("_s")[0] if name.startswith("laion") else name
    yield made_of(source, path, "train_config.pretrained_model_path", f"timm://{tag}" if is_tag else name, "string")
    if is_tag:
        yield said(source, Level.NOTE, path, f"-> train_config.pretrained_model_path: timm://{tag}")


def optimizer(source: Source) -> Iterator[Made | Finding]:
    """The block of the optimizer that is named."""
    path = f"{OPTIM}.type"
    if not source.has(OPTIM):
        yield said(source, Level.WARNING, OPTIM, _ASSUMED)
    name = source.text(path).strip().lower()
    block = f"train_config.optimizer.{name}"
    if name in ("adamw", "adam"):
        betas = source.numbers(f"{OPTIM}.betas")
        for field, beta in zip(("beta_1", "beta_2"), betas, strict=False):
            yield made_of(source, f"{OPTIM}.betas", f"{block}.{field}", f"{beta:.7g}")
    elif name == "sgd":
        for field in ("momentum", "nesterov"):
            if source.has(f"{OPTIM}.{field}"):
                yield made_of(source, f"{OPTIM}.{field}", f"{block}.{field}", source.text(f"{OPTIM}.{field}").lower())
        if not source.has(f"{OPTIM}.momentum"):
            yield made_of(source, path, f"{block}.momentum", "0")
    else:
        raise source.wrong(path, f"found {name}, must be one of AdamW, Adam, SGD")
    yield from shared.decay(source, f"{OPTIM}.weight_decay", name)


def schedule(source: Source) -> Iterator[Made | Finding]:
    """The rate of a policy, whose epochs are shares of the run here."""
    rate, length = f"{OPTIM}.lr", source.positive(LENGTH)
    path = source.first(f"{RATE}.policy", f"{RATE}.type")
    policy = source.text(path).strip().lower().removesuffix("lr")
    if policy == "cosineannealing":
        yield from _cosine(source, rate, length)
    elif policy in ("step", "multistep"):
        theirs = next(
            (f"{RATE}.{name}" for name in ("step", "milestones", "step_size") if source.has(f"{RATE}.{name}")), path
        )
        steps = source.numbers(theirs)
        is_list = len(steps) > 1 or theirs.endswith("milestones")
        epochs = steps if is_list else shared.multiples(source, theirs, source.positive(theirs), length)
        yield from shared.stairs(source, rate, theirs, epochs, gamma=source.number(f"{RATE}.gamma"), length=length)
    elif policy in ("fixed", "constant"):
        yield from shared.stairs(source, rate, path, [], gamma=1, length=length)
    else:
        raise source.wrong(path, f"found {source.text(path)}, must be one of CosineAnnealing, step, MultiStepLR, fixed")


def _cosine(source: Source, rate: str, length: float) -> Iterator[Made | Finding]:
    lowest = source.first(f"{RATE}.min_lr", f"{RATE}.eta_min")
    ratio, warm_up, period = f"{RATE}.min_lr_ratio", f"{RATE}.warmup_iters", f"{RATE}.T_max"
    smallest = source.number(ratio) * source.number(rate) if source.has(ratio) else source.number(lowest)
    share = 0.0
    if source.has(warm_up) and source.is_on(f"{RATE}.warmup_by_epoch"):
        share = source.number(warm_up) / length
    elif source.has(warm_up):
        words = "has no effect: it counts steps; soft_start is a share of the run, such as 0.05"
        yield said(source, Level.WARNING, warm_up, words)
    if source.has(period) and source.number(period) != length:
        words = f"has no effect: the cosine takes the whole run, {length:g} epochs"
        yield said(source, Level.WARNING, period, words)
    yield made_of(source, rate, "train_config.lr_config.cosine.learning_rate", source.text(rate))
    if smallest:
        theirs, ours = ratio if source.has(ratio) else lowest, "train_config.lr_config.cosine.min_lr_ratio"
        yield made_of(source, theirs, ours, f"{smallest / max(source.number(rate), smallest):.7g}")
    if share:
        yield made_of(source, warm_up, "train_config.lr_config.cosine.soft_start", f"{share:.7g}")


def hooks(source: Source) -> Iterator[Made | Finding]:
    """The average of the weights, which is a hook there."""
    for hook in _blocks(source, HOOKS):
        if hook.get("type") == "EMAHook":
            # OpenMMLab says the share of the new weights, we that of the old average.
            momentum = _number(source, HOOKS, hook.get("momentum", "0.0002"))
            yield made_of(source, HOOKS, "train_config.ema_decay", f"{1 - momentum:.7g}")
        else:
            yield said(
                source, Level.WARNING, HOOKS, f"{hook.get('type', 'a hook')} has no effect: there are no hooks here"
            )


def pipeline(source: Source) -> Iterator[Made | Finding]:
    """Augmentation and size of training pictures; what is not in the list isn't done there."""
    steps = {step.get("type", ""): step for step in _blocks(source, PIPELINE)}
    crop = next((step for name, step in steps.items() if name in ("RandomResizedCrop", "Resize")), {})
    size = next((crop[name] for name in ("size", "scale", "crop_size") if name in crop), "224")
    sides = [side.strip() for side in size.strip("()[] ").split(",")]
    yield made_of(source, PIPELINE, "model_config.input_image_size", ",".join(["3", sides[0], sides[-1]]), "string")
    yield made_of(source, "dataset.img_norm_cfg", "train_config.preprocess_mode", "torch")
    if not steps:
        return
    if not source.is_on(FROZEN):
        yield from _flips(source, steps.get("RandomFlip", {"prob": "0"}))
        yield from _changes(source, steps)


def _flips(source: Source, flip: Settings) -> Iterator[Made | Finding]:
    probability = flip.get("prob") or flip.get("flip_prob", "0.5")
    field = _FLIPS.get(flip.get("direction", "horizontal"))
    if not field:
        words = f"RandomFlip has no effect: its direction must be {' or '.join(_FLIPS)}"
        yield said(source, Level.WARNING, PIPELINE, words)
    if field != "hflip_probability":
        yield made_of(source, PIPELINE, "train_config.hflip_probability", "0")
    if field:
        yield made_of(source, PIPELINE, f"train_config.{field}", f"{_number(source, PIPELINE, probability):g}")


def _changes(source: Source, steps: Mapping[str, Settings]) -> Iterator[Made | Finding]:
    for name, step in steps.items():
        match name:
            case "RandomFlip" | "Resize":
                pass
            case "RandomResizedCrop":
                yield made_of(source, PIPELINE, "train_config.enable_random_crop", "true")
                yield from _ranges(source, step)
            case "ColorJitter":
                for field in ("brightness", "contrast", "saturation", "hue"):
                    strength = _strength(source, step.get(field, "0"))
                    yield made_of(source, PIPELINE, f"train_config.random_color.{field}", f"{strength:g}")
            case "RandomErasing":
                yield made_of(source, PIPELINE, "train_config.random_erasing", step.get("erase_prob", "0.5"))
            case "RandAugment":
                block = "train_config.rand_augment"
                yield made_of(source, PIPELINE, f"{block}.num_operations", step.get("num_policies", "2"))
                yield made_of(source, PIPELINE, f"{block}.magnitude", step.get("magnitude_level", "9"))
            case _:
                words = f"{name or 'a step without a type'} has no effect: it is not here"
                yield said(source, Level.WARNING, PIPELINE, words)


def _strength(source: Source, text: str) -> float:
    """How far a factor is from 1 at most: as it is, or of a range."""
    limits = [_number(source, PIPELINE, limit) for limit in text.strip("()[] ").split(",")]
    return limits[0] if len(limits) == 1 else max(abs(1 - limit) for limit in limits)


def _ranges(source: Source, step: Settings) -> Iterator[Made]:
    """The ranges of a crop; `scale` is one too where it is no size."""
    scale = step.get("scale", "") if "size" in step else ""
    ranges = {
        "area": step.get("crop_ratio_range", scale) or "0.08, 1",
        "aspect": step.get("aspect_ratio_range", step.get("ratio", "0.75, 1.3333333")),
    }
    for name, text in ranges.items():
        limits = text.strip("()[] ").split(",")
        if len(limits) != 2:
            raise source.wrong(
                PIPELINE, f"found {text}, must be two numbers: the least {name} of a crop and the largest"
            )
        for end, limit in zip(("min", "max"), limits, strict=True):
            value = _number(source, PIPELINE, limit)
            yield made_of(source, PIPELINE, f"train_config.random_crop.{end}_{name}", f"{value:.7g}")


def freezing(source: Source) -> Iterator[Made | Finding]:
    """A frozen backbone, of which only the head trains."""
    yield from shared.frozen(source, FROZEN)


def classes(source: Source) -> Iterator[Made]:
    """The file of the training's classes."""
    path = f"{DATA}.train.classes"
    node = source.node(path)
    if isinstance(node, Leaf) and node.value:
        yield Made("dataset_config.classmap_path", node, path)


def smoothing(source: Source) -> Iterator[Made]:
    """Label smoothing, where the loss has it."""
    path = "model.head.loss.label_smooth_val"
    if source.has(path):
        yield made_of(source, path, "train_config.label_smoothing", source.text(path))


def _blocks(source: Source, path: str) -> Iterator[Settings]:
    """The blocks of a list, each as the texts of its values."""
    node = source.node(path)
    for one in node.items if isinstance(node, Sequenced) else ():
        if not isinstance(one, Named):
            raise source.wrong(path, "must be a list of blocks, each with its type")
        yield {entry.name: _text(entry.node) for entry in one.entries}


def _text(node: object) -> str:
    if isinstance(node, Sequenced):
        return ", ".join(map(_text, node.items))
    return node.value.text if isinstance(node, Leaf) and node.value else ""


def _number(source: Source, path: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise source.wrong(path, f"found {text}, must be a number") from error
