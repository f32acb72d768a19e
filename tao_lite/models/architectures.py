"""ARCHITECTURES: every network a spec file can name, and build, which makes one. Imports torch only when it builds."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tao_lite.errors import SpecError
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import schema
from tao_lite.spec.bind import did_you_mean

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Plain values from which an architecture is built. Sizes in pixels; momentum is the share of the new batch."""

    num_classes: int
    n_layers: int
    channels: int = 3
    height: int = 224
    width: int = 224
    retain_head: bool = False
    use_batch_norm: bool = True
    use_bias: bool = False
    use_pooling: bool = True
    all_projections: bool = False
    dropout: float = 0.0
    batch_norm_momentum: float = 0.1
    batch_norm_epsilon: float = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What is known of a family of networks before one is built."""

    name: str
    build: "Callable[[Options], nn.Module]"
    # Depths that exist; empty where there is only one.
    n_layers: tuple[int, ...]
    # Number in model_config.freeze_blocks -> modules of that block, from the input on; all but the head.
    blocks: Callable[[pb.ModelConfig], Mapping[int, tuple[str, ...]]]
    # Fields of model_config that change the network.
    switches: frozenset[str]
    # Name of torchvision's model with the same tensors, or "".
    torchvision: Callable[[pb.ModelConfig], str]


def _resnet(options: Options) -> "nn.Module":
    from tao_lite.models import resnet

    return resnet.build(options)


_ROWS = (
    Architecture(
        name="resnet",
        build=_resnet,
        n_layers=(10, 18, 34, 50, 101, 152, 200),
        blocks=lambda _: {0: ("conv1", "bn1"), 1: ("layer1",), 2: ("layer2",), 3: ("layer3",), 4: ("layer4",)},
        switches=frozenset(
            {"n_layers", "retain_head", "use_bias", "use_pooling", "all_projections", "dropout"}
            | {"use_batch_norm", "batch_norm_config", "freeze_bn"}
        ),
        torchvision=lambda model: f"resnet{model.n_layers}",
    ),
)
ARCHITECTURES: Mapping[str, Architecture] = {row.name: row for row in _ROWS}

# Names that TAO 5 knows and this version does not build.
_PLANNED = (
    *("vgg", "alexnet", "googlenet", "mobilenet_v1", "mobilenet_v2", "squeezenet", "darknet"),
    *(f"efficientnet_b{size}" for size in range(8)),
    *("cspdarknet", "cspdarknet_tiny"),
)


def build(model_config: pb.ModelConfig, num_classes: int) -> "nn.Module":
    """Network of the spec, freshly initialised: images float32 [B, C, H, W] -> logits [B, num_classes].

    Raises:
        SpecError: architecture or depth that can't be built, or an input size that can't be read.
    """
    architecture = find(model_config)
    channels, height, width = input_shape(model_config)
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
            dropout=schema.as_written(model_config.dropout),
            batch_norm_momentum=round(1 - schema.as_written(model_config.batch_norm_config.momentum), 7),
            batch_norm_epsilon=schema.as_written(model_config.batch_norm_config.epsilon),
        )
    )


def blocks(model_config: pb.ModelConfig) -> Mapping[int, tuple[str, ...]]:
    """Number in freeze_blocks -> names of the block's modules, from the input on; all of the network but its head.

    Raises:
        SpecError: as find.
    """
    return find(model_config).blocks(model_config)


def find(model_config: pb.ModelConfig) -> Architecture:
    """Row of the architecture that the spec names, its depth checked.

    Raises:
        SpecError: unknown or unavailable architecture, or a depth that it does not have.
    """
    name = model_config.arch
    if name not in ARCHITECTURES:
        raise SpecError(f'model_config.arch is "{name}"; {_remedy(name)}')
    architecture = ARCHITECTURES[name]
    if architecture.n_layers and model_config.n_layers not in architecture.n_layers:
        depths = ", ".join(map(str, architecture.n_layers))
        raise SpecError(f"model_config.n_layers is {model_config.n_layers}; {name} has one of {depths}")
    return architecture


def input_shape(model_config: pb.ModelConfig) -> tuple[int, int, int]:
    """Channels, height and width of the network's input.

    Raises:
        SpecError: input_image_size is not three numbers, or the channels are not 1 or 3.
    """
    text = model_config.input_image_size
    match = re.fullmatch(r"\s*([13])\s*,\s*(\d+)\s*,\s*(\d+)\s*", text)
    if not match:
        raise SpecError(
            f'model_config.input_image_size is "{text}"; '
            'must be "channels,height,width" with 1 or 3 channels, such as "3,224,224"'
        )
    channels, height, width = map(int, match.groups())
    return channels, height, width


def _remedy(name: str) -> str:
    """What to do about an architecture that can't be built."""
    exist = ", ".join(ARCHITECTURES)
    if name == "byom":
        return (
            f"own models of TAO are encrypted (.tltb) and can't be read; choose one of {exist}, "
            "and start from unencrypted weights with train_config.pretrained_model_path"
        )
    if name in _PLANNED:
        return f"this version does not build it yet; choose one of {exist}"
    with_depth = re.fullmatch(r"([a-z]+)[-_]?(\d+)", name.lower())
    if with_depth and with_depth[1] in ARCHITECTURES and int(with_depth[2]) in ARCHITECTURES[with_depth[1]].n_layers:
        return f'did you mean arch: "{with_depth[1]}" with n_layers: {with_depth[2]}?'
    return f"choose one of {exist}{did_you_mean(name, [*ARCHITECTURES, *_PLANNED])}"
