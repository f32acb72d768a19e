"""A batch, and what the loops read batches from."""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Images of one step; those that can't be decoded are missing.

    images: uint8 [B, C, H, W], RGB or grey, channels last in memory. labels: int64 [B]. draws: float32 [B, NUM_DRAWS],
    uniform in [0, 1), columns as in draws.py. number: place in the epoch, from 0, which missing images don't change.
    """

    images: Tensor
    labels: Tensor
    paths: tuple[Path, ...]
    draws: Tensor
    number: int


class Batches(Protocol):
    """What the loops read: the batches of a data set, epoch by epoch."""

    @property
    def class_names(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def epoch(self, epoch: int, start: int = 0) -> Generator[Batch]: ...
