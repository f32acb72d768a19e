"""Between which values fields are searched where nobody says it: the usual ones, by path."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Usual:
    """The bounds, both included."""

    minimum: float
    maximum: float
    is_log: bool = False  # factors count
    is_off_at_zero: bool = False
    is_power_of_two: bool = False


USUAL: Mapping[str, Usual] = {
    "train_config.lr_config.cosine.learning_rate": Usual(minimum=0.002, maximum=0.1, is_log=True),
    "train_config.reg_config.weight_decay": Usual(minimum=1e-6, maximum=0.001, is_log=True, is_off_at_zero=True),
    "train_config.optimizer.sgd.momentum": Usual(minimum=0.8, maximum=0.98),
    "train_config.batch_size_per_gpu": Usual(minimum=16, maximum=256, is_power_of_two=True),
    "train_config.label_smoothing": Usual(minimum=0, maximum=0.2),
    "train_config.mixup_alpha": Usual(minimum=0, maximum=0.4),
    "train_config.cutmix_alpha": Usual(minimum=0, maximum=1),
    "train_config.random_erasing": Usual(minimum=0, maximum=0.5),
    "train_config.layer_decay": Usual(minimum=0.6, maximum=1),
    "train_config.ema_decay": Usual(minimum=0.9, maximum=0.999),
    "model_config.dropout": Usual(minimum=0, maximum=0.5),
}
