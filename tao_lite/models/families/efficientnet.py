"""EfficientNet B0 to B7: torchvision's, with TAO's switches."""

from dataclasses import replace
from typing import TYPE_CHECKING

import torchvision
from torch import nn

from tao_lite.models import head
from tao_lite.models.families import adapt

if TYPE_CHECKING:
    from tao_lite.models.architectures import Options

# The paper's, by name.
_DROPOUT = dict(
    zip((f"efficientnet_b{size}" for size in range(8)), (0.2, 0.2, 0.3, 0.3, 0.4, 0.4, 0.5, 0.5), strict=True)
)


def build(options: "Options") -> nn.Module:
    """EfficientNet of options.arch, freshly initialised: images float32 [B, C, H, W] -> logits [B, num_classes].

    It is always normalised. Residual branches are dropped with a probability that rises to 0.2.
    Source: Tan and Le, arXiv:1905.11946.
    """
    papers = _DROPOUT[options.arch] if options.retain_head else 0.0
    dropout = papers if options.dropout is None else options.dropout
    network: nn.Module = torchvision.models.get_model(options.arch, num_classes=options.num_classes, dropout=dropout)
    head.restart(network)
    adapt.set_channels(network, options.channels)
    adapt.set_norm(network, replace(options, use_batch_norm=True))
    if options.use_bias:
        adapt.add_biases(network)
    if options.activation:
        adapt.set_activation(network, nn.SiLU, options.activation)
    return network
