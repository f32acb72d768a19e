"""What RandAugment does to images: geometry, colour, sharpness and tone, each with a strength of its own per image.

Images are uint8 [B, C, H, W], RGB or grey, strengths [B]; results are rounded to levels. From `brightness` on they are
tables for `look_up`, [B, C, 256] or [B, 1, 256]. Arithmetic is element-wise in float32 or in whole numbers, so that
autocast and TF32 leave it alone and an image gives the same bits in any batch.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from tao_lite.data.augment.per_image import Pair, spread


def warp(images: Tensor, fill: Tensor, *, sines: Tensor, shears: Pair, shifts: Pair) -> Tensor:
    """Images turned about their centres, sheared from the upper left corner and shifted; bilinear.

    sines: of the angles, -90 to 90 degrees, counter-clockwise. shears, shifts: across and down, shifts in pixels. What
    comes from outside is `fill`, float32 [C, 1, 1].
    """
    height, width = images.shape[2:]
    x, y = (torch.arange(length, device=images.device) + (1 - length) / 2 for length in (width, height))
    y, sine = y[:, None], spread(sines, 3)
    cosine = (1 - sine * sine).sqrt()
    (shear_x, shear_y), (shift_x, shift_y) = ([spread(part, 3) for part in pair] for pair in (shears, shifts))
    # Where a pixel of the result lay: for each the way back.
    source_x = cosine * x - sine * y + shear_x * (y + height / 2) - shift_x
    source_y = sine * x + cosine * y + shear_y * (x + width / 2) - shift_y
    grid = torch.stack([source_x * (2 / width), source_y * (2 / height)], dim=-1)
    # Beyond the border are zeros.
    warped = F.grid_sample(images - fill, grid, align_corners=False) + fill
    return levels(warped).contiguous(memory_format=torch.channels_last)


def saturate(images: Tensor, factors: Tensor) -> Tensor:
    """Images with the distance from their grey multiplied."""
    grey = _grey(images)
    return levels(grey + spread(factors) * (images - grey))


def sharpen(images: Tensor, factors: Tensor) -> Tensor:
    """Images with the distance from what a small blur makes of them multiplied; pixels at the border stay.

    The blur weighs a pixel by 5/13 and its eight neighbours by 1/13.
    """
    centre = images[:, :, 1:-1, 1:-1].float()
    rows = images[:, :, :-2].float() + images[:, :, 1:-1] + images[:, :, 2:]
    window = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    blurred = (window + 4 * centre) / 13
    sharper = images.clone()
    sharper[:, :, 1:-1, 1:-1] = levels(blurred + spread(factors) * (centre - blurred))
    return sharper


def look_up(images: Tensor, tables: Tensor) -> Tensor:
    """Each value replaced by what stands at its place in the table of its image and channel: [B, C, 256]."""
    values = levels(tables).gather(2, images.flatten(2).long()).view(images.shape)
    return values.contiguous(memory_format=torch.channels_last)


def levels(values: Tensor) -> Tensor:
    """Values rounded and clipped to 0 .. 255; uint8."""
    return values.round().clamp(0, 255).to(torch.uint8)


def brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Values multiplied."""
    return spread(factors, 3) * _values(images)


def contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Distances from the mean grey of the image multiplied."""
    # Whole numbers: their sum does not depend on the order.
    mean = spread(_grey(images).sum((1, 2, 3), dtype=torch.int64) / images[0, 0].numel(), 3)
    return mean + spread(factors, 3) * (_values(images) - mean)


def posterize(images: Tensor, steps: Tensor) -> Tensor:
    """Values rounded down to multiples of the step."""
    step = spread(steps, 3)
    return (_values(images) / step).floor() * step


def solarize(images: Tensor, thresholds: Tensor) -> Tensor:
    """Values from the threshold on inverted."""
    values = _values(images)
    return torch.where(values >= spread(thresholds, 3), 255 - values, values)


def auto_contrast(images: Tensor, _: Tensor) -> Tensor:
    """Values of each channel stretched over 0 .. 255; a channel of one value stays."""
    values, pixels = _values(images), images.flatten(2).float()
    darkest = pixels.amin(2, keepdim=True)
    width = pixels.amax(2, keepdim=True) - darkest
    return torch.where(width > 0, (values - darkest) * 255 / width, values)


def equalize(images: Tensor, _: Tensor) -> Tensor:
    """Values of each channel so that all are about equally frequent; a channel of one value stays.

    A value becomes the number of darker pixels over the step, which is 1/255 of the pixels but the brightest; rounded.
    Source: Pillow's ImageOps.equalize, whose steps are whole numbers too.
    """
    pixels = images.flatten(2).long()
    counts = pixels.new_zeros(*pixels.shape[:2], 256).scatter_add_(2, pixels, pixels.new_ones(()).expand_as(pixels))
    brightest = counts.gather(2, pixels.amax(2, keepdim=True))
    step = (pixels.shape[2] - brightest) // 255
    darker = counts.cumsum(2) - counts
    return torch.where(step > 0, (darker + step // 2) // step.clamp(min=1), _values(images))


def _values(images: Tensor) -> Tensor:
    return torch.arange(256, dtype=torch.float32, device=images.device)


def _grey(images: Tensor) -> Tensor:
    """float32 [B, 1, H, W], whole numbers. ITU-R BT.601 in the 16-bit weights of Pillow, whose sum float32 holds."""
    if images.shape[1] == 1:
        return images.float()
    red, green, blue = (images[:, channel : channel + 1] for channel in range(3))
    return ((19595.0 * red + 38470.0 * green + 7471.0 * blue + 32768) / 65536).floor()
