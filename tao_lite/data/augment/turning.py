"""Images mirrored and turned by quarters: pixels change places and nothing else."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tao_lite.data.augment.per_image import replaced, spread
from tao_lite.data.draws import ANGLE, FLIP, ROTATE, VERTICAL_FLIP

ANGLES = 90, 180, 270


class Flip(nn.Module):
    """Random mirroring left to right and upside down."""

    def __init__(self, sideways: float, upright: float) -> None:
        """Probabilities."""
        super().__init__()
        self._axes = [(3, FLIP, sideways), (2, VERTICAL_FLIP, upright)]

    def forward(self, images: Tensor, draws: Tensor) -> Tensor:
        """[B, C, H, W] and uniforms [B, NUM_DRAWS] -> the same."""
        for axis, column, probability in self._axes:
            if probability:
                images = torch.where(spread(draws[:, column] < probability), images.flip(axis), images)
        return images


class Rotate(nn.Module):
    """Random quarter turns, counter-clockwise."""

    def __init__(self, probability: float, angles: Sequence[int]) -> None:
        """angles: 90, 180, 270; 90 and 270 are for square images."""
        super().__init__()
        self._probability, self._angles = probability, angles

    def forward(self, images: Tensor, draws: Tensor) -> Tensor:
        """[B, C, H, W] and uniforms [B, NUM_DRAWS] -> the same."""
        chosen = (draws[:, ANGLE] * len(self._angles)).long()
        is_turned, before = draws[:, ROTATE] < self._probability, images
        for number, angle in enumerate(self._angles):
            turned = before.rot90(angle // ANGLES[0], (2, 3))
            images = replaced(images, is_turned & (chosen == number), lambda part: part, turned)
        return images.contiguous(memory_format=torch.channels_last)
