"""Gaussian blur, of a width of its own for each image.

Whole images are added up, shifted and weighted: arithmetic is element-wise, so that an image gives the same bits in any
batch.
"""

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tao_lite.data.augment.operations import levels
from tao_lite.data.augment.per_image import replaced, spread
from tao_lite.data.draws import BLUR, RADIUS

REACH = 3
"""Standard deviations up to which pixels count."""


class Blur(nn.Module):
    """Random Gaussian blur."""

    def __init__(self, probability: float, max_radius: float) -> None:
        """max_radius: the largest standard deviation, in pixels."""
        super().__init__()
        self._probability, self._max_radius = probability, max_radius

    def forward(self, images: Tensor, draws: Tensor) -> Tensor:
        """uint8 [B, C, H, W] and uniforms [B, NUM_DRAWS] -> the same."""
        radii = draws[:, RADIUS] * self._max_radius
        taps = min(math.ceil(REACH * self._max_radius), min(images.shape[2:]) - 1)
        return replaced(images, draws[:, BLUR] < self._probability, partial(blur, taps=taps), images, radii)


def blur(images: Tensor, radii: Tensor, *, taps: int) -> Tensor:
    """uint8 [B, C, H, W], blurred with the standard deviations [B], as wide as `taps` pixels to either side.

    Beyond the border the image is mirrored at its outermost pixels.
    """
    offsets = torch.arange(taps + 1, device=images.device)
    # Of a deviation near 0 only the pixel itself is left.
    weights = torch.exp(-((offsets / radii.clamp(min=1e-3)[:, None]) ** 2) / 2)
    weights = weights / (weights[:, :1] + 2 * weights[:, 1:].sum(1, keepdim=True))
    values = _along(_along(images.float(), weights, 2), weights, 3)
    return levels(values).contiguous(memory_format=torch.channels_last)


def _along(values: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Blurred along one axis; weights are [B, taps + 1], the middle first."""
    taps, length = weights.shape[1] - 1, values.shape[axis]
    padded = F.pad(values, (0, 0, taps, taps) if axis == 2 else (taps, taps, 0, 0), mode="reflect")
    total = values * spread(weights[:, 0])
    for offset in range(1, taps + 1):
        both = padded.narrow(axis, taps - offset, length) + padded.narrow(axis, taps + offset, length)
        total += both * spread(weights[:, offset])
    return total
