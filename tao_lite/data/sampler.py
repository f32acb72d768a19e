"""Which examples make the batches of an epoch: their order, the part of this process, and where batches begin."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tao_lite.data.draws import NUM_DRAWS, balanced, permutation, uniforms
from tao_lite.errors import DataError

Indices = npt.NDArray[np.int64]


class Pick(NamedTuple):
    """The examples of a batch, by index, and their random numbers: int64 [B], float64 [B, NUM_DRAWS]."""

    number: int  # of the batch in its epoch, from 0
    indices: Indices
    draws: npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sampler:
    """Deals out the examples of a data set to processes and batches, as (seed, epoch) say and nothing else.

    In training the examples are shuffled, every process has the same number of them, and batches of a single image
    are left out if there are others, because batch norm can't take them. Otherwise the examples come in order, dealt
    out to the processes, each exactly once.
    """

    num_examples: int  # over all processes
    batch_size: int
    seed: int
    training: bool
    classes: Indices | None = None
    """In training, the class of each example: each class then comes equally often, rare ones several times an epoch."""
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if self.training and not self._num_own:
            raise DataError(
                f"{self.num_examples} training images are too few for {self.world_size} processes; use fewer --gpus"
            )

    def __len__(self) -> int:
        """Batches of an epoch in this process."""
        full, rest = divmod(self._num_own, self.batch_size)
        return full + (rest >= self.smallest_batch)

    @property
    def smallest_batch(self) -> int:
        """A batch of fewer images is left out."""
        return 2 if self.training and self.batch_size > 1 and self._num_own > 1 else 1

    def batches(self, epoch: int, start: int = 0) -> Iterator[Pick]:
        """This process's batches of the epoch from number `start` on."""
        remaining = self.remaining(epoch, start)
        for number in range(start, len(self)):
            indices, remaining = np.split(remaining, [self.batch_size])
            yield Pick(number, indices, uniforms(self.seed, epoch, self._keys(indices, number), NUM_DRAWS))

    def remaining(self, epoch: int, start: int = 0) -> Indices:
        """The examples of this process that are left of the epoch after `start` batches, in their order."""
        # Dealing out one order makes the processes' batches together one batch of the epoch.
        own = self._order(epoch)[self.rank :: self.world_size][: self._num_own]
        return own[start * self.batch_size :]

    @property
    def _num_own(self) -> int:
        """Examples of an epoch in this process."""
        if self.training:
            return self.num_examples // self.world_size
        return len(range(self.rank, self.num_examples, self.world_size))

    def _order(self, epoch: int) -> Indices:
        """The epoch of all processes."""
        if not self.training:
            return np.arange(self.num_examples)
        if self.classes is None:
            return permutation(self.seed, epoch, self.num_examples)
        return balanced(self.classes, self.seed, epoch)

    def _keys(self, indices: Indices, number: int) -> Indices:
        """What the random numbers of a batch's examples follow from."""
        if self.classes is None:
            return indices
        # An example that comes several times must not look the same each time: its place in the epoch decides then.
        places = np.arange(len(indices)) + number * self.batch_size
        return places * self.world_size + self.rank
