"""One layer with channels - Conv2d, Linear or batch norm: its tensors, narrowed, resized and counted."""

import itertools
from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)
LAYERS = (nn.Conv2d, nn.Linear, *BATCH_NORMS)

# Classes of timm that treat each channel as torch's own class does, by name so that timm is not imported for it.
# Other subclasses may do anything with their weights: those that standardise them read all inputs for each output.
_KNOWN: Mapping[str, type[nn.Module]] = {
    "BatchNormAct2d": nn.BatchNorm2d,
    "Conv2dSame": nn.Conv2d,
    "Linear": nn.Linear,
    "MaxPool2dSame": nn.MaxPool2d,
    "AvgPool2dSame": nn.AvgPool2d,
}


def known_base(module: nn.Module) -> type[nn.Module] | None:
    """torch's class that a class of timm computes as; None for any other."""
    kind = type(module)
    return _KNOWN.get(kind.__qualname__) if kind.__module__.startswith("timm.layers.") else None


def named(network: nn.Module) -> dict[str, nn.Module]:
    """The layers of a network that have channels, in the order of their registration."""
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, LAYERS)}


def is_depthwise(layer: nn.Module) -> bool:
    """Whether the layer is a convolution whose outputs each read one of many input channels."""
    return isinstance(layer, nn.Conv2d) and 1 < layer.groups == layer.in_channels


def makes_channels(layer: nn.Module) -> bool:
    """Whether the layer's outputs are new channels rather than its inputs, changed one by one."""
    return isinstance(layer, (nn.Conv2d, nn.Linear)) and not is_depthwise(layer)


def width(layer: nn.Module) -> int:
    """Number of output channels; 0 for a layer that has none of its own."""
    for attribute in ("out_channels", "out_features", "num_features"):
        if isinstance(getattr(layer, attribute, None), int):
            return int(getattr(layer, attribute))
    return 0


def num_inputs(layer: nn.Module) -> int:
    """Number of input channels of a Conv2d or Linear."""
    return weight(layer).shape[1] * int(getattr(layer, "groups", 1))


def weight(layer: nn.Module) -> Tensor:
    """The weight of a Conv2d or Linear: [outputs, inputs, ...]."""
    return cast("Tensor", layer.weight)


def tensors(layer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The layer's parameters and buffers that have an axis of channels."""
    own = itertools.chain(layer.named_parameters(recurse=False), layer.named_buffers(recurse=False))
    return ((key, tensor) for key, tensor in own if tensor.dim() > 0)


def columns(layer: nn.Module, inputs: Tensor | None) -> Tensor | None:
    """Where the weight holds the given input channels on its axis 1; None where that axis stays as it is."""
    if inputs is None or not makes_channels(layer):
        return None
    return inputs[inputs < weight(layer).shape[1]]  # groups of a grouped convolution keep the same positions


def narrow(layer: nn.Module, outputs: Tensor, inputs: Tensor | None) -> None:
    """Leaves only these output and input channels (int64, ascending), in place."""
    stay = columns(layer, inputs)
    for key, tensor in list(tensors(layer)):
        rows = tensor.detach().index_select(0, outputs.to(tensor.device))
        _put(layer, key, rows if stay is None or key != "weight" else rows.index_select(1, stay.to(rows.device)))
    _match_attributes(layer)


def hide(layer: nn.Module, inputs: Tensor) -> None:
    """Makes a Conv2d or Linear read only these input channels, in place: the weights on the others become zero."""
    stay = columns(layer, inputs)
    if stay is not None:
        unread = torch.ones(weight(layer).shape[1], dtype=torch.bool).index_fill(0, stay, False)
        weight(layer).data[:, unread.to(weight(layer).device)] = 0


def resize(layer: nn.Module, shapes: dict[str, torch.Size]) -> None:
    """Gives the tensors of a layer new shapes, in place; those that change hold no values yet."""
    for key, tensor in list(tensors(layer)):
        if tensor.shape != shapes[key]:
            _put(layer, key, tensor.detach().new_empty(shapes[key]))
    _match_attributes(layer)


def num_parameters(layer: nn.Module, outputs: Tensor, inputs: Tensor | None) -> int:
    """Parameters of the layer if it were narrowed to these channels."""
    own = layer.named_parameters(recurse=False)
    return sum(
        num_weights(layer, outputs, inputs) if key == "weight" else tensor.numel() // tensor.shape[0] * len(outputs)
        for key, tensor in own
    )


def num_weights(layer: nn.Module, outputs: Tensor, inputs: Tensor | None) -> int:
    """Numbers in the weight of the layer if it were narrowed to these channels."""
    stay, shape = columns(layer, inputs), weight(layer).shape
    size = weight(layer).numel() // shape[0] * len(outputs)
    return size if stay is None else size // shape[1] * len(stay)


def _put(layer: nn.Module, key: str, tensor: Tensor) -> None:
    old = getattr(layer, key)
    setattr(layer, key, nn.Parameter(tensor, old.requires_grad) if isinstance(old, nn.Parameter) else tensor)


def _match_attributes(layer: nn.Module) -> None:
    shape = next((tensor.shape for _, tensor in tensors(layer)), None)
    if shape is None:
        return
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = shape
    elif isinstance(layer, BATCH_NORMS):
        layer.num_features = shape[0]
    elif isinstance(layer, nn.Conv2d):
        if is_depthwise(layer):
            layer.groups = shape[0] * layer.groups // layer.out_channels
        layer.out_channels, layer.in_channels = shape[0], shape[1] * layer.groups
