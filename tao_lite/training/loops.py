"""The two loops: train_epoch and predict. Nothing in them waits for the device except `_Interval.fetch`."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
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

Report = Callable[[int, Mapping[str, float]], None]


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


def train_epoch(
    network: nn.Module,
    batches: Iterable[Batch],
    recipe: Recipe,
    *,
    stats: EpochStats,
    first_step: int,
    report: Report,
    stop: Callable[[], bool],
) -> None:
    """Train on the batches, adding to the stats, until they end or `stop` says so between two optimizer steps.

    first_step is the optimizer step of the epoch's batch 0, wherever in the epoch the batches begin: a batch's step
    follows from its number, so that one that is missing moves no other.

    Raises:
        RunError: a loss is not finite; names the images of its batch.
    """
    device = next(network.parameters()).device
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    timed = _Timed(on_device(batches, device), stats)
    interval = _Interval(stats, recipe, report, stats.wait_seconds)
    for group in _groups(timed, recipe.accumulation):
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
            interval.add(losses.detach() if penalty is None else losses.detach() + penalty, hits, batch)
        recipe.precision.step(recipe.optimizer, trainable, recipe.max_grad_norm)
        if recipe.average:
            recipe.average.update(step)
        interval.end_step(step, rate)
        if stop():
            break
    interval.fetch()
    stats.seconds += timed.seconds


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
        images, partners, shares = _mixed(recipe.preprocess(pixels), batch, recipe)
    with recipe.precision.autocast():
        logits = network(images).float()
    losses = _losses(logits, labels, recipe)
    if recipe.mix:
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


def _mixed(images: Tensor, batch: Batch, recipe: Recipe) -> tuple[Tensor, Tensor, Tensor]:
    """The normalised images erased and mixed as the recipe says, their partners' labels and the images' own weights."""
    labels, draws = batch.labels, batch.draws
    if recipe.erase:
        images = recipe.erase(images, draws)
    return recipe.mix(images, labels, draws) if recipe.mix else (images, labels, draws[:, 0])


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


class _Timed:
    """Passes batches on and counts the seconds spent waiting for them, and all seconds since the start."""

    def __init__(self, batches: Iterable[Batch], stats: EpochStats) -> None:
        self._batches, self._stats = batches, stats
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._started

    def __iter__(self) -> Iterator[Batch]:
        iterator = iter(self._batches)
        while True:
            asked = time.perf_counter()
            batch = next(iterator, None)
            self._stats.wait_seconds += time.perf_counter() - asked
            if batch is None:
                return
            yield batch


@dataclass
class _Interval:
    """The steps since the numbers were last fetched from the device."""

    stats: EpochStats
    recipe: Recipe
    report: Report
    waited: float
    losses: list[Tensor] = field(default_factory=list)
    hits: list[Tensor] = field(default_factory=list)
    paths: list[tuple[Path, ...]] = field(default_factory=list)
    done: int = 0
    step: int = 0
    rate: float = 0.0
    fetched: float = field(default_factory=time.perf_counter)

    def add(self, losses: Tensor, hits: Tensor, batch: Batch) -> None:
        self.losses.append(losses.sum(dtype=torch.float64))
        self.hits.append(hits.sum())
        self.paths.append(batch.paths)
        self.done = batch.number + 1

    def end_step(self, step: int, rate: float) -> None:
        self.step, self.rate = step, rate
        if time.perf_counter() - self.fetched >= FETCH_SECONDS:
            self.fetch()

    def fetch(self) -> None:
        """Add the interval to the stats and report it. Here alone the host waits for the device."""
        if not self.losses:
            return
        losses, hits = torch.stack(self.losses).tolist(), sum(torch.stack(self.hits).tolist())
        for loss, paths in zip(losses, self.paths, strict=True):
            if not math.isfinite(loss):
                raise RunError(_non_finite(loss, paths))
        images, now = sum(map(len, self.paths)), time.perf_counter()
        self.stats.loss_sum += sum(losses)
        self.stats.correct += hits
        self.stats.images += images
        self.stats.batches = self.done
        numbers = {"loss": sum(losses) / images, "top1": hits / images, "lr": self.rate}
        numbers["images_per_second"] = images / (now - self.fetched)
        numbers["data_wait_fraction"] = (self.stats.wait_seconds - self.waited) / (now - self.fetched)
        numbers |= {name: value.item() for name, value in self.recipe.precision.numbers().items()}
        self.losses, self.hits, self.paths = [], [], []
        self.fetched, self.waited = now, self.stats.wait_seconds
        self.report(self.step, numbers)


def _non_finite(loss: float, paths: tuple[Path, ...]) -> str:
    shown = "\n".join(f"  {path}" for path in paths[:8])
    more = f"\n  and {len(paths) - 8} more" if len(paths) > 8 else ""
    return (
        f"the loss is {loss}; lower the learning rate, set train_config.max_grad_norm or look at the images of that "
        f"batch:\n{shown}{more}"
    )
