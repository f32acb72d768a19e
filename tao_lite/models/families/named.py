"""Networks of other libraries by their own names: "timm/NAME" and "torchvision/NAME", never with weights."""

from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import nn

from tao_lite.errors import SpecError
from tao_lite.models import head
from tao_lite.models.families import adapt, from_timm, from_torchvision

if TYPE_CHECKING:
    from tao_lite.models.architectures import Options

LIBRARIES: Mapping[str, ModuleType] = {"timm": from_timm, "torchvision": from_torchvision}


def build(options: "Options") -> nn.Module:
    """Network of options.arch, freshly initialised: images float32 [B, C, H, W] -> logits [B, num_classes].

    Raises:
        SpecError: unknown name, no classifier, or an input size that the network can't take.
    """
    library, name = options.arch.split("/", 1)
    # Without memory or numbers first: what can't be built is said before a large network is initialised.
    with torch.device("meta"):
        _refuse_misfit(library, name, options)
    network: nn.Module = LIBRARIES[library].build(name, options)
    head.restart(network)
    if not options.keep_batch_norm:
        adapt.set_norm(network, replace(options, use_batch_norm=True))
    return network


def blocks(arch: str) -> dict[int, tuple[str, ...]]:
    """Number in freeze_blocks -> names of the block's modules, from the input on; all but the head.

    Tensors that are in no layer, such as position embeddings, are in no block.

    Raises:
        SpecError: unknown name.
    """
    library, name = arch.split("/", 1)
    with torch.device("meta"):
        names: list[tuple[str, ...]] = LIBRARIES[library].blocks(name)
    return dict(enumerate(names))


def _refuse_misfit(library: str, name: str, options: "Options") -> None:
    size = f"{options.channels},{options.height},{options.width}"
    try:
        network = LIBRARIES[library].build(name, options).to("meta")
        with torch.no_grad():
            logits = network.eval()(torch.zeros(1, options.channels, options.height, options.width))
    except (AssertionError, IndexError, RuntimeError, TypeError, ValueError) as error:
        text = f"{options.arch} can't take images of that size: {error}"
        raise SpecError(f'model_config.input_image_size is "{size}"; {text}') from error
    if not isinstance(logits, torch.Tensor) or logits.shape != (1, options.num_classes):
        raise SpecError(f'model_config.arch is "{options.arch}"; it does not classify images')
