"""What INT8 holds, by hand; and what is learnt through it."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tao_lite.stages.quantize.rounding import folded, rounded, rounded_bias, rounded_weights


def gradient(found: Tensor, learnt: Tensor) -> Any:
    """Of the sum."""
    return torch.autograd.grad(found.sum(), learnt)[0].tolist()


def test_values_become_the_nearest_level_and_learn_only_within_the_levels() -> None:
    values = torch.tensor([-0.3, 0.24, 0.26, 99.0], requires_grad=True)
    found = rounded(values, 0.5, 2, 0, 255)
    assert found.tolist() == [-0.5, 0.0, 0.5, 99.0]
    assert gradient(found, values) == [1, 1, 1, 1]
    far = torch.tensor([-1.3, 127.0], requires_grad=True)  # the levels go from (0 - 2) / 2 to (255 - 2) / 2
    clipped = rounded(far, 0.5, 2, 0, 255)
    assert clipped.tolist() == [-1.0, 126.5]
    assert gradient(clipped, far) == [0, 0]


def test_each_channel_of_weights_has_a_scale_of_its_own() -> None:
    """64 levels by which 16 and 0.5 are the largest; a channel of zeros stays one."""
    weights = torch.tensor([[16.0, 0.3, -0.1], [-0.5, 0.25, 0.001], [0.0, 0.0, 0.0]], requires_grad=True)
    found = rounded_weights(weights, 64)
    assert found.tolist() == [[16.0, 0.25, 0.0], [-0.5, 0.25, 0.0], [0.0, 0.0, 0.0]]
    assert gradient(found, weights) == [[1, 1, 1]] * 3


def test_a_bias_is_counted_in_products_of_levels() -> None:
    """Scales of 1/4 and 1/2 of the weights, of 1/2 of the values."""
    bias = torch.tensor([0.3, -0.3], requires_grad=True)
    found = rounded_bias(bias, torch.tensor([[16.0], [32.0]]), 64, 0.5)
    assert found.tolist() == [0.25, -0.25]
    assert gradient(found, bias) == [1, 1]


def test_a_folded_convolution_is_a_convolution_and_its_batch_norm() -> None:
    torch.manual_seed(0)
    weights, images = torch.randn(4, 3, 3, 3, dtype=torch.float64), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    bias, scale, shift, mean = torch.randn(4, 4, dtype=torch.float64)
    variance = torch.rand(4, dtype=torch.float64)
    both = F.batch_norm(F.conv2d(images, weights, bias), mean, variance, scale, shift, eps=1e-3)
    assert torch.allclose(F.conv2d(images, *folded(weights, bias, scale, shift, mean, variance, 1e-3)), both)
