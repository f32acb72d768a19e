"""Settings that are allowed and do nothing, do harm, or do something else than in TAO: one warning each."""

from collections.abc import Collection, Iterator

from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.findings import Finding, warning

_STARTS = "train_config.pretrained_model_path"

# Recipes that start from weights.
_OF_WEIGHTS = (pb.Recipe.FINE_TUNE, pb.Recipe.LAST_BLOCK)

# Modes of precision that scale the loss; AUTO is FP16 on some GPUs.
_SCALING = ("AUTO", "FP16", "O1", "O2", "O3")


def for_stage(experiment: pb.Experiment, stage: str, left_out: Collection[str] = ()) -> Iterator[Finding]:
    """What the user should know about the settings that this stage reads.

    `left_out` are paths that stand in the file and not in the experiment, because they can't be read.
    """
    if stage == "train":
        yield from _model(experiment)
        yield from _optimizer(experiment.train_config.optimizer)
        yield from _images(experiment)
        yield from _augmentation(experiment.train_config)
        yield from _transfer(experiment)
        yield from _frozen(experiment, is_left_out=_STARTS in left_out)
        yield from _run(experiment)
    if stage in ("train", "evaluate", "inference"):
        yield from _crops(experiment)
    data = experiment.dataset_config
    if data.HasField("kitti") and data.format == pb.DatasetFormat.IMAGE_FOLDER:
        yield warning("dataset_config.kitti", "has no effect: format is IMAGE_FOLDER")


def _model(experiment: pb.Experiment) -> Iterator[Finding]:
    model, path = experiment.model_config, "model_config"
    size = [part.strip() for part in model.input_image_size.split(",")]
    if len(size) == 3 and size[1] != size[2]:
        words = f"is read as height {size[1]} and width {size[2]}, as TAO does, whose documentation writes 3,X,Y"
        yield warning(f"{path}.input_image_size", words)


def _frozen(experiment: pb.Experiment, *, is_left_out: bool) -> Iterator[Finding]:
    model, train = experiment.model_config, experiment.train_config
    if train.pretrained_model_path:
        return
    frozen = [
        f"model_config.{name}" for name in ("freeze_blocks", "trained_blocks", "freeze_bn") if getattr(model, name)
    ]
    frozen += ["train_config.linear_probe"] if train.linear_probe else []
    why = f"what {_STARTS} names can't be read" if is_left_out else f"{_STARTS} is not set"
    yield from (warning(path, f"freezes random weights: {why}") for path in frozen)


def _crops(experiment: pb.Experiment) -> Iterator[Finding]:
    ours, training = experiment.eval_config, experiment.train_config.enable_center_crop
    if ours.HasField("enable_center_crop") and ours.enable_center_crop != training:
        found, theirs = (str(value).lower() for value in (ours.enable_center_crop, training))
        words = (
            f"is {found}, but train_config.enable_center_crop, by which training validates, is {theirs}: evaluate and "
            "inference see other parts of the images than validation did; leave it out to see the same"
        )
        yield warning("eval_config.enable_center_crop", words)


def _optimizer(optimizer: pb.OptimizerConfig) -> Iterator[Finding]:
    name = optimizer.WhichOneof("optim")
    if name is None:
        return
    if name != "adamw" and getattr(optimizer, name).HasField("lr"):
        yield warning(f"train_config.optimizer.{name}.lr", "has no effect: lr_config sets the learning rate, as in TAO")


def _images(experiment: pb.Experiment) -> Iterator[Finding]:
    train, path = experiment.train_config, "train_config"
    model = experiment.model_config
    is_grey = model.input_image_size.strip().startswith("1")
    if model.letterbox_value and model.resize_mode != pb.ResizeMode.LETTERBOX:
        yield warning("model_config.letterbox_value", "has no effect: resize_mode is not LETTERBOX")
    if train.image_mean and train.preprocess_mode != "caffe":
        yield warning(
            f"{path}.image_mean", f"has no effect: preprocess_mode is {train.preprocess_mode}, only caffe reads it"
        )
    is_recoloured = train.enable_color_augmentation and not train.HasField("random_color")
    if is_recoloured and is_grey:
        yield warning(f"{path}.enable_color_augmentation", "has no effect: the images have one channel")
    elif is_recoloured and not train.enable_random_crop:
        yield from _unlike_tao(experiment, f"{path}.enable_color_augmentation", "ignores it without enable_random_crop")
    if train.label_smoothing > 0:
        yield from _unlike_tao(experiment, f"{path}.label_smoothing", "never applies it")
    if train.reg_config.scope.replace(" ", "") != train.reg_config.scope:
        yield from _unlike_tao(experiment, f"{path}.reg_config.scope", "reads no word that has a blank beside it")
    for name in ("mixup_alpha", "cutmix_alpha"):
        if getattr(train, name) > 0:
            yield warning(
                f"{path}.{name}",
                "makes training accuracy read low, for it is measured on mixed images; go by validation accuracy",
            )


def _augmentation(train: pb.TrainConfig) -> Iterator[Finding]:
    """Fields in whose place another one counts."""
    path = "train_config"
    if train.HasField("random_crop") and not train.enable_random_crop:
        yield warning(f"{path}.random_crop", "has no effect: enable_random_crop is off")
    if train.HasField("hflip_probability") and train.disable_horizontal_flip:
        yield warning(f"{path}.hflip_probability", "has no effect: disable_horizontal_flip is set")
    if train.enable_color_augmentation and train.HasField("random_color"):
        yield warning(f"{path}.enable_color_augmentation", "has no effect: random_color takes its place")


def _transfer(experiment: pb.Experiment) -> Iterator[Finding]:
    train, model = experiment.train_config, experiment.model_config
    blocks = [name for name in ("freeze_blocks", "trained_blocks") if getattr(model, name)]
    if train.recipe in _OF_WEIGHTS and not train.pretrained_model_path:
        yield warning("train_config.recipe", "is for weights to start from: pretrained_model_path is not set")
    if len(blocks) > 1:
        yield warning("model_config.trained_blocks", "has no effect: freeze_blocks says which blocks are frozen")
    if train.linear_probe:
        yield from _probe(train, blocks)
    if train.unfreeze_at_epoch and not (blocks or train.linear_probe):
        yield warning(
            "train_config.unfreeze_at_epoch",
            "has no effect: no freeze_blocks, trained_blocks or linear_probe freezes anything",
        )
    elif train.unfreeze_at_epoch > train.n_epochs:
        yield warning("train_config.unfreeze_at_epoch", f"has no effect: the run ends after {train.n_epochs} epochs")


def _probe(train: pb.TrainConfig, blocks: Collection[str]) -> Iterator[Finding]:
    for frozen in blocks:
        yield warning(f"model_config.{frozen}", "has no effect: linear_probe freezes all blocks")
    if train.unfreeze_at_epoch:
        return
    for name in (
        "enable_random_crop",
        "enable_color_augmentation",
        "mixup_alpha",
        "cutmix_alpha",
        "random_erasing",
        "rand_augment",
        "vflip_probability",
        "random_rotate",
        "random_color",
        "random_blur",
        "layer_decay",
    ):
        if train.HasField(name) and getattr(train, name):
            yield warning(
                f"train_config.{name}", "has no effect: linear_probe trains the head alone, on features computed once"
            )
    if train.HasField("distillation"):
        yield warning(
            "train_config.distillation", "has no effect: linear_probe trains on features, which a teacher can't read"
        )


def _unlike_tao(experiment: pb.Experiment, path: str, what: str) -> Iterator[Finding]:
    """A setting that TAO's code passes over against its documentation. A spec that says compat is not told."""
    if experiment.compat == pb.Compat.TAO_EXACT:
        yield warning(path, f"has no effect: compat is TAO_EXACT, and TAO {what}")
    elif not experiment.HasField("compat"):
        yield warning(path, f"takes effect here, but TAO {what}; set compat: CORRECTED or TAO_EXACT to choose")


def _run(experiment: pb.Experiment) -> Iterator[Finding]:
    train, path = experiment.train_config, "train_config"
    penalty = train.reg_config
    if train.HasField("reg_config") and penalty.type == "None" and penalty.weight_decay > 0:
        yield warning(f"{path}.reg_config.weight_decay", "has no effect: reg_config.type is None")
    if train.HasField("loss_scale") and pb.Precision.Mode.Name(train.precision) not in _SCALING:
        yield warning(f"{path}.loss_scale", "has no effect: only precision FP16, O1, O2 and O3 scale the loss")
    if experiment.dataset_config.HasField("val_split") and train.val_dataset_path:
        yield warning("dataset_config.val_split", "has no effect: val_dataset_path is set")
    if experiment.dataset_config.HasField("val_split") and experiment.dataset_config.HasField("fold"):
        yield warning("dataset_config.val_split", "has no effect: dataset_config.fold says what validates")
    if train.class_weights and train.HasField("class_weighting"):
        yield warning(f"{path}.class_weighting", "has no effect: class_weights is set")
    if train.HasField("early_stopping") and 0 < train.n_epochs <= train.early_stopping.patience:
        yield warning(
            f"{path}.early_stopping.patience",
            f"has no effect: the run ends after {train.n_epochs} epochs, before it runs out",
        )
