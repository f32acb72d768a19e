"""AlexNet: torchvision's."""

from typing import TYPE_CHECKING

import torchvision
from torch import nn

from tao_lite.models import head
from tao_lite.models.families import adapt

if TYPE_CHECKING:
    from tao_lite.models.architectures import Options


def build(options: "Options") -> nn.Module:
    """AlexNet, freshly initialised: images float32 [B, C, H, W] -> logits [B, num_classes].

    It is the one of arXiv:1404.5997, narrower than the first, which TAO has. Without the paper's head the last pooling
    is left out too, as in TAO.
    """
    network: nn.Module = torchvision.models.alexnet(num_classes=options.num_classes, dropout=options.dropout or 0.0)
    if not options.retain_head:
        network.set_submodule("features.12", nn.Identity())
        network.avgpool = nn.AdaptiveAvgPool2d(1)
        network.classifier = head.linear(256, options)
    adapt.set_channels(network, options.channels)
    return network
