"""What INT8 can hold of values, weights and biases, in float; learning passes through as if nothing were rounded.

Source of that gradient, 1 within the levels and 0 beyond: Bengio et al., arXiv:1308.3432.
"""

import torch
from torch import Tensor


def rounded(values: Tensor, scale: float, zero_point: int, least: int, most: int) -> Tensor:
    """The nearest of the values (level - zero_point) * scale, from the least level to the most."""
    return torch.fake_quantize_per_tensor_affine(values.float(), scale, zero_point, least, most)


def rounded_weights(weights: Tensor, most: int) -> Tensor:
    """Whole multiples of each output channel's scale, by which the largest of its weights is `most`."""
    weights, scales = weights.float(), _scales(weights, most)
    zeros = torch.zeros_like(scales, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weights, scales, zeros, 0, -most, most)


def rounded_bias(bias: Tensor, weights: Tensor, most: int, scale: float) -> Tensor:
    """Whole multiples of a weight's scale times the scale of what it is multiplied with."""
    scales = _scales(weights, most) * scale
    return bias + (bias / scales).round().mul(scales).sub(bias).detach()


def folded(  # noqa: PLR0917 - what a convolution and a batch norm have
    weights: Tensor, bias: Tensor | None, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """Weights and bias of the convolution that does both."""
    factor = scale * (variance + epsilon).rsqrt()
    return weights * factor[:, None, None, None], shift + factor * ((0 if bias is None else bias) - mean)


def _scales(weights: Tensor, most: int) -> Tensor:
    largest = weights.detach().float().abs().flatten(1).amax(dim=1)
    return torch.where(largest > 0, largest / most, 1.0)
