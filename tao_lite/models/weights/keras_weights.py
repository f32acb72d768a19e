"""Keras weights of TAO under our networks' names, with what stays different between the two networks."""

import re
from collections import Counter
from pathlib import Path

import torch

from tao_lite.errors import CheckpointError
from tao_lite.models.weights import keras_names, layouts
from tao_lite.models.weights.assignment import listed
from tao_lite.models.weights.keras_files import Layers
from tao_lite.models.weights.layouts import Named
from tao_lite.spec import classification_pb2 as pb

_PADDING = "TAO pads strided layers on two sides only"
# Family -> how TAO's network differs from ours where the weights are the same.
_DIFFERENCES = {
    "resnet": (_PADDING,),
    "vgg": (_PADDING,),
    "alexnet": (_PADDING,),
    "googlenet": (_PADDING, "it has 5x5 convolutions where ours are 3x3, and poolings of 2x2 where ours are 3x3"),
    "mobilenet_v1": ("it has ReLU where ours has ReLU6",),
    "mobilenet_v2": ("it has ReLU where ours has ReLU6",),
    "squeezenet": (_PADDING,),
    "darknet53": (_PADDING, 'its LeakyReLU has slope 0.1, as activation {activation_type: "leaky_relu"} gives'),
    "darknet19": (),
    "cspdarknet_tiny": (_PADDING,),
    "efficientnet": (_PADDING,),
}
_BOTTLENECK = "it strides in the first 1x1 convolution of a block, ours in the 3x3"
# Where our networks have their heads.
_HEADS = ("fc", "classifier", "head.")
_KINDS = {4: "convolutions", 2: "linear layers", 1: "normalisations"}


def named(path: Path, found: Layers, model_config: pb.ModelConfig) -> Named:
    """The tensors of a Keras file by our names; shapes are left to the assignment.

    Raises:
        CheckpointError: the file holds another network than the spec names.
    """
    family, theirs = _family(model_config), keras_names.family(found)
    # What TAO calls a layer of VGG is a layer of a residual network too.
    if not family or theirs not in (family, "vgg" if family == "resnet" else family):
        what = f"a network of TAO's {theirs} family" if theirs else f"no network of TAO's, but {listed(found)}"
        raise CheckpointError(
            f'{path}: holds {what}, and model_config.arch is "{model_config.arch}"; '
            "change that or train_config.pretrained_model_path"
        )
    own = layouts.plain(model_config).state_dict()
    if model_config.arch == "cspdarknet" and family == "darknet53":
        found = _joined(found)
    pairs = _paired(path, found, layouts.layers(own), family)
    tensors = {f"{pairs.get(layer, layer)}.{name}": tensor for layer in found for name, tensor in found[layer].items()}
    fitting = [name for name in own if name in tensors and tensors[name].shape == own[name].shape]
    note = _note(family, model_config)
    is_full = 2 * len(fitting) >= len(tensors)
    return Named(tensors=tensors, note=note) if is_full else layouts.of_other_widths(tensors, note, own)


def _joined(found: Layers) -> Layers:
    """The layers with each pair that opens a stage as one, whose first half passes the stage by, as timm has it."""
    layers = dict(found)
    for stage in range(2, 7):
        for suffix in ("", "_bn"):
            past, through = layers.get(f"conv{stage}_1{suffix}"), layers.pop(f"conv{stage}_2{suffix}", None)
            if past and through:
                layers[f"conv{stage}_1{suffix}"] = {name: torch.cat((past[name], through[name])) for name in past}
        last = layers.get(f"b{stage - 1}_final_trans")
        if last:
            through_first, past_last = last["weight"].chunk(2, dim=1)
            layers[f"b{stage - 1}_final_trans"] = {**last, "weight": torch.cat((past_last, through_first), dim=1)}
    return layers


def _family(model_config: pb.ModelConfig) -> str:
    """Key of keras_names.FAMILIES for the spec's network, or ""."""
    arch = model_config.arch
    if arch in ("darknet", "cspdarknet"):
        return f"darknet{model_config.n_layers}"
    name = "efficientnet" if re.fullmatch(r"efficientnet_b\d", arch) else arch
    return name if name in keras_names.FAMILIES else ""


def _paired(path: Path, found: Layers, own: layouts.Layers, family: str) -> dict[str, str]:
    """Keras layers -> ours. Those of the body must be as many and of the same kinds as ours; heads may differ."""
    pairs = {name: ours for name in found if (ours := keras_names.shortcut(name))}
    places = {name: place for name in found if (place := keras_names.position(family, name)) is not None}
    in_order = sorted(places, key=lambda name: places[name])
    theirs = {name: found[name] for name in in_order if not keras_names.is_head(name)}
    head = {name: layer for name, layer in own.items() if name.startswith(_HEADS)}
    body = {name: layer for name, layer in own.items() if name not in head and ".downsample." not in name}
    if _kinds(theirs) != _kinds(body):
        raise CheckpointError(
            f"{path}: has {_counts(theirs)} before its head, and the network {_counts(body)}; change "
            "model_config.n_layers, use_batch_norm or arch, or train_config.pretrained_model_path"
        )
    pairs |= dict(zip(theirs, body, strict=True))
    their_head = [name for name in in_order if keras_names.is_head(name)]
    return pairs | (dict(zip(their_head, head, strict=True)) if len(their_head) == len(head) else {})


def _kinds(layers: layouts.Layers) -> list[str]:
    """Whether each layer is a convolution, linear or a normalisation."""
    return [_KINDS[layer["weight"].dim()] for layer in layers.values()]


def _counts(layers: layouts.Layers) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in Counter(_kinds(layers)).items()) or "no layers"


def _note(family: str, model_config: pb.ModelConfig) -> str:
    differences = list(_DIFFERENCES[family])
    if family == "resnet" and model_config.n_layers >= 50:
        differences.append(_BOTTLENECK)
    if not differences:
        return "names were mapped from TAO's"
    return (
        "names were mapped from TAO's; the network computes nearly what TAO's does, not the same: "
        f"{', '.join(differences)}; training adapts the weights"
    )
