"""A linear probe: the frozen part of a network computes the features of all images once, the head trains on them."""

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from tao_lite.data.batch import Batch
from tao_lite.data.draws import NUM_DRAWS, balanced, permutation
from tao_lite.data.loader import Loader
from tao_lite.errors import SpecError
from tao_lite.machine.distributed import World
from tao_lite.models import head
from tao_lite.spec.tasks import Tasks
from tao_lite.training.loops import predict
from tao_lite.training.precision import Precision


class Tail(nn.Module):
    """The head of a network alone: what the head reads [B, F] or [B, F, H, W] -> logits [B, num_classes]."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: Tensor) -> Tensor:
        """A convolution's outputs are averaged over the positions."""
        outputs: Tensor = self.layer(features)
        return outputs.flatten(2).mean(dim=2) if outputs.dim() == 4 else outputs


@dataclass(frozen=True, kw_only=True)
class Features:
    """What the head reads of each image, on the device; its batches train a `Tail`.

    values: [N, F] or [N, F, H, W], in the precision that they were computed in. labels and weights: as those of a
    batch.
    """

    class_names: tuple[str, ...]
    tasks: Tasks = ()
    values: Tensor
    labels: Tensor
    weights: Tensor | None
    paths: tuple[Path, ...]
    batch_size: int
    num_batches: int
    num_together: int  # images of a batch of all processes
    seed: int | None = None  # of the order; None keeps that of the data set
    balanced: bool = False  # each class comes equally often

    def __len__(self) -> int:
        return self.num_batches

    def epoch(self, epoch: int, done: int = 0) -> Generator[Batch]:
        """The batches of the epoch after `done` images of all processes."""
        order = self._order(epoch)
        for number in range(done // self.num_together, self.num_batches):
            part = order[number * self.batch_size : (number + 1) * self.batch_size]
            place = part.to(self.values.device)
            yield Batch(
                images=self.values[place],
                labels=self.labels[place],
                weights=None if self.weights is None else self.weights[place],
                paths=tuple(self.paths[index] for index in part.tolist()),
                draws=torch.zeros(len(part), NUM_DRAWS),
                number=number,
                done=(number + 1) * self.num_together,
            )

    def _order(self, epoch: int) -> Tensor:
        size = len(self.paths)
        if self.seed is None:
            return torch.arange(size)
        if self.balanced:
            return torch.from_numpy(balanced(self.labels.cpu().numpy(), self.seed, epoch))
        return torch.from_numpy(permutation(self.seed, epoch, size))


def compute(
    network: nn.Module,
    data: Loader,
    *,
    preprocess: Callable[[Tensor], Tensor],
    precision: Precision,
    each_batch: Callable[[int], None],
) -> Features:
    """The features of all images that this process reads, in the order of the data set.

    `each_batch` is told how many batches are done; what it raises ends the computation.

    Raises:
        SpecError: the network does more with its head's outputs than averaging them over positions.
    """
    layer, values, labels, paths = network.get_submodule(head.find(network)), [], [], list[Path]()
    weights = list[Tensor]()
    with head.reading(layer) as inputs:
        for batch, batch_labels, logits in predict(network, data.epoch(0), preprocess=preprocess, precision=precision):
            values.append(inputs.pop())
            if not paths:
                _refuse_other_tails(layer, values[0], logits, precision)
            labels.append(batch_labels)
            weights += [] if batch.weights is None else [batch.weights]
            paths += batch.paths
            each_batch(batch.number + 1)
    return Features(
        class_names=data.class_names,
        tasks=data.tasks,
        values=torch.cat(values),
        labels=torch.cat(labels),
        weights=torch.cat(weights) if weights else None,
        paths=tuple(paths),
        batch_size=data.sampler.batch_size,
        num_batches=math.ceil(len(paths) / data.sampler.batch_size),
        num_together=data.sampler.split.batch,
    )


def shuffled(features: Features, data: Loader, world: World) -> Features:
    """The features in the order of training, another in each epoch, and as many batches in every process."""
    sampler = data.sampler
    batch_size = sampler.split.batch // world.world_size
    counts = torch.zeros(world.world_size, dtype=torch.int64, device=world.device)
    counts[world.rank] = math.ceil(len(features.paths) / batch_size)
    return replace(
        features,
        seed=sampler.seed,
        balanced=sampler.classes is not None,
        batch_size=batch_size,
        num_together=sampler.split.batch,
        num_batches=min(len(data), int(world.sum_(counts).min())),
    )


def _refuse_other_tails(layer: nn.Module, features: Tensor, logits: Tensor, precision: Precision) -> None:
    with torch.inference_mode(), precision.autocast():
        own = precision.cast(Tail(layer))(features).float()
    if own.shape != logits.shape or not torch.allclose(own, logits, rtol=1e-2, atol=1e-2):
        raise SpecError(
            "train_config.linear_probe: the network goes on computing after the layer that makes its logits, so its "
            "head can't be trained alone; set retain_head: false, or freeze_blocks instead of linear_probe"
        )
