"""compat: where TAO computes something else than its documentation says, and what TAO_EXACT makes of a spec.

CORRECTED follows the documentation, TAO_EXACT the code. Imports no torch, so that checking a spec can tell.
"""

from collections.abc import Iterator

from tao_lite import schedule
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import tasks
from tao_lite.spec.schema import as_written


def is_exact(experiment: pb.Experiment) -> bool:
    """Whether the spec asks for the numbers of TAO's code."""
    return experiment.compat == pb.Compat.TAO_EXACT


def effective(experiment: pb.Experiment) -> pb.Experiment:
    """The spec that says of itself what runs: under TAO_EXACT, without the settings that TAO does not apply.

    What a spec can't say, such as a formula, is left to whoever reads `is_exact`. Under CORRECTED the spec itself.
    """
    if not is_exact(experiment):
        return experiment
    changed = pb.Experiment()
    changed.CopyFrom(experiment)
    model, train = changed.model_config, changed.train_config
    # Only what is set is cleared: asking a block that is not there to clear something would put it there.
    if model.dropout and not _applies_dropout(model):
        model.ClearField("dropout")
    if model.arch == "efficientnet_b0":
        model.ClearField("activation")
    if _lacks_momentum(model.batch_norm_config):
        model.batch_norm_config.momentum = 0
    if train.label_smoothing:
        train.ClearField("label_smoothing")
    if train.enable_color_augmentation and not train.enable_random_crop:
        train.ClearField("enable_color_augmentation")
    if _blank_words(train.reg_config):
        train.reg_config.scope = ",".join(word for word in train.reg_config.scope.split(",") if word.strip() == word)
    for block, name in _unset_numbers(train.optimizer):
        setattr(block, name, 0)
    return changed


def differences(experiment: pb.Experiment) -> list[str]:
    """What CORRECTED and TAO_EXACT compute differently for this spec, one `field: what` each; the same in both."""
    return [line for find in (_of_network, _of_data, _of_penalty, _of_optimizer, _of_rate) for line in find(experiment)]


def not_reproduced(experiment: pb.Experiment) -> list[str]:
    """Where TAO's numbers are other ones for this spec under TAO_EXACT too, one `field: what` each."""
    return [
        *_beyond_network(experiment.model_config),
        *_beyond_training(experiment.train_config),
        *(_beyond_tasks() if tasks.is_used(experiment) else ()),
    ]


def _of_network(experiment: pb.Experiment) -> Iterator[str]:
    model = experiment.model_config
    if model.freeze_blocks and (model.use_batch_norm or model.arch.startswith("efficientnet")):
        yield (
            "model_config.freeze_blocks: CORRECTED freezes whole blocks; TAO_EXACT only their kernels and biases, and "
            "their batch normalisation goes on training, with its statistics"
        )
    if model.dropout and not _applies_dropout(model):
        yield (
            f"model_config.dropout: CORRECTED drops features with probability {as_written(model.dropout):g}; TAO_EXACT "
            "none, because only vgg with retain_head reads it"
        )
    if model.arch == "efficientnet_b0" and model.HasField("activation"):
        yield (
            f"model_config.activation: CORRECTED takes {model.activation.activation_type}; TAO_EXACT swish, because "
            "TAO does not read it for b0"
        )
    if _lacks_momentum(model.batch_norm_config):
        yield (
            "model_config.batch_norm_config.momentum: unset, CORRECTED takes "
            f"{as_written(model.batch_norm_config.momentum):g}; TAO_EXACT 0, the statistics of the last batch"
        )


def _of_data(experiment: pb.Experiment) -> Iterator[str]:
    train = experiment.train_config
    is_grey = experiment.model_config.input_image_size.strip().startswith("1")
    if train.preprocess_mode == "torch":
        deviations = "0.226" if is_grey else "0.229, 0.224, 0.225"
        yield f"train_config.preprocess_mode: torch divides by {deviations} under CORRECTED; under TAO_EXACT by 0.224"
    crops = {"train_config": train.enable_center_crop, "eval_config": experiment.eval_config.enable_center_crop}
    if any(crops.values()) and not experiment.model_config.HasField("resize_mode"):
        block = next(name for name in crops if crops[name])
        yield (
            f"{block}.enable_center_crop: CORRECTED cuts the middle out at fractions of a pixel; TAO_EXACT resizes the "
            "picture to whole pixels, and cuts at whole ones"
        )
    if train.enable_color_augmentation and not is_grey:
        exact = (
            "adds to the saturation in HSV, which tints greys, and cuts colours to whole numbers"
            if train.enable_random_crop
            else "changes no colours, because enable_random_crop is off"
        )
        yield (
            "train_config.enable_color_augmentation: CORRECTED turns the hue and multiplies the saturation about the "
            f"axis of greys; TAO_EXACT {exact}"
        )
    if train.label_smoothing:
        smoothing = f"{as_written(train.label_smoothing):g}"
        yield f"train_config.label_smoothing: CORRECTED smooths by {smoothing}; TAO_EXACT never smooths"


def _of_penalty(experiment: pb.Experiment) -> Iterator[str]:
    reg = experiment.train_config.reg_config
    norm, factor = reg.type.upper(), f"{as_written(reg.weight_decay):g}"
    if norm not in ("L1", "L2") or not reg.weight_decay:
        return
    if norm == "L2":
        yield (
            f"train_config.reg_config.weight_decay: CORRECTED adds {factor} * w to a kernel's gradient; TAO_EXACT "
            f"2 * {factor} * w, the slope of Keras's {factor} * w ** 2"
        )
    value = "w ** 2" if norm == "L2" else "|w|"
    yield (
        "train_config.reg_config: the training and validation losses that are reported are cross-entropy under "
        f"CORRECTED; TAO_EXACT adds the penalty to them, {factor} * the sum of {value} over all kernels in the scope"
    )
    if blank := _blank_words(reg):
        yield (
            f'train_config.reg_config.scope: CORRECTED reads all of "{reg.scope}"; TAO_EXACT leaves out '
            f"{' and '.join(blank)}, for the blank beside it"
        )


def _of_optimizer(experiment: pb.Experiment) -> Iterator[str]:
    optimizer = experiment.train_config.optimizer
    if optimizer.sgd.momentum:
        yield (
            "train_config.optimizer.sgd.momentum: CORRECTED multiplies the velocity by the present learning rate; "
            "TAO_EXACT, as Keras, keeps in it the rates of the past, so a new rate is felt late"
        )
    adam, path = optimizer.adam, f"train_config.optimizer.{optimizer.WhichOneof('optim')}"
    if adam.epsilon and adam.HasField("epsilon"):
        yield (
            f"{path}.epsilon: CORRECTED adds it to the root of the second moment without bias; TAO_EXACT, as Keras, "
            "with bias, where it weighs more in the first steps"
        )
    for block, name in _unset_numbers(optimizer):
        risk = "; a weight whose gradient is exactly 0 may become NaN" if name == "epsilon" else ""
        yield f"{path}.{name}: unset, CORRECTED takes {as_written(getattr(block, name)):g}; TAO_EXACT 0{risk}"


def _of_rate(experiment: pb.Experiment) -> Iterator[str]:
    config = experiment.train_config.lr_config
    if config.HasField("step") and config.step.gamma < 1:
        yield (
            f"train_config.lr_config.step: CORRECTED multiplies the rate by {as_written(config.step.gamma):g} at once "
            f"after every {config.step.step_size} % of the run; TAO_EXACT little by little, and is lower all the time "
            "between"
        )
    if config.cosine.soft_start:
        corrected, exact = (schedule.make_schedule(config, exact=choice)(1.0) for choice in (False, True))
        yield (
            f"train_config.lr_config.cosine: the rate ends at {corrected:.3g} under CORRECTED; under TAO_EXACT at "
            f"{exact:.3g}, because the warm-up takes its time from the end of the cosine"
        )


# What else the definitions of torchvision and timm do in another way, for the architectures where it is more.
_DEFINITIONS = {
    "resnet": ", and a bottleneck's stride stands in its 3x3 convolution, in TAO in the first 1x1",
    "alexnet": ", and so are the widths of its layers, which are larger in TAO",
    "googlenet": ", and 3x3 convolutions stand where TAO has 5x5",
    "mobilenet_v1": ", and so is ReLU6, where TAO has ReLU",
    "mobilenet_v2": ", and so is ReLU6, where TAO has ReLU",
}


def _beyond_network(model: pb.ModelConfig) -> Iterator[str]:
    if "/" in model.arch:
        yield f"model_config.arch: TAO has no {model.arch}"
        return
    library = "timm" if model.arch in ("mobilenet_v1", "darknet", "cspdarknet") else "torchvision"
    more = _DEFINITIONS.get(model.arch, "")
    yield f"model_config.arch: initial weights and paddings of strided layers are as in {library}{more}"
    if model.use_batch_norm:
        yield (
            "model_config.use_batch_norm: TAO's running statistics forget their start value at once, and take the "
            "variance a little larger"
        )
    norm = model.batch_norm_config
    if norm.HasField("momentum") and not norm.HasField("epsilon"):
        yield "model_config.batch_norm_config.epsilon: unset, it is 0 in TAO, 1e-05 here"


def _beyond_training(train: pb.TrainConfig) -> Iterator[str]:
    if train.pretrained_model_path:
        yield (
            "train_config.pretrained_model_path: TAO retrains a pruned network with freeze_blocks, freeze_bn and "
            "dropout of the training before; here those of this spec hold, so repeat them"
        )
    if train.enable_random_crop:
        yield (
            "train_config.enable_random_crop: TAO neither crops nor recolours images that have the network's size "
            "already; here they are treated like all others"
        )
    if train.precision in (pb.Precision.AUTO, pb.Precision.BF16):
        yield "train_config.precision: TAO computes in FP32, or in FP16 with --use_amp, never in BF16; set one of them"
    yield (
        "train_config.n_epochs: an epoch of TAO has ceil(images / batch size) steps, divided by the processes and "
        "rounded down, and each process draws from all images; here they share them and leave out a last batch of one"
    )
    yield "train_config.random_seed: the random numbers are others, so a run's numbers are TAO's on average only"
    yield "loss: that of an image is 16.1 at most in TAO, which cuts probabilities at 1e-7"
    yield "training.csv: lr is that of an epoch's last step; in TAO that of the step after it"


def _beyond_tasks() -> Iterator[str]:
    yield (
        "dataset_config.format: in TAO each of several tasks has two 3x3 convolutions of its own, 128 and 64 wide, "
        "before its linear layer; here the linear layers read the same features"
    )
    yield (
        "dataset_config.format: TAO shifts training images of several tasks by up to 10 %, zooms them by 0.8 to 1.2 "
        "and resizes all to the nearest pixel; here the switches of train_config and model_config hold"
    )


def _applies_dropout(model: pb.ModelConfig) -> bool:
    return model.arch == "vgg" and model.retain_head


def _lacks_momentum(norm: pb.BatchNormConfig) -> bool:
    """Whether TAO takes 0 for it: its default of 0.9 goes with the whole message."""
    return norm.HasField("epsilon") and not norm.HasField("momentum")


def _blank_words(reg_config: pb.RegConfig) -> list[str]:
    """The layer kinds in the scope that TAO passes over, because it does not trim blanks."""
    return [word.strip() for word in reg_config.scope.split(",") if word.strip() not in ("", word)]


def _unset_numbers(
    optimizer: pb.OptimizerConfig,
) -> list[tuple[pb.AdamOptimizerConfig | pb.RmspropOptimizerConfig, str]]:
    """Unset fields of the optimizer whose default is not 0, which in TAO's schema all defaults are."""
    if optimizer.HasField("adam"):
        return [(optimizer.adam, name) for name in ("beta_1", "beta_2", "epsilon") if not optimizer.adam.HasField(name)]
    if optimizer.HasField("rmsprop"):
        return [(optimizer.rmsprop, name) for name in ("rho", "epsilon") if not optimizer.rmsprop.HasField(name)]
    return []
