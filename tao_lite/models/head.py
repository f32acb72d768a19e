"""The head of a network: the layer whose outputs are the logits."""

from torch import nn


def find(network: nn.Module) -> str:
    """Name of the layer that makes the logits: the last Conv2d or Linear."""
    names = [name for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    return str(names[-1])
