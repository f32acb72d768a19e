"""A batch, and what the loops read batches from."""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from tao_lite.spec.tasks import Tasks


@dataclass(frozen=True, slots=True)
class Batch:
    """Images of one step; those that can't be decoded are missing.

    images: uint8 [B, C, H, W], RGB or grey, channels last in memory. labels: int64 [B] or, of several
    tasks, int8 [B, outputs] as `spec.tasks.mark` has them. draws: float32 [B, NUM_DRAWS], uniform in [0, 1), columns as
    in draws.py. number: place in the epoch, from 0, which missing images don't change.
    done: images of the epoch's order, up to this batch's last, over all processes. surplus: images that this process
    has above an equal part of the batch of all processes. weights: float32 [B], how much the loss of each image's label
    counts; None: all alike. indices: which examples of the data set they are; empty where nobody says.
    """

    images: Tensor
    labels: Tensor
    paths: tuple[Path, ...]
    draws: Tensor
    number: int
    done: int = 0
    surplus: float = 0.0
    weights: Tensor | None = None
    indices: tuple[int, ...] = ()


class Batches(Protocol):
    """What the loops read: the batches of a data set, epoch by epoch."""

    @property
    def class_names(self) -> tuple[str, ...]: ...

    @property
    def tasks(self) -> Tasks: ...

    def __len__(self) -> int: ...

    def epoch(self, epoch: int, done: int = 0) -> Generator[Batch]: ...
