"""Networks of timm by name, and what timm knows of their blocks."""

from typing import TYPE_CHECKING, Any

import timm
from torch import nn

from tao_lite.errors import SpecError
from tao_lite.models.families import parts
from tao_lite.spec.bind import did_you_mean

if TYPE_CHECKING:
    from tao_lite.models.architectures import Options


def build(name: str, options: "Options") -> nn.Module:
    """timm's network without weights; its own dropout unless options have one.

    Raises:
        SpecError: timm has no such network, or no such weights, which may come after a point.
    """
    settings: dict[str, Any] = {"num_classes": options.num_classes, "in_chans": options.channels}
    if options.dropout is not None:
        settings["drop_rate"] = options.dropout
    _refuse_unknown(name)
    config = timm.get_pretrained_cfg(name)
    if config and config.fixed_input_size:
        settings["img_size"] = (options.height, options.width)
    network: nn.Module = timm.create_model(name, pretrained=False, **settings)
    return network


def blocks(name: str) -> list[tuple[str, ...]]:
    """Modules of each block: timm's coarse groups, or where it has none the parts that follow one another."""
    _refuse_unknown(name)
    # Some have no head unless classes are asked for.
    network = timm.create_model(name, pretrained=False, num_classes=1000)
    try:
        matcher = network.group_matcher(coarse=True)  # type: ignore[operator]
    except (AssertionError, AttributeError):
        return parts.in_order(network)
    groups = timm.models.group_parameters(network, matcher)
    return parts.grouped(network, {name: number for number, names in groups.items() for name in names})


def _refuse_unknown(name: str) -> None:
    known = [*timm.list_models(), *timm.list_pretrained()]
    if name not in known:
        near = did_you_mean(f"timm/{name}", [f"timm/{one}" for one in known])
        raise SpecError(f'model_config.arch is "timm/{name}"; timm has no such network{near}')
