"""One operation of a traced network, as the rules see it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, fx, nn

from tao_lite.pruning.channels import Channels, Layout


@dataclass(frozen=True)
class Step:
    """One operation of a traced network, and what is known of the operations before it."""

    node: fx.Node
    layer: nn.Module | None  # of a module call
    values: Mapping[fx.Node, object]
    layouts: Mapping[fx.Node, Layout]
    channels: Channels

    @property
    def name(self) -> str:
        """The name of the layer."""
        return str(self.node.target)

    def tensors(self) -> list[tuple[Tensor, Layout]]:
        """The tensors that go in, each with its layout."""
        values = [(self.values[node], self.layouts[node]) for node in self.node.all_input_nodes]
        return [(value, layout) for value, layout in values if isinstance(value, Tensor)]

    def shape(self) -> torch.Size:
        """The shape of the tensor that comes out."""
        return cast("Tensor", self.values[self.node]).shape

    def argument(self, position: int, name: str, default: object) -> object:
        """An argument as the forward function gives it."""
        arguments = self.node.args
        return arguments[position] if position < len(arguments) else self.node.kwargs.get(name, default)
