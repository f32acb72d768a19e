"""What a training has done so far, which of its epochs is the best, and for how long none was better."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tao_lite.metrics.best import Metric
from tao_lite.metrics.joint import Result
from tao_lite.spec import classification_pb2 as pb
from tao_lite.training.interval import EpochStats


@dataclass
class Progress:
    """What a run has done: whole epochs, the epoch begun, the best epoch, and time spent."""

    epoch: int = 0
    stats: EpochStats = field(default_factory=EpochStats)
    best_epoch: int = 0
    best_accuracy: float = -1.0
    best_loss: float = 0.0
    best_value: float | None = None  # of best_metric where that is neither; None too before the first epoch
    best_train_loss: float | None = None  # None too where the run was begun before this was kept
    reference_accuracy: float = -1.0  # of best_metric: what early stopping measures the next epochs against
    stale_epochs: int = 0
    images: int = 0
    train_seconds: float = 0.0
    wait_seconds: float = 0.0
    total_seconds: float = 0.0
    epoch_train_seconds: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Progress":
        """Progress from what `values` gave."""
        return cls(**{**values, "stats": EpochStats(**values["stats"])})

    def values(self) -> dict[str, Any]:
        """What a checkpoint keeps; by accuracy or loss, what a tao_lite that knows no other metric can read."""
        return {name: value for name, value in asdict(self).items() if name != "best_value" or value is not None}

    def best(self, metric: Metric) -> float:
        """The best epoch's value of the metric by which it was chosen."""
        return {"accuracy": self.best_accuracy, "loss": self.best_loss}.get(metric.key, self.best_value or 0.0)

    def is_stale(self, config: pb.TrainConfig) -> bool:
        """Whether early stopping has waited long enough for a better epoch."""
        return config.HasField("early_stopping") and self.stale_epochs >= config.early_stopping.patience

    def validated(self, result: Result, metric: Metric, min_delta: float) -> bool:
        """Take in the validation after a whole epoch; whether it is the best so far."""
        stats, self.stats = self.stats, EpochStats()
        self.epoch += 1
        self.images += stats.images
        self.train_seconds += stats.seconds
        self.epoch_train_seconds.append(stats.seconds)
        self.wait_seconds += stats.wait_seconds
        value, is_first = metric.of(result), not self.best_epoch
        if is_first or metric.merit(value) > metric.merit(self.reference_accuracy) + min_delta:
            self.reference_accuracy, self.stale_epochs = value, 0
        else:
            self.stale_epochs += 1
        merits = metric.merit(value), metric.merit(self.best(metric))
        is_best = is_first or (merits[0], -result.loss) > (merits[1], -self.best_loss)
        if is_best:
            self.best_epoch, self.best_accuracy, self.best_loss = self.epoch, result.top1, result.loss
            self.best_value, self.best_train_loss = value if metric.extra else None, stats.loss
        return is_best
