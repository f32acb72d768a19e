"""Transfer learning: which blocks of a network stay as they are."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from tao_lite.models.architectures import Architecture

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Frozen:
    """Modules that stay in evaluation mode, by name, and whether all batch normalisation does."""

    modules: tuple[str, ...]
    freeze_bn: bool


def freeze(
    network: nn.Module, architecture: "Architecture", blocks: Iterable[int], freeze_bn: bool, *, exact: bool = False
) -> Frozen:
    """What is frozen, to be passed to train_mode; gradients of the frozen parameters are switched off.

    A frozen block stays as a whole: weights, and scale, shift and statistics of batch normalisation. With exact, as in
    TAO, only its kernels and biases stay: batch normalisation goes on training, and dropout goes on dropping.
    All other parameters become trainable, whatever they were before, so a retrained network does not inherit frozen
    ones. Numbers that the architecture does not have are named in a warning and ignored, as in TAO.
    """
    known = architecture.freeze_blocks
    chosen = sorted(set(blocks))
    ignored = [number for number in chosen if number not in known]
    if ignored:
        text = "model_config.freeze_blocks: ignored %s; the blocks of %s are %s"
        log.warning(text, _joined(ignored), architecture.name, _joined(known))
    modules = tuple(module for number in chosen if number in known for module in known[number])
    network.requires_grad_(True)
    for layer in (layer for module in modules for layer in network.get_submodule(module).modules()):
        if not (exact and isinstance(layer, _BatchNorm)):
            for parameter in layer.parameters(recurse=False):
                parameter.requires_grad_(False)
    if modules:
        _report(network, modules, " but their batch normalisation" if exact else "")
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


def _report(network: nn.Module, modules: Iterable[str], exception: str) -> None:
    frozen = sum(parameter.numel() for parameter in network.parameters() if not parameter.requires_grad)
    total = sum(parameter.numel() for parameter in network.parameters())
    log.info("Froze %s%s: %s of %s parameters", ", ".join(modules), exception, f"{frozen:,}", f"{total:,}")


def _joined(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
