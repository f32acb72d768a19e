"""What is noted of each image while a network is evaluated, so that groups of images can be told apart afterwards."""

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tao_lite.data.batch import Batch
from tao_lite.data.loader import Loader
from tao_lite.machine.distributed import World
from tao_lite.models import head
from tao_lite.training.deployed import Deployment
from tao_lite.training.trained import Trained

NUM_DIRECTIONS = 32
"""Numbers that are kept of an image's features: distances stay what they were, but for an eighth or so.

Source: Johnson and Lindenstrauss, Contemporary Mathematics 26 (1984).
"""
_FIXED = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Observed:
    """Of each example of the data set, over all processes; what was not read has zeros.

    is_read, is_right: bool [N]. brightness: float64 [N], the mean of what the network saw, 0 to 255. features: float32
    [N, NUM_DIRECTIONS] on the host; None of a deployed network.
    """

    is_read: npt.NDArray[np.bool_]
    is_right: npt.NDArray[np.bool_]
    brightness: npt.NDArray[np.float64]
    features: Tensor | None


class Observer:
    """Notes without waiting for the device what `evaluate_network` tells it; its `network` is the one to evaluate."""

    def __init__(self, trained: Trained | Deployment, data: Loader) -> None:
        self.network: nn.Module = trained.network
        self._num_examples = data.num_examples
        self._rows: list[tuple[tuple[int, ...], Tensor]] = []
        self._layer: nn.Module | None = None
        self._reading, self._directions = ExitStack(), torch.empty(0)
        if isinstance(trained, Trained):
            self.network = trained.folded
            self._layer = self.network.get_submodule(head.find(trained.network))
            self._inputs = self._reading.enter_context(head.reading(self._layer))

    def add(self, batch: Batch, labels: Tensor, logits: Tensor) -> None:
        """As `evaluate_network` calls its `watch`."""
        is_right = (logits.argmax(dim=1) == labels) & logits.isfinite().all(dim=1)
        brightness = batch.images.mean(dim=(1, 2, 3), dtype=torch.float32)
        columns = [torch.ones_like(is_right), is_right, brightness]
        found = torch.stack([column.float() for column in columns], dim=1)
        if self._layer is not None:
            found = torch.cat([found, self._projected(head.pooled(self._inputs.pop(), self._layer))], dim=1)
        self._rows.append((batch.indices, found))

    def result(self, world: World) -> Observed:
        """What was noted by all processes, which come to it together."""
        self._reading.close()
        width = _FIXED + (NUM_DIRECTIONS if self._layer is not None else 0)
        table = torch.zeros(self._num_examples, width, device=world.device)
        for indices, found in self._rows:
            table[torch.tensor(indices, dtype=torch.int64, device=table.device)] = found.to(table.device)
        table = world.sum_(table).cpu()
        return Observed(
            is_read=table[:, 0].bool().numpy(),
            is_right=table[:, 1].bool().numpy(),
            brightness=table[:, 2].double().numpy(),
            features=table[:, _FIXED:] if self._layer is not None else None,
        )

    def _projected(self, features: Tensor) -> Tensor:
        """The features' direction in a few dimensions, the same in all processes."""
        if not len(self._directions):
            generator = torch.Generator().manual_seed(0)
            drawn = torch.randn(features.shape[1], NUM_DIRECTIONS, generator=generator)
            self._directions = (drawn / NUM_DIRECTIONS**0.5).to(features.device)
        return F.normalize(features) @ self._directions
