"""The head of a network: the layer whose outputs are the logits."""

import contextlib
from collections.abc import Generator
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from tao_lite.models.architectures import Options


def find(network: nn.Module) -> str:
    """Name of the layer that makes the logits: the one that timm names, or the last Conv2d or Linear.

    Distilled networks of timm have two such layers; it is the first.
    """
    named = getattr(network, "pretrained_cfg", {}).get("classifier") or ""
    name = str(named if isinstance(named, str) else named[0])
    layers = [path for path, layer in network.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    return name if name in layers else layers[-1]


@contextlib.contextmanager
def reading(layer: nn.Module) -> Generator[list[Tensor]]:
    """A list to which each call of the layer adds what it reads."""
    inputs = list[Tensor]()
    hook = layer.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    try:
        yield inputs
    finally:
        hook.remove()


def pooled(features: Tensor, layer: nn.Module) -> Tensor:
    """What the head reads as one vector for each image: float32 [B, d], averaged over positions where there are any."""
    if features.dim() > 2:
        positions = features.flatten(2) if isinstance(layer, nn.Conv2d) else features.flatten(1, -2).transpose(1, 2)
        features = positions.mean(dim=2)
    return features.float()


def restart(network: nn.Module) -> None:
    """Initialise the head again, by the size of its input.

    Libraries do it for 1000 classes, some by the number of classes: with few, logits would start far from zero.
    """
    layer = network.get_submodule(find(network))
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    layer.reset_parameters()


def linear(features: int, options: "Options") -> nn.Sequential:
    """Dropout and one linear layer: features float32 [B, features] -> logits [B, num_classes]."""
    return nn.Sequential(nn.Dropout(options.dropout or 0.0), nn.Linear(features, options.num_classes))
