"""Colour jitter: brightness, contrast, saturation and hue, each of a strength of its own for each image.

The formulas are torchvision's, one after the other, with rounding to levels at the end only.
"""

import torch
from torch import Tensor, nn

from tao_lite.data.augment import hsv
from tao_lite.data.augment.operations import levels
from tao_lite.data.augment.per_image import spread
from tao_lite.data.draws import BRIGHTNESS, CONTRAST, HUE, SATURATION

_TURN = 360
_MAX = 255


class Jitter(nn.Module):
    """Random brightness, contrast, saturation and hue."""

    def __init__(self, *, brightness: float, contrast: float, saturation: float, hue: float) -> None:
        """Factors are 1 - these to 1 + these, and hue turns by up to this share of the wheel, either way."""
        super().__init__()
        self._factors = {BRIGHTNESS: brightness, CONTRAST: contrast, SATURATION: saturation}
        self._hue = hue

    def forward(self, images: Tensor, draws: Tensor) -> Tensor:
        """uint8 [B, C, H, W] and uniforms [B, NUM_DRAWS] -> the same; of one channel only the first two change."""
        either_way = 2 * draws - 1
        values = images.float()
        for column, strength in self._factors.items():
            if strength:
                factors = (1 + either_way[:, column] * strength).clamp(min=0)
                values = _CHANGES[column](values, factors).clamp_(0, _MAX)
        if self._hue and images.shape[1] > 1:
            values = hsv.turn_hue(values, either_way[:, HUE] * self._hue * _TURN)
        return levels(values).contiguous(memory_format=torch.channels_last)


def brightness(values: Tensor, factors: Tensor) -> Tensor:
    """float32 [B, C, H, W], values multiplied by [B]."""
    return values * spread(factors)


def contrast(values: Tensor, factors: Tensor) -> Tensor:
    """Distances from the mean grey of the image multiplied."""
    # Whole numbers: their sum does not depend on the order.
    mean = spread(_grey(values).round().sum((1, 2, 3), dtype=torch.int64) / values[0, 0].numel())
    return mean + spread(factors) * (values - mean)


def saturation(values: Tensor, factors: Tensor) -> Tensor:
    """Distances from the pixel's grey multiplied."""
    grey = _grey(values)
    return grey + spread(factors) * (values - grey)


def _grey(values: Tensor) -> Tensor:
    """float32 [B, 1, H, W], by the weights of ITU-R BT.601."""
    if values.shape[1] == 1:
        return values
    red, green, blue = (values[:, channel : channel + 1] for channel in range(3))
    return 0.299 * red + 0.587 * green + 0.114 * blue


_CHANGES = {BRIGHTNESS: brightness, CONTRAST: contrast, SATURATION: saturation}
