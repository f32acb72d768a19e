"""classification_pyt of TAO 4 and 5, in OpenMMLab's words: rows and steps.

Source: NVIDIA's user guides of TAO 4.0 to 5.3, and OpenMMLab's MMPretrain, whose words they are.
"""

from collections.abc import Iterator, Mapping

from tao_lite.spec.families import backbones, shared
from tao_lite.spec.families.recognise import OPENMMLAB
from tao_lite.spec.families.source import Source
from tao_lite.spec.families.table import Family, Made, elsewhere, lost, made, made_of, moved, said
from tao_lite.spec.findings import Finding, Level
from tao_lite.spec.text.nodes import Leaf, Named, Sequenced

_TRAIN = "train.train_config"
_LENGTH, _HOOKS = f"{_TRAIN}.runner.max_epochs", f"{_TRAIN}.custom_hooks"
_OPTIM, _RATE = f"{_TRAIN}.optimizer", f"{_TRAIN}.lr_config"
_DATA, _PIPELINE = "dataset.data", "dataset.data.train.pipeline"
_CLIP = "model.backbone.custom_args.model_name"
# What can't go into the published default of a dictionary: TAO's own defaults of it are not known here.
_ASSUMED = "is not in the file: AdamW with a rate of 0.001 along a cosine is taken; write it to be sure"

Settings = Mapping[str, str]


def _network(source: Source) -> Iterator[Made | Finding]:
    path = "model.backbone.type"
    if source.text(path) == "open_clip" and source.has(_CLIP):
        path = _CLIP
    name = source.text(path)
    new = backbones.ours(name)
    yield made_of(source, path, "model_config.arch", new, "string")
    if new != name:
        words = ", without its projection to the space of texts" if path == _CLIP else ""
        yield said(source, Level.NOTE, path, f'-> model_config.arch: "{new}", the same network{words}')


def _weights(source: Source) -> Iterator[Made | Finding]:
    path = next(
        (
            path
            for path in (
                "model.init_cfg.checkpoint",
                "model.backbone.init_cfg.checkpoint",
                f"{_TRAIN}.load_from",
                "model.backbone.pretrained",
            )
            if source.has(path)
        ),
        "",
    )
    if not path:
        return
    name = source.text(path)
    is_tag = path == "model.backbone.pretrained" and "/" not in name and "." not in name
    tag = name.partition("_s")[0] if name.startswith("laion") else name
    yield made_of(source, path, "train_config.pretrained_model_path", f"timm://{tag}" if is_tag else name, "string")
    if is_tag:
        yield said(source, Level.NOTE, path, f"-> train_config.pretrained_model_path: timm://{tag}")


def _optimizer(source: Source) -> Iterator[Made | Finding]:
    path = f"{_OPTIM}.type"
    if not source.has(_OPTIM):
        yield said(source, Level.WARNING, _OPTIM, _ASSUMED)
    name = source.text(path).strip().lower()
    block = f"train_config.optimizer.{name}"
    if name in ("adamw", "adam"):
        betas = source.numbers(f"{_OPTIM}.betas")
        for field, beta in zip(("beta_1", "beta_2"), betas, strict=False):
            yield made_of(source, f"{_OPTIM}.betas", f"{block}.{field}", f"{beta:.7g}")
    elif name == "sgd":
        for field in ("momentum", "nesterov"):
            if source.has(f"{_OPTIM}.{field}"):
                yield made_of(source, f"{_OPTIM}.{field}", f"{block}.{field}", source.text(f"{_OPTIM}.{field}").lower())
        if not source.has(f"{_OPTIM}.momentum"):
            yield made_of(source, path, f"{block}.momentum", "0")
    else:
        raise source.wrong(path, f"found {name}, must be one of AdamW, Adam, SGD")
    yield from shared.decay(source, f"{_OPTIM}.weight_decay", name)


def _schedule(source: Source) -> Iterator[Made | Finding]:
    rate, length = f"{_OPTIM}.lr", source.positive(_LENGTH)
    path = next((f"{_RATE}.{name}" for name in ("policy", "type") if source.has(f"{_RATE}.{name}")), f"{_RATE}.policy")
    policy = source.text(path).strip().lower().removesuffix("lr")
    if policy == "cosineannealing":
        yield from _cosine(source, rate, length)
    elif policy in ("step", "multistep"):
        theirs = next(
            (f"{_RATE}.{name}" for name in ("step", "milestones", "step_size") if source.has(f"{_RATE}.{name}")), path
        )
        steps = source.numbers(theirs)
        is_list = len(steps) > 1 or theirs.endswith("milestones")
        epochs = steps if is_list else shared.multiples(source, theirs, source.positive(theirs), length)
        yield from shared.stairs(source, rate, theirs, epochs, gamma=source.number(f"{_RATE}.gamma"), length=length)
    elif policy in ("fixed", "constant"):
        yield from shared.stairs(source, rate, path, [], gamma=1, length=length)
    else:
        raise source.wrong(path, f"found {source.text(path)}, must be one of CosineAnnealing, step, MultiStepLR, fixed")


def _cosine(source: Source, rate: str, length: float) -> Iterator[Made | Finding]:
    lowest = next(
        (f"{_RATE}.{name}" for name in ("min_lr", "eta_min") if source.has(f"{_RATE}.{name}")), f"{_RATE}.min_lr"
    )
    ratio, warm_up, period = f"{_RATE}.min_lr_ratio", f"{_RATE}.warmup_iters", f"{_RATE}.T_max"
    smallest = source.number(ratio) * source.number(rate) if source.has(ratio) else source.number(lowest)
    share = 0.0
    if source.has(warm_up) and source.is_on(f"{_RATE}.warmup_by_epoch"):
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


def _hooks(source: Source) -> Iterator[Made | Finding]:
    for hook in _blocks(source, _HOOKS):
        if hook.get("type") == "EMAHook":
            # OpenMMLab says the share of the new weights, we that of the old average.
            momentum = _number(source, _HOOKS, hook.get("momentum", "0.0002"))
            yield made_of(source, _HOOKS, "train_config.ema_decay", f"{1 - momentum:.7g}")
        else:
            yield said(
                source, Level.WARNING, _HOOKS, f"{hook.get('type', 'a hook')} has no effect: there are no hooks here"
            )


def _pipeline(source: Source) -> Iterator[Made | Finding]:
    """Augmentation and size of training pictures; what is not in the list isn't done there."""
    steps = {step.get("type", ""): step for step in _blocks(source, _PIPELINE)}
    crop = next((step for name, step in steps.items() if name in ("RandomResizedCrop", "Resize")), {})
    size = next((crop[name] for name in ("size", "scale", "crop_size") if name in crop), "224")
    sides = [side.strip() for side in size.strip("()[] ").split(",")]
    yield made_of(source, _PIPELINE, "model_config.input_image_size", ",".join(["3", sides[0], sides[-1]]), "string")
    yield made_of(source, "dataset.img_norm_cfg", "train_config.preprocess_mode", "torch")
    if not steps:
        return
    flip = steps.get("RandomFlip", {})
    probability = flip.get("prob") or flip.get("flip_prob", "0.5")
    if not flip or not _number(source, _PIPELINE, probability) or flip.get("direction") == "vertical":
        yield made_of(source, _PIPELINE, "train_config.disable_horizontal_flip", "true")
    elif _number(source, _PIPELINE, probability) != 0.5:
        yield said(
            source,
            Level.WARNING,
            _PIPELINE,
            f"RandomFlip of {probability} has no effect: half of the images are flipped",
        )
    if flip.get("direction", "horizontal") != "horizontal":
        yield said(source, Level.WARNING, _PIPELINE, "RandomFlip upside down has no effect: no image is turned so here")
    if not _is_frozen(source):
        yield from _changes(source, steps)


def _changes(source: Source, steps: Mapping[str, Settings]) -> Iterator[Made | Finding]:
    for name, step in steps.items():
        if name == "RandomResizedCrop":
            yield made_of(source, _PIPELINE, "train_config.enable_random_crop", "true")
        elif name == "ColorJitter":
            yield made_of(source, _PIPELINE, "train_config.enable_color_augmentation", "true")
            words = "ColorJitter -> train_config.enable_color_augmentation; its strengths are its own"
            yield said(source, Level.WARNING, _PIPELINE, words)
        elif name == "RandomErasing":
            yield made_of(source, _PIPELINE, "train_config.random_erasing", step.get("erase_prob", "0.5"))
        elif name == "RandAugment":
            yield made_of(source, _PIPELINE, "train_config.rand_augment.num_operations", step.get("num_policies", "2"))
            yield made_of(source, _PIPELINE, "train_config.rand_augment.magnitude", step.get("magnitude_level", "9"))
        elif name not in ("RandomFlip", "Resize"):
            yield said(
                source, Level.WARNING, _PIPELINE, f"{name or 'a step without a type'} has no effect: it is not here"
            )


def _freezing(source: Source) -> Iterator[Made | Finding]:
    path = "model.backbone.freeze"
    if _is_frozen(source):
        yield made_of(source, path, "train_config.linear_probe", "true")
        words = "-> train_config.linear_probe: the head is trained on features computed once, without augmentation"
        yield said(source, Level.NOTE, path, words)


def _is_frozen(source: Source) -> bool:
    return source.is_on("model.backbone.freeze")


def _classes(source: Source) -> Iterator[Made]:
    path = f"{_DATA}.train.classes"
    node = source.node(path)
    if isinstance(node, Leaf) and node.value:
        yield Made("dataset_config.classmap_path", node, path)


def _top_k(source: Source) -> Iterator[Made]:
    path = "model.head.topk"
    yield made_of(source, path, "eval_config.top_k", f"{max(source.numbers(path)):g}")


def _smoothing(source: Source) -> Iterator[Made]:
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


_ROWS = (
    moved(f"{_DATA}.samples_per_gpu", "train_config.batch_size_per_gpu", default="1"),
    moved(f"{_DATA}.workers_per_gpu", "train_config.n_workers"),
    moved(f"{_DATA}.train.data_prefix", "train_config.train_dataset_path"),
    moved(f"{_DATA}.val.data_prefix", "train_config.val_dataset_path"),
    moved(f"{_DATA}.test.data_prefix", "eval_config.eval_dataset_path"),
    made(f"{_DATA}.train.classes", "dataset_config.classmap_path", _classes, "in the file's order"),
    *(
        elsewhere(f"{_DATA}.{split}.classes", "no field here: the training's classes count")
        for split in ("val", "test")
    ),
    *(lost(f"{_DATA}.{split}.ann_file", "classes are told by folders") for split in ("train", "val", "test")),
    made(
        _PIPELINE,
        "train_config.enable_random_crop, disable_horizontal_flip, ...",
        _pipeline,
        "RandomResizedCrop, RandomFlip, ColorJitter, RandomErasing, RandAugment; its size is input_image_size",
    ),
    *(
        elsewhere(f"{_DATA}.{split}.pipeline", "no field here: squeezed to the network's size")
        for split in ("val", "test")
    ),
    elsewhere(_DATA, "no field here: the layout is recognised"),
    elsewhere("dataset.img_norm_cfg", "no field here: preprocess_mode is torch, with ImageNet's mean and deviation"),
    elsewhere("dataset.sampler", "no field here: every image once an epoch"),
    elsewhere("dataset.pipeline", "no field here: that of dataset.data.train counts"),
    moved("train.exp_config.manual_seed", "train_config.random_seed"),
    elsewhere("train.exp_config", "no field here: torchrun has options for several machines"),
    moved(_LENGTH, "train_config.n_epochs", default="20"),
    elsewhere(f"{_TRAIN}.runner", "no field here: there is one loop, of epochs"),
    moved(f"{_TRAIN}.checkpoint_config.interval", "train_config.checkpoint.every_n_epochs"),
    elsewhere(f"{_TRAIN}.checkpoint_config", "no field here: the best and the newest are kept"),
    lost(f"{_TRAIN}.evaluation.interval", "each epoch is validated", "1"),
    elsewhere(f"{_TRAIN}.evaluation", "no field here: each epoch is validated, by accuracy"),
    elsewhere(f"{_TRAIN}.validate", "no field here: each epoch is validated", "true"),
    elsewhere(f"{_TRAIN}.logging", "no field here: numbers are shown twice a second"),
    elsewhere(f"{_TRAIN}.log_config", "no field here: numbers are shown twice a second"),
    elsewhere(f"{_TRAIN}.find_unused_parameters", "no field here: there are none"),
    elsewhere(f"{_TRAIN}.resume_training_checkpoint_path", "no field here: the same command goes on where it stopped"),
    elsewhere(f"{_TRAIN}.resume_from", "no field here: the same command goes on where it stopped"),
    made(f"{_TRAIN}.load_from", "train_config.pretrained_model_path", _weights),
    made(_HOOKS, "train_config.ema_decay", _hooks, "EMAHook only: 1 - momentum"),
    moved(f"{_TRAIN}.optimizer_config.grad_clip.max_norm", "train_config.max_grad_norm"),
    lost(f"{_TRAIN}.optimizer_config"),
    made(f"{_OPTIM}.type", "train_config.optimizer", _optimizer, "a block of that name", default="AdamW"),
    made(
        f"{_OPTIM}.lr",
        "train_config.lr_config.*.learning_rate",
        _schedule,
        "times the number of processes here",
        default="0.001",
    ),
    made(
        f"{_OPTIM}.weight_decay",
        "train_config.optimizer.adamw.weight_decay",
        _optimizer,
        "SGD and Adam: reg_config L2; kernels only",
    ),
    made(f"{_OPTIM}.betas", "train_config.optimizer.*.beta_1, beta_2", _optimizer, default="0.9, 0.999"),
    made(f"{_OPTIM}.momentum", "train_config.optimizer.sgd.momentum", _optimizer),
    made(f"{_OPTIM}.nesterov", "train_config.optimizer.sgd.nesterov", _optimizer),
    lost(_OPTIM),
    made(
        f"{_RATE}.policy",
        "train_config.lr_config",
        _schedule,
        "CosineAnnealing; step and fixed: soft_anneal",
        default="CosineAnnealing",
    ),
    made(
        f"{_RATE}.type", "train_config.lr_config", _schedule, "CosineAnnealingLR; MultiStepLR and StepLR: soft_anneal"
    ),
    made(
        f"{_RATE}.min_lr", "train_config.lr_config.cosine.min_lr_ratio", _schedule, "a share of the rate", default="0"
    ),
    made(f"{_RATE}.eta_min", "train_config.lr_config.cosine.min_lr_ratio", _schedule, "a share of the rate"),
    made(f"{_RATE}.min_lr_ratio", "train_config.lr_config.cosine.min_lr_ratio", _schedule),
    made(
        f"{_RATE}.warmup_iters",
        "train_config.lr_config.cosine.soft_start",
        _schedule,
        "epochs only, as a share of the run",
    ),
    made(
        f"{_RATE}.warmup_by_epoch",
        "train_config.lr_config.cosine.soft_start",
        _schedule,
        "off: warmup_iters has no effect",
    ),
    made(f"{_RATE}.T_max", "train_config.lr_config.cosine", _schedule, "the run's length, whatever it says"),
    *(
        made(f"{_RATE}.{name}", "train_config.lr_config.soft_anneal.annealing_points", _schedule, "shares of the run")
        for name in ("step", "step_size", "milestones")
    ),
    made(
        f"{_RATE}.gamma", "train_config.lr_config.soft_anneal.annealing_divider", _schedule, "1 / gamma", default="0.1"
    ),
    elsewhere(f"{_RATE}.by_epoch", "no field here: the rate moves with each step"),
    elsewhere(f"{_RATE}.warmup", "no field here: warm-up is linear", "linear"),
    elsewhere(f"{_RATE}.begin", "no field here: from the first step on", "0"),
    lost(_RATE),
    made("model.backbone.type", "model_config.arch", _network, "see the table of networks"),
    made(_CLIP, "model_config.arch", _network, "where the type is open_clip"),
    made("model.backbone.freeze", "train_config.linear_probe", _freezing, "without augmentation"),
    made("model.backbone.pretrained", "train_config.pretrained_model_path", _weights, "a tag of open_clip is timm's"),
    made("model.backbone.init_cfg.checkpoint", "train_config.pretrained_model_path", _weights),
    made("model.init_cfg.checkpoint", "train_config.pretrained_model_path", _weights),
    lost("model.backbone.custom_args", "a network has its own settings here"),
    elsewhere("model.backbone", "no field here: a network has its own settings"),
    made("model.head.topk", "eval_config.top_k", _top_k, "the largest", default="1"),
    made("model.head.loss.label_smooth_val", "train_config.label_smoothing", _smoothing),
    elsewhere("model", "no field here: the head is global pooling and one linear layer, the loss cross-entropy"),
    made("evaluate.checkpoint", "eval_config.model_path", shared.evaluated),
    made("inference.checkpoint", "eval_config.model_path", shared.evaluated, "where evaluate has none"),
    elsewhere("evaluate", "no field here: every score is told"),
    elsewhere("inference", "no field here: inference -d FOLDER"),
    elsewhere("export.checkpoint", "no field here: export -m FILE, or the best checkpoint of -r"),
    elsewhere("export.onnx_file", "no field here: export -o FILE"),
    elsewhere("export.opset_version", "no field here: export --target_opset N"),
    elsewhere("export.verify", "no field here: the exported file is always compared with PyTorch"),
    elsewhere("export", "no field here: export takes size and channels from the checkpoint"),
    *shared.AROUND,
    shared.UNSCALED,
)

FAMILY = Family(name=OPENMMLAB, rows=_ROWS)
