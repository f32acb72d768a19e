"""MobileNet: version 1 of timm and version 2 of torchvision, with TAO's switches."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import timm
import torchvision
from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual

from tao_lite.models import head
from tao_lite.models.families import adapt

if TYPE_CHECKING:
    from tao_lite.models.architectures import Options


def build(options: "Options") -> nn.Module:
    """MobileNet of options.arch, freshly initialised: images float32 [B, C, H, W] -> logits [B, num_classes].

    Its activation is ReLU6, as published weights expect (TAO: ReLU).
    Sources: Howard et al., arXiv:1704.04861; Sandler et al., arXiv:1801.04381.
    """
    network = _version_1(options) if options.arch == "mobilenet_v1" else _version_2(options)
    if options.use_bias:
        adapt.add_biases(network)
    return network


def _version_1(options: "Options") -> nn.Module:
    network: nn.Module = timm.create_model(
        "mobilenetv1_100", num_classes=options.num_classes, in_chans=options.channels, drop_rate=options.dropout or 0.0
    )
    head.restart(network)
    adapt.set_norm(network, options)
    return network


def _version_2(options: "Options") -> nn.Module:
    network: nn.Module = torchvision.models.mobilenet_v2(
        num_classes=options.num_classes, dropout=options.dropout or 0.0
    )
    adapt.set_channels(network, options.channels)
    adapt.set_norm(network, options)
    if options.all_projections:
        for name, block in [*_blocks(network)]:
            if block.use_res_connect:
                network.set_submodule(name, _Projected(block))
    return network


class _Projected(nn.Module):
    """Block with a 1x1 convolution in its shortcut, which starts as the identity that it replaces.

    `conv` is called as in torchvision; the projection as in a residual network, where loading weights finds it.
    """

    def __init__(self, block: InvertedResidual) -> None:
        super().__init__()
        width = block.out_channels
        self.conv = block.conv
        self.downsample = nn.Sequential(nn.Conv2d(width, width, 1, bias=False), nn.Identity())
        nn.init.dirac_(self.downsample.get_parameter("0.weight"))

    def forward(self, features: Tensor) -> Tensor:
        total: Tensor = self.downsample(features) + self.conv(features)
        return total


def _blocks(network: nn.Module) -> Iterator[tuple[str, InvertedResidual]]:
    return ((name, module) for name, module in network.named_modules() if isinstance(module, InvertedResidual))
