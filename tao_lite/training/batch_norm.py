"""Batch normalisation over the batch of all processes: the layers stay what they are and count together.

torch's SyncBatchNorm is another layer, and for GPUs only.
"""

from types import MethodType
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm


def synchronise(network: nn.Module) -> None:
    """Let every batch norm that trains take mean and variance of the images of all processes, at their next step.

    The processes have to run the network alike. Names, weights and evaluation stay as they are.
    """
    for layer in network.modules():
        if isinstance(layer, _BatchNorm):
            layer.forward = MethodType(_forward, layer)  # type: ignore[method-assign]


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _forward(layer: _BatchNorm, values: Tensor) -> Tensor:
    if not layer.training:
        same: Tensor = type(layer).forward(layer, values)
        return same
    normalised: Tensor
    normalised, mean, variance, count = _Normalise.apply(values, layer.weight, layer.bias, layer.eps)
    if layer.track_running_stats:
        _remember(layer, mean, variance * count / (count - 1).clamp(min=1))
    # timm's layers have both in them.
    for name in ("drop", "act"):
        if hasattr(layer, name):
            normalised = getattr(layer, name)(normalised)
    return normalised


@torch.no_grad()
def _remember(layer: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics towards these."""
    assert layer.running_mean is not None
    assert layer.running_var is not None
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked.add_(1)
    share = 1 / layer.num_batches_tracked if layer.momentum is None else layer.momentum
    for kept, new in ((layer.running_mean, mean), (layer.running_var, variance)):
        kept.add_(share * (new.to(kept.dtype) - kept))


class _Normalise(torch.autograd.Function):
    """[B, C, ...] and scale and shift [C] -> the normalised values; and mean, variance and count of all processes."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, weight: Tensor | None, bias: Tensor | None, epsilon: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        axes, inputs = _axes(values), values.float()
        own_count = inputs.new_full((1,), values.numel() / values.shape[1])
        total = _summed(torch.cat([inputs.sum(axes), own_count]))
        count = total[-1]
        mean = total[:-1] / count
        centred = inputs - _spread(mean, values)
        variance = _summed(centred.square().sum(axes)) / count
        scale = torch.rsqrt(variance + epsilon)
        ctx.save_for_backward(values, weight, mean, scale, count)
        ctx.mark_non_differentiable(mean, variance, count)
        result = centred * _spread(scale if weight is None else scale * weight.float(), values)
        if bias is not None:
            result += _spread(bias.float(), values)
        return result.to(values.dtype), mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        values, weight, mean, scale, count = ctx.saved_tensors
        axes, slopes = _axes(values), gradient.float()
        standard = (values.float() - _spread(mean, values)) * _spread(scale, values)
        own = torch.stack([slopes.sum(axes), (slopes * standard).sum(axes)])
        shift, stretch = _summed(own.clone()) / count
        inner = slopes - _spread(shift, values) - standard * _spread(stretch, values)
        factor = scale if weight is None else scale * weight.float()
        own_bias, own_weight = (None, None) if weight is None else own.to(weight.dtype).unbind()
        return (inner * _spread(factor, values)).to(values.dtype), own_weight, own_bias, None


def _summed(values: Tensor) -> Tensor:
    """The sum over the processes, in the place of the values."""
    torch.distributed.all_reduce(values)
    return values


def _axes(values: Tensor) -> list[int]:
    """All but that of the channels."""
    return [0, *range(2, values.dim())]


def _spread(values: Tensor, like: Tensor) -> Tensor:
    """[C] -> [1, C, 1, 1], to go with images, or as many axes as there are."""
    return values.view(1, -1, *[1] * (like.dim() - 2))
