"""GoogLeNet with batch normalisation: torchvision's, with TAO's switches."""

from typing import TYPE_CHECKING

import torchvision
from torch import nn

from tao_lite.models.families import adapt

if TYPE_CHECKING:
    from tao_lite.models.architectures import Options

# The paper's and TAO's.
_DROPOUT = 0.4


def build(options: "Options") -> nn.Module:
    """GoogLeNet without auxiliary heads, freshly initialised: images float32 [B, C, H, W] -> logits [B, num_classes].

    The paper's head adds the pooling before inception 5a, as in TAO: total stride 32 with it, 16 without. Like the
    published weights, the third branch of a block has 3x3 where the paper has 5x5.
    Source: Szegedy et al., arXiv:1409.4842.
    """
    papers = _DROPOUT if options.retain_head else 0.0
    network: nn.Module = torchvision.models.googlenet(
        num_classes=options.num_classes,
        aux_logits=False,
        init_weights=True,
        dropout=papers if options.dropout is None else options.dropout,
    )
    if not options.retain_head:
        network.maxpool4 = nn.Identity()
    adapt.set_channels(network, options.channels)
    adapt.set_norm(network, options)
    if options.use_bias:
        adapt.add_biases(network)
    return network
