"""RandAugment: each image gets a few operations by chance, all of one magnitude.

Source: Cubuk et al., arXiv:1909.13719, with torchvision's operations and ranges. Geometry is bilinear; what comes from
outside the image is the mean pixel.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tao_lite.data.augment import operations
from tao_lite.data.augment.per_image import replaced
from tao_lite.data.draws import OPERATIONS, SIGNS

NUM_OPERATIONS = 14
IDENTITY, SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y, ROTATE = range(6)
COLOR, SHARPNESS, BRIGHTNESS, CONTRAST = range(6, 10)  # these and those of the line above go both ways
POSTERIZE, SOLARIZE, AUTO_CONTRAST, EQUALIZE = range(10, NUM_OPERATIONS)

_TABLES = {
    BRIGHTNESS: operations.brightness,
    CONTRAST: operations.contrast,
    POSTERIZE: operations.posterize,
    SOLARIZE: operations.solarize,
    AUTO_CONTRAST: operations.auto_contrast,
    EQUALIZE: operations.equalize,
}


class RandAugment(nn.Module):
    """Random operations on images, 0 .. 255."""

    strengths: Tensor
    fill: Tensor

    def __init__(self, num_operations: int, magnitude: float, fill: Sequence[float]) -> None:
        """magnitude: 0 to 10. fill: of each channel, 0 to 255."""
        super().__init__()
        self.num_operations = num_operations
        self.register_buffer("strengths", torch.tensor(_strengths(magnitude / 10)), persistent=False)
        self.register_buffer("fill", torch.tensor(fill, dtype=torch.float32).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor, draws: Tensor) -> Tensor:
        """uint8 [B, C, H, W] and uniforms [B, NUM_DRAWS] -> uint8 [B, C, H, W]."""
        for operation, sign in list(zip(OPERATIONS, SIGNS, strict=True))[: self.num_operations]:
            chosen = (draws[:, operation] * NUM_OPERATIONS).long()
            images = self.apply_one(images, chosen, draws[:, sign] < 0.5)
        return images

    def apply_one(self, images: Tensor, chosen: Tensor, is_negative: Tensor) -> Tensor:
        """Each image after the operation of its number, int64 [B]; bool [B] turns those round that go both ways."""
        strengths = self.strengths[chosen]
        strengths = torch.where(is_negative & (chosen < POSTERIZE), -strengths, strengths)
        is_warped = (chosen >= SHEAR_X) & (chosen <= ROTATE)
        images = replaced(images, is_warped, self._warp, images, chosen, strengths)
        factors = torch.where(chosen < POSTERIZE, 1 + strengths, strengths)
        images = replaced(images, chosen == COLOR, operations.saturate, images, factors)
        images = replaced(images, chosen == SHARPNESS, operations.sharpen, images, factors)
        return replaced(images, chosen >= BRIGHTNESS, _change_tones, images, chosen, factors)

    def _warp(self, images: Tensor, chosen: Tensor, strengths: Tensor) -> Tensor:
        sines, shear_x, shear_y, shift_x, shift_y = (
            torch.where(chosen == operation, strengths, 0)
            for operation in (ROTATE, SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y)
        )
        height, width = images.shape[2:]
        shifts = (shift_x * width).trunc(), (shift_y * height).trunc()  # whole pixels blur nothing
        return operations.warp(images, self.fill, sines=sines, shears=(shear_x, shear_y), shifts=shifts)


def _change_tones(images: Tensor, chosen: Tensor, strengths: Tensor) -> Tensor:
    tables = torch.zeros(*images.shape[:2], 256, device=images.device)
    for operation, table in _TABLES.items():
        tables = replaced(tables, chosen == operation, table, images, strengths)
    return operations.look_up(images, tables)


def _strengths(level: float) -> list[float]:
    """What each operation is told at a level of 0 to 1, in the order of their numbers.

    Shear: pixels per pixel; shift: share of the side; turn: sine; the next four: change of the factor; then the step
    of values, and the threshold.
    """
    geometry = [0.3 * level] * 2 + [150 / 331 * level] * 2 + [math.sin(math.radians(30 * level))]
    return [0.0, *geometry, *[0.9 * level] * 4, 2.0 ** round(4 * level), 255 * (1 - level), 0.0, 0.0]
