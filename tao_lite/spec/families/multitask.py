"""multitask_classification of TAO 3 to 5: rows and steps. Its specs are text format, as ours.

Source of names and of what its code reads: NVIDIA's public source of 2023.
"""

from collections.abc import Iterator

from tao_lite.spec import schema
from tao_lite.spec.families.marks import MULTITASK
from tao_lite.spec.families.source import Source
from tao_lite.spec.families.table import Family, Made, elsewhere, lost, made, made_of, moved
from tao_lite.spec.findings import Finding

_TRAIN, _DATA = "training_config", "dataset_config"
_RATE, _PENALTY, _OPTIMIZER = f"{_TRAIN}.learning_rate", f"{_TRAIN}.regularizer", f"{_TRAIN}.optimizer"
_COSINE, _ANNEALING = f"{_RATE}.soft_start_cosine_annealing_schedule", f"{_RATE}.soft_start_annealing_schedule"
_PENALTIES = {"NO_REG": "None", "L1": "L1", "L2": "L2", "0": "None", "1": "L1", "2": "L2"}
_NOT_READ = "-> dropped: multitask_classification never reads it"


def _data(source: Source) -> Iterator[Made | Finding]:
    """The training data; with it what is never said there: that the file has several tasks, and how pixels are seen."""
    path = f"{_DATA}.train_csv_path"
    if source.has(path):
        yield made_of(source, path, "train_config.train_dataset_path", source.text(path), "string")
    yield made_of(source, path, "dataset_config.format", "MULTITASK", "word")
    yield made_of(source, path, "train_config.preprocess_mode", "caffe", "string")


def _schedule(source: Source) -> Iterator[Made | Finding]:
    """The schedule that is there, its lowest rate as a share of the highest."""
    for theirs, ours, names in (
        (_COSINE, "cosine", ("soft_start",)),
        (_ANNEALING, "exponential", ("soft_start", "annealing")),
    ):
        if not source.has(theirs):
            continue
        lowest, highest = (_number(source, f"{theirs}.{name}") for name in ("min_learning_rate", "max_learning_rate"))
        if not 0 < lowest < highest:
            text = f"found {lowest:g}, must be above 0 and below max_learning_rate, which is {highest:g}"
            raise source.wrong(f"{theirs}.min_learning_rate", text)
        block = f"train_config.lr_config.{ours}"
        rate, share = f"{theirs}.max_learning_rate", f"{theirs}.min_learning_rate"
        yield made_of(source, rate, f"{block}.learning_rate", source.text(rate))
        yield made_of(source, share, f"{block}.min_lr_ratio", f"{lowest / highest:.7g}")
        for name in names:
            if source.has(f"{theirs}.{name}"):
                yield made_of(source, f"{theirs}.{name}", f"{block}.{name}", source.text(f"{theirs}.{name}"))


def _number(source: Source, path: str) -> float:
    """The number of a field, 0 where it is unset, as in the schema there."""
    return source.number(path) if source.has(path) else 0.0


def _penalty(source: Source) -> Iterator[Made | Finding]:
    """The norm, whose name is a word there."""
    path = f"{_PENALTY}.type"
    if not source.has(_PENALTY):
        return
    text = source.text(path).strip()
    if text not in _PENALTIES:
        raise source.wrong(path, f"found {text}, must be one of NO_REG, L1, L2")
    yield made_of(source, path, "train_config.reg_config.type", _PENALTIES[text], "string")
    weight = f"{_PENALTY}.weight"
    if source.has(weight) and _PENALTIES[text] != "None":
        yield made_of(source, weight, "train_config.reg_config.weight_decay", source.text(weight))


FAMILY = Family(
    name=MULTITASK,
    rows=(
        made(
            f"{_DATA}.train_csv_path",
            "train_config.train_dataset_path",
            _data,
            'with dataset_config.format: MULTITASK and preprocess_mode: "caffe"',
        ),
        moved(f"{_DATA}.val_csv_path", "train_config.val_dataset_path"),
        moved(f"{_DATA}.image_directory_path", "dataset_config.multitask.image_dir"),
        *(elsewhere(f"model_config.{name}", _NOT_READ) for name in ("retain_head", "activation", "batch_norm_config")),
        moved("random_seed", "train_config.random_seed"),
        moved(f"{_TRAIN}.batch_size_per_gpu", "train_config.batch_size_per_gpu"),
        moved(f"{_TRAIN}.num_epochs", "train_config.n_epochs"),
        moved(f"{_TRAIN}.checkpoint_interval", "train_config.checkpoint.every_n_epochs", "the last epoch is saved too"),
        moved(f"{_TRAIN}.n_workers", "train_config.n_workers", "of the training too"),
        *(
            made(f"{_COSINE}.{name}", f"train_config.lr_config.cosine.{ours}", _schedule, words)
            for name, ours, words in (
                ("max_learning_rate", "learning_rate", ""),
                ("min_learning_rate", "min_lr_ratio", "as a share of the highest"),
                ("soft_start", "soft_start", ""),
            )
        ),
        *(
            made(f"{_ANNEALING}.{name}", f"train_config.lr_config.exponential.{ours}", _schedule, words)
            for name, ours, words in (
                ("max_learning_rate", "learning_rate", ""),
                ("min_learning_rate", "min_lr_ratio", "as a share of the highest"),
                ("soft_start", "soft_start", ""),
                ("annealing", "annealing", ""),
            )
        ),
        made(f"{_PENALTY}.type", "train_config.reg_config.type", _penalty, default="NO_REG"),
        made(
            f"{_PENALTY}.weight",
            "train_config.reg_config.weight_decay",
            _penalty,
            "of L2, half as much here as there; compat: TAO_EXACT has it all",
        ),
        *(
            moved(f"{_OPTIMIZER}.{theirs}", f"train_config.optimizer.{ours}")
            for theirs, ours in (
                *(("adam.beta1", "adam.beta_1"), ("adam.beta2", "adam.beta_2"), ("adam.epsilon", "adam.epsilon")),
                *(("sgd.momentum", "sgd.momentum"), ("sgd.nesterov", "sgd.nesterov")),
                *(("rmsprop.rho", "rmsprop.rho"), ("rmsprop.epsilon", "rmsprop.epsilon")),
            )
        ),
        lost(f"{_OPTIMIZER}.adam.amsgrad"),
        *(lost(f"{_OPTIMIZER}.rmsprop.{name}") for name in ("momentum", "centered")),
        *(
            moved(f"{_TRAIN}.{name}", "train_config.pretrained_model_path")
            for name in ("pretrain_model_path", "pruned_model_path")
        ),
        elsewhere(f"{_TRAIN}.resume_model_path", "no field here: the same command goes on where it stopped"),
        *(
            moved(f"{_TRAIN}.visualizer.{name}", f"train_config.visualizer.{name}")
            for name in ("enabled", "num_images", "weight_histograms")
        ),
        *(
            moved(f"{_TRAIN}.visualizer.{name}_config.{one}", f"train_config.visualizer.{name}_config.{one}")
            for name, message in (("wandb", "WandBConfig"), ("clearml", "ClearMLConfig"))
            for one in schema.fields(schema.message(message))
        ),
        elsewhere(f"{_TRAIN}.visualizer", "no field here: TensorBoard's files are written"),
        *(
            elsewhere(f"{_TRAIN}.{name}", f"{_NOT_READ}{more}")
            for name, more in (
                ("cost_scaling", "; train_config.loss_scale scales"),
                ("enable_qat", ""),
                ("max_queue_size", ""),
                ("use_multiprocessing", ""),
                ("early_stopping", "; train_config.early_stopping stops early"),
                ("model_ema", "; train_config.ema_decay averages"),
            )
        ),
    ),
    takes_ours=True,
)
