"""The numbers of an epoch: gathered on the device step by step, fetched from there once in a while."""

import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from tao_lite.data.batch import Batch
from tao_lite.errors import DivergedError
from tao_lite.training.precision import Precision

FETCH_SECONDS = 0.5  # between two looks at the device's numbers; each costs a GPU about a millisecond


@dataclass
class EpochStats:
    """Sums over the images of one epoch, or of the part of it that is done.

    `batches` counts from its start, in this process; `done` counts the images of its order, over all processes.
    """

    loss_sum: float = 0.0
    correct: float = 0  # whole, but of several tasks: shares of an image's labels
    images: int = 0
    batches: int = 0
    done: int = 0
    seconds: float = 0.0
    wait_seconds: float = 0.0

    @property
    def loss(self) -> float:
        return self.loss_sum / max(self.images, 1)

    @property
    def accuracy(self) -> float:
        return self.correct / max(self.images, 1)


@dataclass
class Interval:
    """The steps since their numbers were last fetched from the device."""

    stats: EpochStats
    precision: Precision
    wait_seconds: float = 0.0  # for batches
    _losses: list[Tensor] = field(default_factory=list)
    _hits: list[Tensor] = field(default_factory=list)
    _paths: list[tuple[Path, ...]] = field(default_factory=list)
    _batches: int = 0  # of the epoch that are done
    _done: int = 0  # images of its order
    _rate: float = 0.0
    _began: float = field(default_factory=time.perf_counter)

    @property
    def is_due(self) -> bool:
        """Whether it is time to fetch."""
        return time.perf_counter() - self._began >= FETCH_SECONDS

    def add(self, losses: Tensor, hits: Tensor, batch: Batch, rate: float) -> None:
        """Take in a batch that was trained on at that learning rate: each image's loss, and how far it was right."""
        self._losses.append(losses.sum(dtype=torch.float64))
        self._hits.append(hits.sum())
        self._paths.append(batch.paths)
        self._batches, self._done, self._rate = batch.number + 1, batch.done, rate

    def fetch(self) -> dict[str, float]:
        """Add the interval to the stats and begin the next one; its numbers, none without a step.

        Raises:
            DivergedError: a loss is not finite; names the images of its batch.
        """
        if not self._losses:
            return {}
        losses, hits = torch.stack(self._losses).tolist(), sum(torch.stack(self._hits).tolist())
        for loss, paths in zip(losses, self._paths, strict=True):
            if not math.isfinite(loss):
                raise DivergedError(_non_finite(loss, paths))
        images, now = sum(map(len, self._paths)), time.perf_counter()
        seconds, waited = now - self._began, self.wait_seconds
        self.stats.loss_sum += sum(losses)
        self.stats.correct += hits
        self.stats.images += images
        self.stats.batches, self.stats.done = self._batches, self._done
        self.stats.seconds += seconds
        self.stats.wait_seconds += waited
        self._losses, self._hits, self._paths, self.wait_seconds, self._began = [], [], [], 0.0, now
        return {
            "loss": sum(losses) / images,
            "top1": hits / images,
            "lr": self._rate,
            "images_per_second": images / seconds,
            "data_wait_fraction": waited / seconds,
            **{name: value.item() for name, value in self.precision.numbers().items()},
        }


def _non_finite(loss: float, paths: tuple[Path, ...]) -> str:
    shown = "\n".join(f"  {path}" for path in paths[:8])
    more = f"\n  and {len(paths) - 8} more" if len(paths) > 8 else ""
    return (
        f"the loss is {loss}; lower the learning rate, set train_config.max_grad_norm or look at the images of that "
        f"batch:\n{shown}{more}"
    )
