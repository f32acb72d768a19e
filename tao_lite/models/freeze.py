"""Transfer learning: which blocks of a network stay as they are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@dataclass(frozen=True, slots=True)
class Frozen:
    """Modules that stay in evaluation mode, by name, and whether all batch normalisation does."""

    modules: tuple[str, ...]
    freeze_bn: bool


def rate_shares(blocks: Mapping[int, tuple[str, ...]], decay: float) -> dict[str, float]:
    """Module of a block -> share of the learning rate: decay for the block next to the head, its square before it, ...

    Source: Howard & Ruder, arXiv:1801.06146, section 3.2.
    """
    last = max(blocks)
    return {module: decay ** (last + 1 - number) for number, block in blocks.items() for module in block}


def freeze(
    network: nn.Module,
    blocks: Mapping[int, tuple[str, ...]],
    numbers: Iterable[int],
    freeze_bn: bool,
    *,
    exact: bool = False,
) -> Frozen:
    """What is frozen, to be passed to train_mode; gradients of the frozen parameters are switched off.

    A frozen block stays as a whole: weights, and scale, shift and statistics of batch normalisation. With exact, as in
    TAO, only its kernels and biases stay: batch normalisation goes on training, and dropout goes on dropping.
    All other parameters become trainable, whatever they were before, so a retrained network does not inherit frozen
    ones. `blocks` are the architecture's; numbers that it does not have are ignored, as in TAO, and preflight says so.
    """
    modules = tuple(module for number, block in blocks.items() if number in set(numbers) for module in block)
    network.requires_grad_(True)
    for layer in (layer for module in modules for layer in network.get_submodule(module).modules()):
        if not (exact and isinstance(layer, _BatchNorm)):
            for parameter in layer.parameters(recurse=False):
                parameter.requires_grad_(False)
    return Frozen(() if exact else modules, freeze_bn)


def train_mode(network: nn.Module, frozen: Frozen) -> None:
    """Switch the bare network (not wrapped for DDP) to training; called in place of network.train() at each epoch.

    With freeze_bn every batch normalisation uses and keeps its running statistics; outside frozen blocks its scale and
    shift stay trainable.
    """
    network.train()
    for module in frozen.modules:
        network.get_submodule(module).eval()
    if frozen.freeze_bn:
        for layer in network.modules():
            if isinstance(layer, _BatchNorm):
                layer.eval()
