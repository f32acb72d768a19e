"""Weights under another library's names, brought to the network's own by the order and the shapes of the layers."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tao_lite.models import architectures, head
from tao_lite.models.weights import published
from tao_lite.spec import classification_pb2 as pb

# Name of a layer -> its own tensors by their last name, in the order of computation.
Layers = Mapping[str, Mapping[str, Tensor]]

# A published network with another head: at most the two hidden layers and the output of VGG stay over.
_MAX_HEAD_LAYERS = 3

# The names of efficientnet_pytorch, in the order of computation; its blocks stand where the number is.
_AROUND_BLOCKS = {"_conv_stem": -2, "_bn0": -1, "_conv_head": 10**6, "_bn1": 10**6 + 1, "_fc": 10**6 + 2}
_IN_A_BLOCK = (
    *("_expand_conv", "_bn0", "_depthwise_conv", "_bn1"),
    *("_se_reduce", "_se_expand", "_project_conv", "_bn2"),
)


@dataclass(frozen=True, kw_only=True)
class Named:
    """Tensors by the network's own names."""

    tensors: Mapping[str, Tensor]
    # What the names were mapped from, for the log; "" where they were right.
    note: str = ""
    # Where the widths are not the architecture's: shapes of the full network, by name.
    full: Mapping[str, torch.Size] | None = None


def layers(state_dict: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors by layer; counters of batches are left out."""
    grouped: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state_dict.items():
        layer, _, own = name.rpartition(".")
        if own != "num_batches_tracked":
            grouped.setdefault(layer, {})[own] = tensor
    return grouped


def plain(model_config: pb.ModelConfig, num_classes: int = 1000) -> nn.Module:
    """The spec's network as libraries publish it, on 3 channels and without added projections; it holds no numbers."""
    published_config = pb.ModelConfig()
    published_config.CopyFrom(model_config)
    published_config.all_projections = False
    published_config.input_image_size = re.sub(r"^\s*1\s*,", "3,", model_config.input_image_size)
    with torch.device("meta"):
        return architectures.build(published_config, num_classes)


def own_names(tensors: Mapping[str, Tensor], model_config: pb.ModelConfig, *, is_ordered: bool) -> Named:
    """The tensors under the names of the spec's network, or as they are where they belong to none like it.

    `is_ordered`: the file keeps the order in which its network was built, so that also unknown names can be mapped.
    """
    network = plain(model_config)
    own, theirs = network.state_dict(), layers(tensors)
    ours = layers(own)
    candidates = list(_candidates(theirs, ours, model_config, is_ordered=is_ordered))
    by_name = sum(name in theirs for name in ours)
    fitting = sum(name in tensors and tensors[name].shape == own[name].shape for name in own)
    for is_exact in (True, False):
        if not is_exact and (2 * fitting >= len(own) or any(map(_is_expanded, tensors.values()))):
            break
        for note, candidate in candidates:
            pairs = paired(candidate, ours, head=head.find(network), is_exact=is_exact)
            if pairs and (len(pairs) > by_name or not is_exact):
                mapped = renamed(tensors, pairs, own)
                return Named(tensors=mapped, note=note) if is_exact else of_other_widths(mapped, note, own)
    return Named(tensors=tensors)


def of_other_widths(tensors: Mapping[str, Tensor], note: str, own: Mapping[str, Tensor]) -> Named:
    """Tensors of the same layers with other numbers of channels than the spec's network has."""
    words = "its layers have other widths than the architecture's, which were kept"
    full = {name: tensor.shape for name, tensor in own.items()}
    return Named(tensors=tensors, note=f"{note}; {words}" if note else words, full=full)


def paired(theirs: Layers, own: Layers, *, head: str, is_exact: bool) -> dict[str, str]:
    """Their layers -> ours, in order: the same kinds and, where exact, the same shapes; {} where the bodies differ.

    Heads may differ. Neither the classes nor the channels of the image count.
    """
    pairs = {}
    for position, (their_name, own_name) in enumerate(zip(theirs, own, strict=False)):
        their, mine = (_form(layer, position) for layer in (theirs[their_name], own[own_name]))
        if own_name == head:
            their, mine = (_without_width(form) for form in (their, mine))
        is_reshaped = ("linear",) in (their.kind, mine.kind) and their.columns == mine.columns
        if their.kind != mine.kind and not is_reshaped:
            break
        if is_exact and (their.width, their.columns) != (mine.width, mine.columns):
            break
        pairs[their_name] = own_name
    is_whole = len(theirs) - len(pairs) <= _MAX_HEAD_LAYERS and all(
        name == head or _form(own[name], 1).kind == ("linear",) for name in list(own)[len(pairs) :]
    )
    return pairs if is_whole else {}


def renamed(tensors: Mapping[str, Tensor], pairs: Mapping[str, str], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the paired layers' names; a linear layer as a convolution and the reverse."""
    result = {}
    for name, tensor in tensors.items():
        layer, _, last = name.rpartition(".")
        # What has no counterpart keeps its name, unless that is taken: vgg's hidden layers.
        key = f"{pairs[layer]}.{last}" if layer in pairs else name if name not in own else f"their {name}"
        is_reshaped = key in own and own[key].dim() != tensor.dim() and own[key].numel() == tensor.numel()
        result[key] = tensor.reshape(own[key].shape) if is_reshaped else tensor
    return result


def _is_expanded(tensor: Tensor) -> bool:
    """Whether the tensor would take more memory than its file holds, if a network were made as wide."""
    return tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()


@dataclass(frozen=True)
class _Form:
    kind: tuple[object, ...]
    width: int
    columns: int


def _without_width(form: _Form) -> _Form:
    """The form of a head, whose width is the number of classes."""
    return _Form(form.kind, 0, form.columns)


def _form(layer: Mapping[str, Tensor], position: int) -> _Form:
    """What layers are compared by. The first one's input channels are the image's."""
    weight = layer.get("weight")
    if weight is None or weight.dim() not in (1, 2, 4):
        return _Form(("other", *sorted((name, tensor.shape) for name, tensor in layer.items())), 0, -1)
    columns = 0 if position == 0 else weight[0].numel()
    if weight.dim() == 4:
        is_depthwise = position > 0 and weight.shape[1] == 1 < weight.shape[2]
        return _Form(("convolution", *weight.shape[2:], is_depthwise), weight.shape[0], columns)
    if weight.dim() == 2:
        return _Form(("linear",), weight.shape[0], columns)
    return _Form(("norm", "running_mean" in layer), weight.shape[0], 1)


def _candidates(
    theirs: Layers, ours: Layers, model_config: pb.ModelConfig, *, is_ordered: bool
) -> Iterator[tuple[str, Layers]]:
    """Orders that the file's layers may have, with a note for the log: by name here, in a library, as in the file."""
    if all(name in theirs for name in ours):
        yield "", {name: theirs[name] for name in ours}
        return
    for library, model in published.models(model_config).items():
        reference = layers(published.skeleton(library, model).state_dict()) if model else {}
        if reference and _covers(theirs, reference):
            note = f"names were mapped from {library}'s {model}, by the order and shapes of its layers"
            yield note, {name: theirs[name] for name in reference if name in theirs}
    if ordered := _of_efficientnet_pytorch(theirs):
        yield "names were mapped from efficientnet_pytorch's, by the order that they tell", ordered
    if is_ordered:
        note = "names were mapped by the order and shapes of the file's layers"
        yield f"{note}; its strides and activations, which a file does not tell, should be the network's", theirs


def _of_efficientnet_pytorch(theirs: Layers) -> Layers:
    """The layers in the order of computation; {} where they are not all named as there."""
    places = {}
    for name in theirs:
        block = re.fullmatch(r"_blocks\.(\d{1,3})\.(\w+)", name)
        if block and block[2] in _IN_A_BLOCK:
            places[name] = (int(block[1]), _IN_A_BLOCK.index(block[2]))
        elif name in _AROUND_BLOCKS:
            places[name] = (_AROUND_BLOCKS[name], 0)
        else:
            return {}
    return {name: theirs[name] for name in sorted(theirs, key=places.__getitem__)}


def _covers(theirs: Layers, reference: Iterable[str]) -> bool:
    """Whether the file has all of the reference's layers but its head."""
    absent = [name for name in reference if name not in theirs]
    return len(absent) <= _MAX_HEAD_LAYERS and len(theirs) > len(absent)
