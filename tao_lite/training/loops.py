"""The two loops: train_epoch and predict. Nothing in them waits for the device; whoever calls `Interval.fetch` does."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tao_lite.data import prefetch
from tao_lite.data.augment.mixes import Mix, partners
from tao_lite.data.batch import Batch
from tao_lite.training.average import Average
from tao_lite.training.distillation import Teacher
from tao_lite.training.interval import Interval
from tao_lite.training.objective import Objective
from tao_lite.training.precision import Precision


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a step computes: everything besides the network, the batches and the place in the run."""

    optimizer: torch.optim.Optimizer
    precision: Precision
    preprocess: Callable[[Tensor], Tensor]
    augment: Callable[[Tensor, Tensor], Tensor] | None = None
    erase: Callable[[Tensor, Tensor], Tensor] | None = None
    mix: Mix | None
    set_learning_rate: Callable[[int], float]  # of an optimizer step, from 0
    objective: Objective
    accumulation: int
    max_grad_norm: float
    seed: int
    penalty: Callable[[], Tensor] | None = None  # added to the loss that is reported, not to the one that is minimised
    teacher: Teacher | None = None
    average: Average | None = None


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
        for group in _groups(_timed(arriving, interval), recipe.accumulation):
            step = first_step + group[0].number // recipe.accumulation
            # Dropout draws from torch's generator: seeded per step, it does not depend on where a run was resumed.
            torch.manual_seed(recipe.seed + step)
            rate = recipe.set_learning_rate(step)
            # The mean over processes of what is divided by an equal part is the mean over all images.
            num_images = sum(len(batch.labels) - batch.surplus for batch in group)
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
    """Each batch with its labels and logits (float32 [B, outputs]) on the device, the network in eval mode."""
    device = next(network.parameters()).device
    network.eval()
    computed = precision.cast(network)
    for batch in on_device(batches, device):
        with torch.inference_mode(), precision.autocast():
            images = preprocess(batch.images)
            logits = computed(images)
        yield batch, batch.labels, logits.float()


def on_device(batches: Iterable[Batch], device: torch.device) -> Generator[Batch]:
    """The batches with their tensors on the device. On a CPU, which shares the host's memory, they pass as they are.

    Closing this closes `batches`.
    """
    with ExitStack() as stack:
        if isinstance(batches, Generator):
            stack.enter_context(closing(batches))
        yield from prefetch.copied(iter(batches), device) if device.type == "cuda" else batches


def network_input(batch: Batch, recipe: Recipe) -> Tensor:
    """What the network reads of a training batch on its device: float32 [B, C, H, W], augmented and normalised."""
    with torch.no_grad():
        return _mixed(recipe.preprocess(_augmented(batch, recipe)), batch, recipe)[0]


def _forward(network: nn.Module, batch: Batch, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Loss of each image (float32 [B]) and how far the network was right about it ([B], 0 to 1)."""
    labels, weights, teacher = batch.labels, batch.weights, recipe.teacher
    with torch.no_grad():
        pixels = _augmented(batch, recipe)
        images, mixed = _mixed(recipe.preprocess(pixels), batch, recipe)
    with recipe.precision.autocast():
        logits = network(images).float()
    losses = _losses(logits, labels, weights, recipe)
    if mixed:
        others, shares = mixed
        their_weights = None if weights is None else partners(weights)
        losses = shares * losses + (1 - shares) * _losses(logits, others, their_weights, recipe)
    if teacher:
        with torch.no_grad(), recipe.precision.autocast():
            teacher_logits = teacher.logits(_mixed(teacher.images(pixels), batch, recipe)[0])
        losses = teacher.blend(losses, logits, teacher_logits)
    return losses, recipe.objective.hits(logits.detach(), labels)


def _losses(logits: Tensor, labels: Tensor, weights: Tensor | None, recipe: Recipe) -> Tensor:
    losses = recipe.objective.losses(logits, labels)
    return losses if weights is None else losses * weights


def _augmented(batch: Batch, recipe: Recipe) -> Tensor:
    """The images with pixels of 0 to 255."""
    return recipe.augment(batch.images, batch.draws) if recipe.augment else batch.images


def _mixed(images: Tensor, batch: Batch, recipe: Recipe) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """The normalised images erased and mixed as the recipe says; where it mixes, partners' labels and own weights."""
    if recipe.erase:
        images = recipe.erase(images, batch.draws)
    if not recipe.mix:
        return images, None
    images, others, shares = recipe.mix(images, batch.labels, batch.draws)
    return images, (others, shares)


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


def _timed(batches: Iterable[Batch], interval: Interval) -> Iterator[Batch]:
    """The batches; the interval counts the seconds spent waiting for them."""
    iterator = iter(batches)
    while True:
        asked = time.perf_counter()
        batch = next(iterator, None)
        interval.wait_seconds += time.perf_counter() - asked
        if batch is None:
            return
        yield batch
