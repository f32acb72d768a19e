"""What a cut saved: parameters and multiply-accumulates, layer by layer."""

from collections import Counter
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from tao_lite.pruning import layers, trace
from tao_lite.pruning.trace import Shape


@dataclass(frozen=True)
class LayerChange:
    """One layer with weights before and after the cut; MACs are multiply-accumulates for one image."""

    name: str
    channels_before: int
    channels_after: int
    parameters_before: int
    parameters_after: int
    macs_before: int
    macs_after: int


@dataclass(frozen=True)
class Comparison:
    """All layers with weights in the network's order, and totals."""

    layers: tuple[LayerChange, ...]
    parameters_before: int
    parameters_after: int
    macs_before: int
    macs_after: int


def compare(before: nn.Module, after: nn.Module, input_shape: Shape) -> Comparison:
    """What a cut saved, layer by layer, for images [B, *input_shape]; layers may have gone altogether."""
    pruned = dict(after.named_modules())
    macs_before, macs_after = macs(before, input_shape), macs(after, input_shape)
    changes = tuple(
        LayerChange(
            name=name,
            channels_before=layers.width(layer),
            channels_after=layers.width(pruned[name]) if name in pruned else 0,
            parameters_before=_own_parameters(layer),
            parameters_after=_own_parameters(pruned[name]) if name in pruned else 0,
            macs_before=macs_before[name],
            macs_after=macs_after[name],
        )
        for name, layer in before.named_modules()
        if _own_parameters(layer)
    )
    parameters_before, parameters_after = (sum(p.numel() for p in network.parameters()) for network in (before, after))
    return Comparison(changes, parameters_before, parameters_after, macs_before.total(), macs_after.total())


def macs(network: nn.Module, input_shape: Shape) -> Counter[str]:
    """Multiply-accumulates of each Conv2d and Linear for one image, counted without computing."""
    counts = Counter[str]()

    def count(name: str, layer: nn.Module, _: object, output: Tensor) -> None:
        counts[name] += output.numel() * layers.weight(layer)[0].numel()

    ghost = trace.abstract(network)
    for name, layer in ghost.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(partial(count, name))
    ghost(trace.images(ghost, input_shape, batch_size=1))
    return counts


def _own_parameters(layer: nn.Module) -> int:
    return sum(p.numel() for p in layer.parameters(recurse=False))
