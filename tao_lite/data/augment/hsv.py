"""Colour augmentation as TAO's code computes it: by way of hue, saturation and value, for compat: TAO_EXACT.

TAO hands red, green, blue to OpenCV as blue, green, red. Hue then turns the other way, which makes no difference to
numbers drawn evenly on both sides of 0, and a grey, whose hue is 0, is tinted blue where saturation rises.
"""

import torch
from torch import Tensor

from tao_lite.data.augment import per_image

# What OpenCV adds to divisors.
_TINY = torch.finfo(torch.float32).eps


def change_colour(images: Tensor, degrees: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """RGB [B, 3, H, W] in 0 .. 255 with hue turned, saturation added to and contrast multiplied, each [B]; uint8.

    Saturation stays in 0 .. 1 and colours in 0 .. 255; fractions are cut off. Hue and saturation are changed in one go,
    TAO goes back to BGR between the two: apart from rounding the same.
    """
    changed = (_changed(images / 255, degrees, saturation) - 0.5) * per_image.spread(contrast) + 0.5
    # Channels last, as everywhere: stacking has made them the slowest axis.
    return (changed.clamp(0, 1) * 255).to(torch.uint8, memory_format=torch.channels_last)


def turn_hue(images: Tensor, degrees: Tensor) -> Tensor:
    """RGB float32 [B, 3, H, W], from 0 on, with hue turned by degrees [B]."""
    # Against the order of channels that TAO's code takes, the other way.
    return _changed(images, -degrees, torch.zeros_like(degrees))


def _changed(images: Tensor, degrees: Tensor, saturation: Tensor) -> Tensor:
    """float32 [B, 3, H, W], from 0 on, with hue turned and saturation, of 0 .. 1, added to."""
    blue, green, red = images.unbind(1)
    value, spread = _value_and_spread(blue, green, red)
    hue = _hue(blue, green, red, spread) + per_image.spread(degrees / 60, 3)
    hue = torch.where(spread > 0, hue.remainder(6), 0.0)
    chroma = value * (spread / (value + _TINY) + per_image.spread(saturation, 3)).clamp(0, 1)
    # From each channel's place on the wheel, in sixths: 1 is blue, 3 green, 5 red. Source: the HSV formula f(n).
    places = (torch.remainder(hue + place, 6) for place in (1, 3, 5))
    return torch.stack([value - chroma * torch.minimum(place, 4 - place).clamp(0, 1) for place in places], dim=1)


def _value_and_spread(blue: Tensor, green: Tensor, red: Tensor) -> tuple[Tensor, Tensor]:
    """The largest channel, and its distance from the smallest."""
    value = torch.maximum(torch.maximum(blue, green), red)
    return value, value - torch.minimum(torch.minimum(blue, green), red)


def _hue(blue: Tensor, green: Tensor, red: Tensor, spread: Tensor) -> Tensor:
    """Angle on the wheel in sixths, -1 to 5: red 0, green 2, blue 4; 0 for greys."""
    is_red = (red >= green) & (red >= blue)
    is_green = green >= blue
    ahead = torch.where(is_red, green - blue, torch.where(is_green, blue - red, red - green))
    start = torch.where(is_red, 0.0, torch.where(is_green, 2.0, 4.0))
    return ahead / (spread + _TINY) + start
