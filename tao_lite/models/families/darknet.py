"""Darknet and its cross-stage-partial kin: with 53 layers timm's, with 19 and tiny our own, which timm does not have.

All have the same names, `stem`, `stages.0` to `stages.4` and `head.fc`, and take images of any size.
Sources: Redmon and Farhadi, arXiv:1612.08242 and arXiv:1804.02767; Wang et al., arXiv:1911.11929 and arXiv:2011.08036;
the networks of 19 layers with cross stages, and all widths, as in TAO.
"""

from collections import OrderedDict
from typing import TYPE_CHECKING

import timm
import torch
from timm.models.cspnet import DarkBlock
from torch import Tensor, nn

from tao_lite.models import head
from tao_lite.models.families import adapt

if TYPE_CHECKING:
    from tao_lite.models.architectures import Options

_WIDTHS = (64, 128, 256, 512, 1024)
# Pairs of a 1x1 and a 3x3 convolution in each stage of 19 layers.
_PAIRS = (0, 1, 1, 2, 2)


def build(options: "Options") -> nn.Module:
    """Darknet of options.arch, freshly initialised: images float32 [B, C, H, W] -> logits [B, num_classes].

    Unless the spec names an activation it is LeakyReLU, with slope 0.01 in timm's networks, as their weights expect,
    and 0.1 in the others. Total stride 32.
    """
    tiny = options.arch == "cspdarknet_tiny"
    network = _tiny(options) if tiny else _of_53(options) if options.n_layers == 53 else _of_19(options)
    if options.activation:
        adapt.set_activation(network, nn.LeakyReLU, options.activation)
    _set_norm(network, options)
    if options.use_bias:
        adapt.add_biases(network)
    return network


def _of_53(options: "Options") -> nn.Module:
    network: nn.Module = timm.create_model(
        f"{options.arch}53",
        num_classes=options.num_classes,
        in_chans=options.channels,
        drop_rate=options.dropout or 0.0,
        # Where a branch ends in ReLU and begins at zero, it never gets a gradient.
        zero_init_last=False,
    )
    return network


def _of_19(options: "Options") -> nn.Module:
    stages: list[nn.Module] = []
    inputs = 32
    for width, pairs in zip(_WIDTHS, _PAIRS, strict=True):
        crossed = options.arch == "cspdarknet" and pairs > 0
        inner = _CrossStage(width, pairs) if crossed else _pairs(width, width // 2, pairs)
        stages.append(nn.Sequential(_pool(), _unit(inputs, width, 3), inner))
        inputs = width
    return _network(_unit(options.channels, 32, 3), stages, inputs, options)


def _tiny(options: "Options") -> nn.Module:
    crossed = [_TinyStage(inputs, width) for inputs, width in ((64, 64), (128, 128), (256, 256))]
    stages = [_unit(32, 64, 3, stride=2), *crossed, _unit(512, 512, 3)]
    return _network(_unit(options.channels, 32, 3, stride=2), stages, 512, options)


def _network(stem: nn.Module, stages: list[nn.Module], features: int, options: "Options") -> nn.Module:
    dropout, linear = head.linear(features, options)
    parts = {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "dropout": dropout, "fc": linear}
    whole = {"stem": stem, "stages": nn.Sequential(*stages), "head": nn.Sequential(OrderedDict(parts))}
    return nn.Sequential(OrderedDict(whole))


class _CrossStage(nn.Module):
    """Half of the channels through pairs of convolutions, half past them."""

    def __init__(self, width: int, pairs: int) -> None:
        super().__init__()
        half = width // 2
        self.past = _unit(width, half, 1)
        self.through = nn.Sequential(_unit(width, half, 1), _pairs(half, half, pairs), _unit(half, half, 1))
        self.transition = _unit(width, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        joined = torch.cat((self.through(features), self.past(features)), dim=1)
        result: Tensor = self.transition(joined)
        return result


class _TinyStage(nn.Module):
    """Convolutions on the second half of the channels; all that is made on the way is kept, and pooled."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.conv_0 = _unit(inputs, width, 3)
        self.conv_1 = _unit(width // 2, width // 2, 3)
        self.conv_2 = _unit(width // 2, width // 2, 3)
        self.conv_3 = _unit(width, width, 1)
        self.pool = _pool()

    def forward(self, features: Tensor) -> Tensor:
        opened = self.conv_0(features)
        first = self.conv_1(opened.chunk(2, dim=1)[1])
        second = self.conv_2(first)
        joined = self.conv_3(torch.cat((second, first), dim=1))
        result: Tensor = self.pool(torch.cat((opened, joined), dim=1))
        return result


def _pairs(width: int, inner: int, pairs: int) -> nn.Sequential:
    return nn.Sequential(*(unit for _ in range(pairs) for unit in (_unit(width, inner, 1), _unit(inner, width, 3))))


def _unit(inputs: int, outputs: int, kernel_size: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, activation; parts are named as in timm."""
    convolution = nn.Conv2d(inputs, outputs, kernel_size, stride, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    parts = {"conv": convolution, "bn": nn.BatchNorm2d(outputs), "act": nn.LeakyReLU(0.1, inplace=True)}
    return nn.Sequential(OrderedDict(parts))


def _pool() -> nn.MaxPool2d:
    # Rounded up, so that no map vanishes.
    return nn.MaxPool2d(2, stride=2, ceil_mode=True)


def _set_norm(network: nn.Module, options: "Options") -> None:
    """Let all residual branches together start as large as their shortcut; only networks of 53 layers have any."""
    ends = [block.conv2 for block in network.modules() if isinstance(block, DarkBlock)]
    share = max(len(ends), 1) ** -0.5
    adapt.set_norm(network, options, shares={end.conv: share for end in ends})
    for end in ends if options.use_batch_norm else ():
        nn.init.constant_(end.bn.weight, share)
