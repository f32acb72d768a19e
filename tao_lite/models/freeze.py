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
    """Modules that stay as they are, by name, and whether batch normalisation keeps its running statistics."""

    modules: tuple[str, ...]
    freeze_bn: bool


def freeze(network: nn.Module, architecture: "Architecture", blocks: Iterable[int], freeze_bn: bool) -> Frozen:
    """What is frozen, to be passed to train_mode; gradients of the frozen parameters are switched off.

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
    for module in modules:
        network.get_submodule(module).requires_grad_(False)
    if modules:
        frozen = sum(parameter.numel() for parameter in network.parameters() if not parameter.requires_grad)
        total = sum(parameter.numel() for parameter in network.parameters())
        log.info("Froze %s: %s of %s parameters", ", ".join(modules), f"{frozen:,}", f"{total:,}")
    return Frozen(modules, freeze_bn)


def train_mode(network: nn.Module, frozen: Frozen) -> None:
    """Switch the bare network (not wrapped for DDP) to training; called in place of network.train() at each epoch.

    Frozen blocks stay in evaluation mode as a whole: weights, and scale, shift and statistics of batch normalisation.
    TAO freezes only their convolutions, and its batch normalisation goes on drifting. With freeze_bn every batch
    normalisation uses and keeps its running statistics; outside frozen blocks its scale and shift stay trainable.
    """
    network.train()
    for module in frozen.modules:
        network.get_submodule(module).eval()
    if frozen.freeze_bn:
        for layer in network.modules():
            if isinstance(layer, _BatchNorm):
                layer.eval()


def _joined(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
