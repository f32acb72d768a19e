"""The two loops: train_epoch and predict. Nothing in them waits for the device; whoever calls `Interval.fetch` does."""

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tao_lite.data.augment.mixes import Mix
from tao_lite.data.batch import Batch
from tao_lite.data.prefetch import on_device
from tao_lite.errors import RunError
from tao_lite.training.average import Average
from tao_lite.training.distillation import Teacher
from tao_lite.training.precision import Precision

FETCH_SECONDS = 0.5  # between two looks at the device's numbers; each costs a GPU about a millisecond


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a step computes: everything besides the network, the batches and the place in the run."""

    optimizer: torch.optim.Optimizer
    precision: Precision
    preprocess: Callable[[Tensor], Tensor]
    augment: Callable[[Tensor, Tensor], Tensor]
    erase: Callable[[Tensor, Tensor], Tensor] | None = None
    mix: Mix | None
    set_learning_rate: Callable[[int], float]  # of an optimizer step, from 0
    label_smoothing: float
    accumulation: int
    max_grad_norm: float
    seed: int
    penalty: Callable[[], Tensor] | None = None  # added to the loss that is reported, not to the one that is minimised
    class_weights: Tensor | None = None  # float32 [num_classes], how much an image's loss counts by its class
    teacher: Teacher | None = None
    average: Average | None = None


@dataclass
class EpochStats:
    """Sums over the images of one epoch, or of the part of it that is done; `batches` counts from its start."""

    loss_sum: float = 0.0
    correct: int = 0
    images: int = 0
    batches: int = 0
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
    _losses: list[Tensor] = field(default_factory=list)
    _hits: list[Tensor] = field(default_factory=list)
    _paths: list[tuple[Path, ...]] = field(default_factory=list)
    _batches: int = 0  # of the epoch that are done
    _rate: float = 0.0
    _wait_seconds: float = 0.0
    _began: float = field(default_factory=time.perf_counter)

    @property
    def is_due(self) -> bool:
        """Whether it is time to fetch."""
        return time.perf_counter() - self._began >= FETCH_SECONDS

    def timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches, the seconds spent waiting for them being counted."""
        iterator = iter(batches)
        while True:
            asked = time.perf_counter()
            batch = next(iterator, None)
            self._wait_seconds += time.perf_counter() - asked
            if batch is None:
                return
            yield batch

    def add(self, losses: Tensor, hits: Tensor, batch: Batch, rate: float) -> None:
        """Take in a batch that was trained on at that learning rate: each image's loss, and whether it was right."""
        self._losses.append(losses.sum(dtype=torch.float64))
        self._hits.append(hits.sum())
        self._paths.append(batch.paths)
        self._batches, self._rate = batch.number + 1, rate

    def fetch(self) -> dict[str, float]:
        """Add the interval to the stats and begin the next one; its numbers, none without a step.

        Raises:
            RunError: a loss is not finite; names the images of its batch.
        """
        if not self._losses:
            return {}
        losses, hits = torch.stack(self._losses).tolist(), sum(torch.stack(self._hits).tolist())
        for loss, paths in zip(losses, self._paths, strict=True):
            if not math.isfinite(loss):
                raise RunError(_non_finite(loss, paths))
        images, now = sum(map(len, self._paths)), time.perf_counter()
        seconds, waited = now - self._began, self._wait_seconds
        self.stats.loss_sum += sum(losses)
        self.stats.correct += hits
        self.stats.images += images
        self.stats.batches = self._batches
        self.stats.seconds += seconds
        self.stats.wait_seconds += waited
        self._losses, self._hits, self._paths, self._wait_seconds, self._began = [], [], [], 0.0, now
        return {
            "loss": sum(losses) / images,
            "top1": hits / images,
            "lr": self._rate,
            "images_per_second": images / seconds,
            "data_wait_fraction": waited / seconds,
            **{name: value.item() for name, value in self.precision.numbers().items()},
        }


def train_epoch(
    network: nn.Module, batches: Iterable[Batch], recipe: Recipe, interval: Interval, *, first_step: int
) -> Generator[Batch]:
    """Train on the batches; the first batch of each optimizer step, on the device, once the step is under way.

    first_step is the optimizer step of the epoch's batch 0, wherever in the epoch the batches begin: a batch's step
    follows from its number, so that one that is missing moves no other. The interval takes in each step's numbers.
    """
    device = next(network.parameters()).device
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    with closing(on_device(batches, device)) as arriving:
        for group in _groups(interval.timed(arriving), recipe.accumulation):
            step = first_step + group[0].number // recipe.accumulation
            # Dropout draws from torch's generator: seeded per step, it does not depend on where a run was resumed.
            torch.manual_seed(recipe.seed + step)
            rate = recipe.set_learning_rate(step)
            num_images = sum(len(batch.labels) for batch in group)
            recipe.optimizer.zero_grad()
            penalty = recipe.penalty() if recipe.penalty else None
            for batch in group:
                losses, hits = _forward(network, batch, recipe)
                recipe.precision.backward(losses.sum() / num_images)
                interval.add(losses.detach() if penalty is None else losses.detach() + penalty, hits, batch, rate)
            recipe.precision.step(recipe.optimizer, trainable, recipe.max_grad_norm)
            if recipe.average:
                recipe.average.update(step)
            yield group[0]


def predict(
    network: nn.Module, batches: Iterable[Batch], *, preprocess: Callable[[Tensor], Tensor], precision: Precision
) -> Iterator[tuple[Batch, Tensor, Tensor]]:
    """Each batch with its labels and logits (float32 [B, num_classes]) on the device, the network in eval mode."""
    device = next(network.parameters()).device
    network.eval()
    computed = precision.cast(network)
    for batch in on_device(batches, device):
        with torch.inference_mode(), precision.autocast():
            images = preprocess(batch.images)
            logits = computed(images)
        yield batch, batch.labels, logits.float()


def network_input(batch: Batch, recipe: Recipe) -> Tensor:
    """What the network reads of a training batch on its device: float32 [B, C, H, W], augmented and normalised."""
    with torch.no_grad():
        return _mixed(recipe.preprocess(recipe.augment(batch.images, batch.draws)), batch, recipe)[0]


def _forward(network: nn.Module, batch: Batch, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Loss of each image (float32 [B]) and whether its label had the largest logit (bool [B])."""
    labels, teacher = batch.labels, recipe.teacher
    with torch.no_grad():
        pixels = recipe.augment(batch.images, batch.draws)
        images, mixed = _mixed(recipe.preprocess(pixels), batch, recipe)
    with recipe.precision.autocast():
        logits = network(images).float()
    losses = _losses(logits, labels, recipe)
    if mixed:
        partners, shares = mixed
        losses = shares * losses + (1 - shares) * _losses(logits, partners, recipe)
    if teacher:
        with torch.no_grad(), recipe.precision.autocast():
            teacher_logits = teacher.logits(_mixed(teacher.images(pixels), batch, recipe)[0])
        losses = teacher.blend(losses, logits, teacher_logits)
    return losses, logits.detach().argmax(dim=1) == labels


def _losses(logits: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
    losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=recipe.label_smoothing)
    # Not by cross_entropy itself, which would weigh the smoothed part of an image by the other classes.
    return losses if recipe.class_weights is None else losses * recipe.class_weights[labels]


def _mixed(images: Tensor, batch: Batch, recipe: Recipe) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """The normalised images erased and mixed as the recipe says; where it mixes, partners' labels and own weights."""
    if recipe.erase:
        images = recipe.erase(images, batch.draws)
    if not recipe.mix:
        return images, None
    images, partners, weights = recipe.mix(images, batch.labels, batch.draws)
    return images, (partners, weights)


def _groups(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """The batches of each optimizer step: numbers 0 to size - 1, size to 2 * size - 1, ... as far as they come."""
    group: list[Batch] = []
    for batch in batches:
        if group and batch.number // size != group[0].number // size:
            yield group
            group = []
        group.append(batch)
        if (batch.number + 1) % size == 0:
            yield group
            group = []
    if group:
        yield group


def _non_finite(loss: float, paths: tuple[Path, ...]) -> str:
    shown = "\n".join(f"  {path}" for path in paths[:8])
    more = f"\n  and {len(paths) - 8} more" if len(paths) > 8 else ""
    return (
        f"the loss is {loss}; lower the learning rate, set train_config.max_grad_norm or look at the images of that "
        f"batch:\n{shown}{more}"
    )
