"""TAO's switches as changes to a finished network: input channels, batch normalisation, biases, activation."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from tao_lite.models.architectures import Options

# The names are those of architectures.ACTIVATIONS. The slope is darknet's and TAO's.
ACTIVATIONS: Mapping[str, Callable[..., nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": partial(nn.LeakyReLU, 0.1),
    "elu": nn.ELU,
    "mish": nn.Mish,
    "swish": nn.SiLU,
    "silu": nn.SiLU,
}
_NO_SHARES: Mapping[nn.Module, float] = {}


def set_channels(network: nn.Module, channels: int) -> None:
    """Let the first convolution read 1 channel where it reads 3; a grey image gives what its three equal channels gave.

    The weights are summed, as when weights of 3 channels are loaded.
    """
    convolution = convolutions(network)[0]
    if convolution.in_channels != channels:
        convolution.in_channels = channels
        convolution.weight = nn.Parameter(convolution.weight.detach().sum(dim=1, keepdim=True))


def set_norm(network: nn.Module, options: "Options", shares: Mapping[nn.Module, float] = _NO_SHARES) -> None:
    """Set momentum and epsilon of every batch normalisation, or take all of it out.

    What is left then starts at the same scale everywhere, but for the convolutions in `shares`, at that part of it.
    """
    if not options.use_batch_norm:
        _remove_norm(network)
        _calibrate(network, shares)
        return
    for layer in network.modules():
        if isinstance(layer, _BatchNorm):
            layer.momentum = options.batch_norm_momentum
            layer.eps = options.batch_norm_epsilon


def add_biases(network: nn.Module) -> None:
    """Give a bias, zero at first, to every convolution that has none."""
    for convolution in convolutions(network):
        if convolution.bias is None:
            convolution.bias = nn.Parameter(torch.zeros(convolution.out_channels))


def set_activation(network: nn.Module, old: type[nn.Module], name: str) -> None:
    """Put the activation of that name in the place of every one of the old type."""
    for path, layer in [*network.named_modules()]:
        if isinstance(layer, old):
            network.set_submodule(path, ACTIVATIONS[name](inplace=True))


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    """Convolutions of the network in order."""
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]


def _remove_norm(network: nn.Module) -> None:
    for path, layer in [*network.named_modules()]:
        if isinstance(layer, _BatchNorm):
            # timm's batch normalisation holds the activation that follows it.
            network.set_submodule(path, getattr(layer, "act", nn.Identity()))


def _calibrate(network: nn.Module, shares: Mapping[nn.Module, float]) -> None:
    """Scale every convolution so that its output for noise has mean square 1, as normalisation would have seen to.

    Source: Mishkin and Matas, arXiv:1511.06422, without its orthogonal matrices.
    """

    def rescale(layer: nn.Module, _: object, output: Tensor) -> Tensor:
        assert isinstance(layer, nn.Conv2d)
        factor = shares.get(layer, 1.0) / output.square().mean().sqrt()
        layer.weight *= factor
        return output * factor

    hooks = [convolution.register_forward_hook(rescale) for convolution in convolutions(network)]
    with torch.no_grad():
        network(torch.randn(4, convolutions(network)[0].in_channels, 64, 64))
    for hook in hooks:
        hook.remove()
