"""Residual networks on torchvision's blocks and parameter names, with TAO's switches."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from tao_lite.models.families import adapt

if TYPE_CHECKING:
    from tao_lite.models.architectures import Options

# n_layers -> blocks of each stage. From 50 layers on, blocks are bottlenecks.
REPEATS = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}

Norm = Callable[[int], nn.Module]


def build(options: "Options") -> nn.Module:
    """Residual network, freshly initialised: images float32 [B, C, H, W] -> logits [B, num_classes].

    With the defaults of Options it is torchvision's network, tensor for tensor, so stride 2 of a bottleneck stands in
    its 3x3 convolution (TAO: in the first 1x1). Total stride is 32 with pooling, 16 without.
    Source: He et al., arXiv:1512.03385; initialisation arXiv:1502.01852, without batch normalisation arXiv:1901.09321.
    """
    block = BasicBlock if options.n_layers < 50 else Bottleneck
    norm = _norm(options)
    network: nn.Module = ResNet(
        block, list(REPEATS[options.n_layers]), num_classes=options.num_classes, norm_layer=norm
    )
    adapt.set_channels(network, options.channels)
    if not options.use_pooling:
        _stride_instead_of_pooling(network, norm)
    if options.all_projections:
        _project_every_shortcut(network, norm)
    if options.use_bias:
        adapt.add_biases(network)
    if options.retain_head and not options.use_pooling:
        _classify_the_map(network, options)
    if options.dropout:
        # Inside avgpool, so that no parameter changes its name.
        network.avgpool = nn.Sequential(network.get_submodule("avgpool"), nn.Dropout(options.dropout))
    if not options.use_batch_norm:
        _scale_branches(network)
    return network


def _norm(options: "Options") -> Norm:
    if not options.use_batch_norm:
        return nn.Identity
    return partial(nn.BatchNorm2d, momentum=options.batch_norm_momentum, eps=options.batch_norm_epsilon)


def _convolution(inputs: int, outputs: int, *, kernel_size: int, stride: int) -> nn.Conv2d:
    """Convolution without bias, initialised as torchvision's."""
    convolution = nn.Conv2d(inputs, outputs, kernel_size, stride, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution


def _blocks(network: nn.Module) -> Iterator[nn.Module]:
    return (module for module in network.modules() if isinstance(module, BasicBlock | Bottleneck))


def _branch(block: nn.Module) -> list[nn.Conv2d]:
    """Convolutions of the block's residual branch, in order."""
    names = ("conv1", "conv2", "conv3") if isinstance(block, Bottleneck) else ("conv1", "conv2")
    convolutions = [block.get_submodule(name) for name in names]
    return [convolution for convolution in convolutions if isinstance(convolution, nn.Conv2d)]


def _project(block: nn.Module, stride: int, norm: Norm) -> None:
    """Put a 1x1 convolution into the block's shortcut."""
    branch = _branch(block)
    inputs, outputs = branch[0].in_channels, branch[-1].out_channels
    block.downsample = nn.Sequential(_convolution(inputs, outputs, kernel_size=1, stride=stride), norm(outputs))


def _project_every_shortcut(network: nn.Module, norm: Norm) -> None:
    """Put projections where the paper has plain shortcuts; they start as the identity, which they replace.

    A clean shortcut trains best: He et al., arXiv:1603.05027, section 3.
    """
    for block in _blocks(network):
        if block.downsample is None:
            _project(block, 1, norm)
            nn.init.dirac_(block.downsample[0].weight)


def _stride_instead_of_pooling(network: ResNet, norm: Norm) -> None:
    """TAO's strides without pooling: 2, 2, 2, 1 in place of max-pool and 1, 2, 2, 2."""
    network.maxpool = nn.Identity()
    if network.layer1[0].downsample is None:
        _project(network.layer1[0], 2, norm)
    for block, stride in ((network.layer1[0], 2), (network.layer4[0], 1)):
        strided = block.conv2 if isinstance(block, Bottleneck) else block.conv1
        strided.stride = block.downsample[0].stride = (stride, stride)
        block.stride = stride


def _classify_the_map(network: ResNet, options: "Options") -> None:
    """The head of the paper as TAO has it without pooling: one linear layer on all positions of the last map."""
    positions = -(-options.height // 16) * -(-options.width // 16)
    network.avgpool = nn.Identity()
    network.fc = nn.Linear(network.fc.in_features * positions, options.num_classes)


def _scale_branches(network: nn.Module) -> None:
    """Keep a network without normalisation from exploding: each block starts as its shortcut.

    Of L blocks with m convolutions each, the last convolution is zero and the others are scaled by L^(-1 / (2m - 2)).
    Source: Fixup, Zhang et al., arXiv:1901.09321, section 3, without its extra scalars.
    """
    branches = [_branch(block) for block in _blocks(network)]
    with torch.no_grad():
        for *inner, last in branches:
            nn.init.zeros_(last.weight)
            for convolution in inner:
                convolution.weight *= len(branches) ** (-1 / (2 * len(inner)))
