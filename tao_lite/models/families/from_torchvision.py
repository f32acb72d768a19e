"""Networks of torchvision by name."""

import contextlib
from typing import TYPE_CHECKING, Any

import torch
import torchvision
from torch import nn

from tao_lite.errors import SpecError
from tao_lite.models.families import adapt, parts
from tao_lite.spec.bind import did_you_mean

if TYPE_CHECKING:
    from tao_lite.models.architectures import Options


def build(name: str, options: "Options") -> nn.Module:
    """torchvision's network without weights and without auxiliary heads.

    Raises:
        SpecError: torchvision has no such network, or it takes square images only.
    """
    settings: dict[str, Any] = {"num_classes": options.num_classes}
    if name.startswith("vit_"):
        if options.height != options.width:
            size = f"{options.channels},{options.height},{options.width}"
            raise SpecError(f'model_config.input_image_size is "{size}"; torchvision/{name} takes square images only')
        settings["image_size"] = options.height
    if name.startswith("maxvit_"):
        settings["input_size"] = (options.height, options.width)
    network = _made(name, settings)
    adapt.set_channels(network, options.channels)
    return network


def blocks(name: str) -> list[tuple[str, ...]]:
    """Modules of each block: the parts of the network that follow one another."""
    return parts.in_order(_made(name, {}))


def _made(name: str, settings: dict[str, Any]) -> nn.Module:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        near = did_you_mean(f"torchvision/{name}", [f"torchvision/{one}" for one in known])
        raise SpecError(f'model_config.arch is "torchvision/{name}"; torchvision has no such network{near}')
    if name in ("googlenet", "inception_v3"):
        settings |= {"aux_logits": False, "init_weights": True}
    # RegNet works out its widths with tensors, for which those of the meta device have no numbers.
    with torch.device("cpu") if name.startswith("regnet_") else contextlib.nullcontext():
        network: nn.Module = torchvision.models.get_model(name, weights=None, **settings)
    return network
