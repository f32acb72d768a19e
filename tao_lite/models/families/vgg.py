"""VGG: torchvision's, with TAO's switches."""

from typing import TYPE_CHECKING

import torchvision
from torch import nn

from tao_lite.models import head
from tao_lite.models.families import adapt

if TYPE_CHECKING:
    from tao_lite.models.architectures import Options


def build(options: "Options") -> nn.Module:
    """VGG, freshly initialised: images float32 [B, C, H, W] -> logits [B, num_classes].

    The paper's head has dropout after both hidden layers. Without it the last pooling is left out too, as in TAO, so
    the total stride is 16. Source: Simonyan and Zisserman, arXiv:1409.1556.
    """
    name = f"vgg{options.n_layers}" + "_bn" * options.use_batch_norm
    network = torchvision.models.get_model(name, num_classes=options.num_classes, dropout=options.dropout or 0.0)
    _reduce(network.features, options)
    if not options.retain_head:
        network.avgpool = nn.AdaptiveAvgPool2d(1)
        network.classifier = head.linear(512, options)
    if not options.use_bias:
        for convolution in adapt.convolutions(network):
            convolution.bias = None
    adapt.set_channels(network, options.channels)
    if options.use_batch_norm:
        adapt.set_norm(network, options)
    result: nn.Module = network
    return result


def _reduce(features: nn.Sequential, options: "Options") -> None:
    """Pool between the blocks, or begin blocks 2 to 5 with stride 2; no other layer changes its name."""
    for number, layer in enumerate(features):
        if isinstance(layer, nn.MaxPool2d):
            is_last = number == len(features) - 1
            if not options.use_pooling and not is_last:
                _double_stride(features[number + 1])
            if not options.use_pooling or (is_last and not options.retain_head):
                features[number] = nn.Identity()
            # So that the fifth pooling of an input of 16 pixels has an output; at multiples of 32 nothing changes.
            layer.ceil_mode = True


def _double_stride(layer: nn.Module) -> None:
    assert isinstance(layer, nn.Conv2d)
    layer.stride = (2, 2)
