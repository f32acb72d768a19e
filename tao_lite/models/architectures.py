"""ARCHITECTURES: every network a spec file can name, and build, which makes one. Imports torch only when it builds."""

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tao_lite.errors import SpecError
from tao_lite.models import block_names
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import schema
from tao_lite.spec.bind import did_you_mean
from tao_lite.spec.findings import Finding, Level

if TYPE_CHECKING:
    from torch import nn

# Names of functions for model_config.activation.
ACTIVATIONS = ("relu", "relu6", "leaky_relu", "elu", "mish", "swish", "silu")
# Libraries whose networks can be named as LIBRARY/NAME.
LIBRARIES = ("timm", "torchvision")

_SIZE = re.compile(r"\s*([13])\s*,\s*(\d+)\s*,\s*(\d+)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Plain values from which an architecture is built. Sizes in pixels; momentum is the share of the new batch."""

    num_classes: int
    n_layers: int
    # Name of the row, or LIBRARY/NAME; a row's `build` fills it in.
    arch: str = ""
    channels: int = 3
    height: int = 224
    width: int = 224
    retain_head: bool = False
    use_batch_norm: bool = True
    use_bias: bool = False
    use_pooling: bool = True
    all_projections: bool = False
    # None: as much as the head has by itself.
    dropout: float | None = None
    # One of ACTIVATIONS. Empty: the network's own.
    activation: str = ""
    batch_norm_momentum: float = 0.1
    batch_norm_epsilon: float = 1e-5
    # Networks of other libraries: leave momentum and epsilon as they are there.
    keep_batch_norm: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What is known of a family of networks before one is built."""

    name: str
    build: "Callable[[Options], nn.Module]"
    # Depths that exist; empty where there is only one.
    n_layers: tuple[int, ...] = ()
    # Number in model_config.freeze_blocks -> modules of that block, from the input on; all but the head.
    blocks: Callable[[pb.ModelConfig], Mapping[int, tuple[str, ...]]]
    # Fields of model_config that change the network.
    switches: frozenset[str]
    # Switches that are on, whatever the spec says.
    always: frozenset[str] = frozenset()
    # Pixels that the shorter side of an image must have.
    least_size: Callable[[pb.ModelConfig], int] = lambda _: 1
    # Name of torchvision's model with the same tensors, or "".
    torchvision: Callable[[pb.ModelConfig], str] = lambda _: ""


def _family(module: str, arch: str) -> "Callable[[Options], nn.Module]":
    """The builder of a module of this package, which is imported only when it is called."""

    def build(options: Options) -> "nn.Module":
        family = importlib.import_module(f"{__package__}.families.{module}")
        network: nn.Module = family.build(replace(options, arch=arch))
        return network

    return build


_NORM = frozenset({"use_batch_norm", "batch_norm_config", "freeze_bn"})
_POOLED = frozenset({"use_pooling"})

_ROWS = (
    Architecture(
        name="resnet",
        build=_family("resnet", "resnet"),
        n_layers=(10, 18, 34, 50, 101, 152, 200),
        blocks=block_names.resnet,
        switches=_NORM | {"n_layers", "retain_head", "use_bias", "use_pooling", "all_projections", "dropout"},
        torchvision=lambda model: f"resnet{model.n_layers}",
    ),
    Architecture(
        name="vgg",
        build=_family("vgg", "vgg"),
        n_layers=(16, 19),
        blocks=block_names.vgg,
        switches=_NORM | {"n_layers", "retain_head", "use_bias", "use_pooling", "dropout"},
        # Without biases the same file would give other features.
        torchvision=lambda model: f"vgg{model.n_layers}{'_bn' * model.use_batch_norm}" if model.use_bias else "",
    ),
    Architecture(
        name="alexnet",
        build=_family("alexnet", "alexnet"),
        blocks=block_names.alexnet,
        switches=frozenset({"retain_head", "dropout"}),
        always=_POOLED | {"use_bias"},
        least_size=lambda model: 63 if model.retain_head else 31,
        torchvision=lambda _: "alexnet",
    ),
    Architecture(
        name="googlenet",
        build=_family("googlenet", "googlenet"),
        blocks=block_names.googlenet,
        switches=_NORM | {"retain_head", "use_bias", "dropout"},
        always=_POOLED,
        torchvision=lambda _: "googlenet",
    ),
    Architecture(
        name="mobilenet_v1",
        build=_family("mobilenet", "mobilenet_v1"),
        blocks=block_names.mobilenet_v1,
        switches=_NORM | {"use_bias", "dropout"},
    ),
    Architecture(
        name="mobilenet_v2",
        build=_family("mobilenet", "mobilenet_v2"),
        blocks=block_names.mobilenet_v2,
        switches=_NORM | {"use_bias", "all_projections", "dropout"},
        torchvision=lambda _: "mobilenet_v2",
    ),
    Architecture(
        name="squeezenet",
        build=_family("squeezenet", "squeezenet"),
        blocks=block_names.squeezenet,
        switches=frozenset({"retain_head", "dropout"}),
        always=_POOLED | {"use_bias"},
        least_size=lambda _: 21,
        torchvision=lambda _: "squeezenet1_0",
    ),
    Architecture(
        name="darknet",
        build=_family("darknet", "darknet"),
        n_layers=(19, 53),
        blocks=block_names.darknet,
        switches=_NORM | {"n_layers", "use_bias", "dropout"},
    ),
    *(
        Architecture(
            name=f"efficientnet_b{size}",
            build=_family("efficientnet", f"efficientnet_b{size}"),
            blocks=block_names.efficientnet,
            switches=(_NORM - {"use_batch_norm"}) | {"retain_head", "use_bias", "dropout", "activation"},
            always=frozenset({"use_batch_norm"}),
            torchvision=lambda model: model.arch,
        )
        for size in range(8)
    ),
    Architecture(
        name="cspdarknet",
        build=_family("darknet", "cspdarknet"),
        n_layers=(19, 53),
        blocks=block_names.darknet,
        switches=_NORM | {"n_layers", "use_bias", "dropout", "activation"},
    ),
    Architecture(
        name="cspdarknet_tiny",
        build=_family("darknet", "cspdarknet_tiny"),
        blocks=block_names.darknet,
        switches=_NORM | {"use_bias", "dropout", "activation"},
    ),
)
ARCHITECTURES: Mapping[str, Architecture] = {row.name: row for row in _ROWS}


def build(model_config: pb.ModelConfig, num_classes: int) -> "nn.Module":
    """Network of the spec, freshly initialised: images float32 [B, C, H, W] -> logits [B, num_classes].

    Raises:
        SpecError: architecture, depth, activation or input size that can't be built.
    """
    architecture = find(model_config)
    channels, height, width = input_shape(model_config)
    norm = model_config.batch_norm_config
    return architecture.build(
        Options(
            num_classes=num_classes,
            n_layers=model_config.n_layers,
            channels=channels,
            height=height,
            width=width,
            retain_head=model_config.retain_head,
            use_batch_norm=model_config.use_batch_norm,
            use_bias=model_config.use_bias,
            use_pooling=model_config.use_pooling,
            all_projections=model_config.all_projections,
            dropout=schema.as_written(model_config.dropout) if model_config.HasField("dropout") else None,
            activation=model_config.activation.activation_type,
            batch_norm_momentum=round(1 - schema.as_written(norm.momentum), 7),
            batch_norm_epsilon=schema.as_written(norm.epsilon),
            keep_batch_norm=not model_config.HasField("batch_norm_config"),
        )
    )


def blocks(model_config: pb.ModelConfig) -> Mapping[int, tuple[str, ...]]:
    """Number in freeze_blocks -> names of the block's modules, from the input on; all of the network but its head.

    Raises:
        SpecError: as find, and an unknown name of another library's network.
    """
    return find(model_config).blocks(model_config)


def find(model_config: pb.ModelConfig) -> Architecture:
    """What is known of the architecture that the spec names; its depth, activation and input size are checked.

    Names of other libraries' networks are not looked up before one is built.

    Raises:
        SpecError: unknown or unavailable architecture, or a depth, activation or input size that it does not have.
    """
    if wrong := _wrong(model_config):
        field, value, remedy = wrong
        raise SpecError(f"model_config.{field} is {value}; {remedy}")
    return ARCHITECTURES.get(model_config.arch) or _named(model_config.arch)


def finding(model_config: pb.ModelConfig) -> Finding | None:
    """What find would raise, as a finding about its field."""
    if wrong := _wrong(model_config):
        field, value, remedy = wrong
        return Finding(Level.ERROR, f"model_config.{field}", f"found {value}; {remedy}")
    return None


def input_shape(model_config: pb.ModelConfig) -> tuple[int, int, int]:
    """Channels, height and width of the network's input.

    Raises:
        SpecError: input_image_size is not three numbers, or the channels are not 1 or 3.
    """
    text = model_config.input_image_size
    match = _SIZE.fullmatch(text)
    if not match:
        raise SpecError(
            f'model_config.input_image_size is "{text}"; '
            'must be "channels,height,width" with 1 or 3 channels, such as "3,224,224"'
        )
    channels, height, width = map(int, match.groups())
    return channels, height, width


def _wrong(model_config: pb.ModelConfig) -> tuple[str, str, str] | None:
    """The first field of which no network can be built, its value as it is written, and what to do."""
    name, kind = model_config.arch, model_config.activation.activation_type
    library, _, own_name = name.partition("/")
    if library in LIBRARIES and own_name:
        return None
    if name not in ARCHITECTURES:
        return "arch", f'"{name}"', _remedy(name)
    architecture = ARCHITECTURES[name]
    if architecture.n_layers and model_config.n_layers not in architecture.n_layers:
        depths = ", ".join(map(str, architecture.n_layers))
        return "n_layers", f"{model_config.n_layers}", f"{name} has one of {depths}"
    if "activation" in architecture.switches and kind and kind not in ACTIVATIONS:
        remedy = f"choose one of {', '.join(ACTIVATIONS)}{did_you_mean(kind, ACTIVATIONS)}"
        return "activation.activation_type", f'"{kind}"', remedy
    size, least = _SIZE.fullmatch(model_config.input_image_size), architecture.least_size(model_config)
    if size and min(int(size[2]), int(size[3])) < least:
        return "input_image_size", f'"{size[0]}"', f"{name} needs sides of at least {least} pixels"
    return None


def _named(name: str) -> Architecture:
    """Network of another library; it has the library's switches, not TAO's."""
    library, _, own_name = name.partition("/")
    return Architecture(
        name=name,
        build=_family("named", name),
        blocks=lambda model: importlib.import_module(f"{__package__}.families.named").blocks(model.arch),
        switches=frozenset({"batch_norm_config", "freeze_bn", *(["dropout"] if library == "timm" else [])}),
        torchvision=lambda _: own_name if library == "torchvision" else "",
    )


def _remedy(name: str) -> str:
    """What to do about an architecture that can't be built."""
    exist = ", ".join((*ARCHITECTURES, *(f"{library}/NAME" for library in LIBRARIES)))
    if name == "byom":
        return (
            f"own models of TAO are encrypted (.tltb) and can't be read; choose one of {exist}, "
            "and start from unencrypted weights with train_config.pretrained_model_path"
        )
    from tao_lite.spec.families import backbones

    if why := backbones.why_not(name):
        return f"{why}; choose one of {exist}"
    with_depth = re.fullmatch(r"([a-z]+)[-_]?(\d+)", name.lower())
    if with_depth and with_depth[1] in ARCHITECTURES and int(with_depth[2]) in ARCHITECTURES[with_depth[1]].n_layers:
        return f'did you mean arch: "{with_depth[1]}" with n_layers: {with_depth[2]}?'
    return f"choose one of {exist}{did_you_mean(name, ARCHITECTURES)}"
