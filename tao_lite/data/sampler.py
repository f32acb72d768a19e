"""Which examples make the batches of an epoch: their order, the part of this process, and where batches begin."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tao_lite.data.draws import NUM_DRAWS, balanced, by_shards, permutation, uniforms
from tao_lite.data.split import Split, split
from tao_lite.errors import DataError

Indices = npt.NDArray[np.int64]


class Pick(NamedTuple):
    """The examples of a batch, by index, and their random numbers: int64 [B], float64 [B, NUM_DRAWS]."""

    number: int  # of the batch in its epoch, from 0
    indices: Indices
    draws: npt.NDArray[np.float64]
    done: int  # images of the epoch's order, up to this batch's last, over all processes
    surplus: float  # images that this process has above an equal part


@dataclass(frozen=True, kw_only=True, eq=False)
class Sampler:
    """Deals out the examples of a data set to processes and batches, as (seed, epoch) say and nothing else.

    In training the examples are shuffled, and the order of an epoch, its length and its steps are those of the
    `begun_with` processes that the run was begun with, whoever computes them now; batches of a single image are left
    out if there are others, because batch norm can't take them. Otherwise the examples come in order, dealt out to the
    processes, each exactly once.
    """

    num_examples: int  # over all processes
    batch_size: int
    """Images of a batch in one process, of those that a run is begun with."""
    seed: int
    training: bool
    classes: Indices | None = None
    """In training, the class of each example: each class then comes equally often, rare ones several times an epoch."""
    shards: Indices | None = None
    """The shard of each example, by number, where they are in shards."""
    window: int = 0
    """In training, how many shards are in use at a time; 0: any number, the whole epoch being shuffled."""
    rank: int = 0
    world_size: int = 1
    accumulation: int = 1
    """Batches of an optimizer step, in a run that goes on with as many processes as it was begun with."""
    begun_with: int = 0
    """0: this number of processes."""

    def __post_init__(self) -> None:
        if self.training and not len(self):
            raise DataError(
                f"{self.num_examples} training images are too few for {self.world_size} processes; use fewer --gpus"
            )

    def __len__(self) -> int:
        """Batches of an epoch in this process."""
        return self._left(0)[0]

    @cached_property
    def split(self) -> Split:
        """How a step's images are split into batches here."""
        if not self.training:
            return Split(self.batch_size * self.world_size, 1)
        return split(self.step, num_processes=self.world_size, smallest=self.smallest_batch, largest=self.batch_size)

    @property
    def step(self) -> int:
        """Images of an optimizer step, of all processes that the run was begun with."""
        return self.batch_size * self.accumulation * self._num_shares

    @property
    def own_batch(self) -> int:
        """Images of a whole batch in this process."""
        return len(range(self.rank, self.split.batch, self.world_size))

    @cached_property
    def smallest_batch(self) -> int:
        """A batch of fewer images in a process is left out."""
        return 2 if self.training and self.batch_size > 1 and self.num_examples // self._num_shares > 1 else 1

    @property
    def num_dealt(self) -> int:
        """Examples of an epoch that come into batches; in training, over all processes."""
        return self._left(0)[1]

    def number(self, done: int) -> int:
        """Number of the batch with which an epoch goes on after that many images of its order."""
        return done // self.split.batch

    def batches(self, epoch: int, done: int = 0) -> Iterator[Pick]:
        """This process's batches of the epoch without the first `done` images of its order."""
        order, (num_batches, last) = self.order(epoch), self._left(done)
        first, size = self.number(done), self.split.batch
        for number in range(first, first + num_batches):
            end = last if number == first + num_batches - 1 else done + size
            # Dealing out one order makes the processes' batches together one batch of the epoch.
            places = np.arange(done + self.rank, end, self.world_size)
            indices, surplus = order[places], len(places) - (end - done) / self.world_size
            # An example that comes several times must not look the same each time: its place in the epoch decides then.
            keys = indices if self.classes is None else places
            yield Pick(number, indices, uniforms(self.seed, epoch, keys, NUM_DRAWS), end, surplus)
            done = end

    def order(self, epoch: int) -> Indices:
        """The epoch of all processes."""
        if not self.training:
            return np.arange(self.num_examples)
        if self.window:
            assert self.shards is not None
            return by_shards(self.shards, self.window, self.seed, epoch)
        if self.classes is None:
            return permutation(self.seed, epoch, self.num_examples)
        return balanced(self.classes, self.seed, epoch)

    def _left(self, done: int) -> tuple[int, int]:
        """How many batches are left after `done` images of an epoch, and where in its order the last one ends."""
        full, rest = divmod(max(0, self._num_used - done), self.split.batch)
        is_batch = rest >= (self.smallest_batch * self.world_size if self.training else self.rank + 1)
        # Too few for a batch of their own, but not for the one before them in the same step.
        is_taken_in = full > 0 and (self.number(done) + full) % self.split.accumulation > 0
        return full + is_batch, self._num_used - (0 if is_batch or is_taken_in else rest)

    @cached_property
    def _num_used(self) -> int:
        """Examples of an epoch that those with which the run was begun have batches for."""
        if not self.training:
            return self.num_examples
        own = self.num_examples // self._num_shares
        rest = own % self.batch_size
        return (own if rest >= self.smallest_batch else own - rest) * self._num_shares

    @property
    def _num_shares(self) -> int:
        return self.begun_with or self.world_size
