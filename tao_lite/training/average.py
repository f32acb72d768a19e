"""A moving average of a network's weights, which validates better than the weights themselves."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class Average:
    """A copy of the network whose weights and running statistics follow the network's, step by step.

    The weight of the old average is decay, and less in the first steps: (1 + step) / (10 + step), so that the random
    start is soon forgotten. Source: Polyak & Juditsky 1992; the first steps as TensorFlow has them.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self._followed = network
        self._decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the network after optimizer step `step`, counted from 0. Nothing waits for the device."""
        averages, values = zip(*self._pairs(), strict=True)
        # Where weights are float16, their average is not: its small moves would be rounded away.
        widened = [value.to(average.dtype) for average, value in zip(averages, values, strict=True)]
        torch._foreach_lerp_(averages, widened, 1 - min(self._decay, (1 + step) / (10 + step)))
        for average, value in self._buffers():
            if not value.is_floating_point():
                average.copy_(value)

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        """What can change by degrees: trainable weights and statistics, each with its average."""
        parameters = zip(self.network.parameters(), self._followed.parameters(), strict=True)
        trained = [(average, weight) for average, weight in parameters if weight.requires_grad]
        return [*trained, *((average, value) for average, value in self._buffers() if value.is_floating_point())]

    def _buffers(self) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(self.network.buffers(), self._followed.buffers(), strict=True)
