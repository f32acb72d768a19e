"""SqueezeNet 1.0: torchvision's."""

from typing import TYPE_CHECKING

import torchvision
from torch import nn

from tao_lite.models import head
from tao_lite.models.families import adapt

if TYPE_CHECKING:
    from tao_lite.models.architectures import Options

# TAO's, where the paper has 0.5.
_DROPOUT = 1e-3


def build(options: "Options") -> nn.Module:
    """SqueezeNet, freshly initialised: images float32 [B, C, H, W] -> logits [B, num_classes].

    The paper's head averages a map of logits, none of them negative. Source: Iandola et al., arXiv:1602.07360.
    """
    dropout = _DROPOUT if options.dropout is None else options.dropout
    network: nn.Module = torchvision.models.squeezenet1_0(num_classes=options.num_classes, dropout=dropout)
    if not options.retain_head:
        network.classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), *head.linear(512, options))
    adapt.set_channels(network, options.channels)
    return network
