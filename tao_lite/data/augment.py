"""What happens to a batch on the device: augmentation, normalisation, mixup. Whole batches, no wait for the device.

    images uint8 -> Augment -> uint8 or float32 in 0 .. 255 -> Preprocess -> float32 -> Mixup -> float32

Everything is element-wise arithmetic in float32, so that autocast and TF32 leave it alone and an image gives the same
bits in any batch.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tao_lite.data import hsv
from tao_lite.data.draws import CONTRAST, FLIP, HUE, MIXUP, SATURATION
from tao_lite.errors import SpecError
from tao_lite.spec import classification_pb2 as pb

MAX_HUE_DEGREES = 25
MAX_SATURATION_CHANGE = 0.2
MAX_CONTRAST_CHANGE = 0.1

# ImageNet's mean in 0 .. 255 for blue, green, red and, with one channel, for grey; TAO's values.
CAFFE_MEAN = {3: (103.939, 116.779, 123.68), 1: (117.3786,)}
# ImageNet's mean and deviation in 0 .. 1 for red, green, blue, and their averages; what TAO's code divides by.
TORCH_MEAN = {3: (0.485, 0.456, 0.406), 1: (0.449,)}
TORCH_STD = {3: (0.229, 0.224, 0.225), 1: (0.226,)}
TAO_STD = {3: (0.224, 0.224, 0.224), 1: (0.224,)}

_MIXUP_STEPS = 4096


class Preprocess(nn.Module):
    """Pixel values as the network wants them.

    caffe: channels in the order blue, green, red, less the mean; torch: ImageNet's mean 0 and deviation 1; tf: -1 to 1.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        mode: str,
        channels: int,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> None:
        """`mean` is for caffe: blue, green, red in 0 .. 255, or grey; `std` for torch, 0 to 1. None is ImageNet's."""
        super().__init__()
        self.mode = mode
        self.channels = channels
        self.mean = mean
        self.std = std
        scale, shift = _affine(mode, channels, mean, std)
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32), persistent=False)
        self.register_buffer("shift", torch.tensor(shift, dtype=torch.float32), persistent=False)

    @property
    def is_bgr(self) -> bool:
        """Whether the network reads blue, green, red."""
        return self.mode == "caffe" and self.channels == 3

    def forward(self, images: Tensor) -> Tensor:
        """uint8 or float32 [B, C, H, W] in 0 .. 255 -> float32 [B, C, H, W], channels last in memory."""
        values = torch.empty_like(images, dtype=torch.float32, memory_format=torch.channels_last)
        if self.is_bgr:
            # One channel at a time: 2.5 times as fast on a CPU as flipping the axis.
            for channel in range(3):
                values[:, channel] = images[:, 2 - channel]
        else:
            values.copy_(images)
        # Whole rows against constants of a row's length: 3 times as fast on a CPU as three constants broadcast.
        rows = values.permute(0, 2, 3, 1).flatten(2)
        width = images.shape[3]
        torch.addcmul(self.shift.repeat(width), rows, self.scale.repeat(width), out=rows)
        return values

    def to_dict(self) -> dict[str, Any]:
        """Plain values from which `from_dict` makes the same again."""
        value = {"mode": self.mode, "channels": self.channels, "mean": list(self.mean) if self.mean else None}
        return {**value, "std": list(self.std)} if self.std else value

    @staticmethod
    def from_dict(value: dict[str, Any]) -> "Preprocess":
        mean, std = (tuple(value.get(name) or ()) or None for name in ("mean", "std"))
        return Preprocess(value["mode"], value["channels"], mean, std)


class Augment(nn.Module):
    """Random horizontal flip of every second image; random hue, saturation and contrast of colour images."""

    def __init__(self, *, has_flip: bool, has_colour: bool, exact: bool = False) -> None:
        """exact: colours change as in TAO's code, see hsv.py."""
        super().__init__()
        self.has_flip = has_flip
        self.has_colour = has_colour
        self.exact = exact

    def forward(self, images: Tensor, draws: Tensor) -> Tensor:
        """uint8 [B, C, H, W] and uniforms [B, NUM_DRAWS] -> the same or, where not exact, float32 in 0 .. 255."""
        if self.has_flip:
            images = torch.where(_per_image(draws[:, FLIP] < 0.5), images.flip(3), images)
        if not self.has_colour:
            return images
        degrees, saturation, contrast = _colour_changes(draws)
        if self.exact:
            changed = hsv.change_colour(images, degrees, saturation, 1 + contrast)
            # Cutting off fractions would darken an image that is to stay as it is.
            is_same = (degrees == 0) & (saturation == 0) & (contrast == 0)
            return torch.where(_per_image(is_same), images, changed)
        return change_colour(images, degrees, 1 + saturation, 1 + contrast)


class Mixup(nn.Module):
    """Each image mixed with a partner: the first of the batch with the last, the second with the last but one, ...

    The image's own weight is max(x, 1 - x) for x from the distribution Beta(alpha, alpha), so that its own label keeps
    the larger part. Source: Zhang et al., arXiv:1710.09412, as TAO does it.
    """

    partner_weights: Tensor

    def __init__(self, alpha: float) -> None:
        super().__init__()
        quantiles = torch.from_numpy(_partner_weight_quantiles(alpha)).to(torch.float32)
        self.register_buffer("partner_weights", quantiles, persistent=False)

    def forward(self, images: Tensor, labels: Tensor, draws: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """float32 [B, C, H, W], int64 [B], [B, NUM_DRAWS] -> mixed images, partners' labels, own weights float32 [B].

        The loss to train on is weight * loss(own label) + (1 - weight) * loss(partner's label).
        """
        partner_weight = self._partner_weight(draws[:, MIXUP])
        mixed = images + _per_image(partner_weight) * (images.flip(0) - images)
        return mixed, labels.flip(0), 1 - partner_weight

    def _partner_weight(self, uniforms: Tensor) -> Tensor:
        """0 to 1/2 for numbers in [0, 1): the inverse of its distribution function, from a table."""
        position = uniforms * _MIXUP_STEPS
        step = position.long()
        return torch.lerp(self.partner_weights[step], self.partner_weights[step + 1], position - step)


def change_colour(images: Tensor, degrees: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """RGB [B, 3, H, W] in 0 .. 255 with hue turned and saturation and contrast multiplied, each [B]; float32, clipped.

    Hue turns about the axis of greys and saturation scales the distance from it, both at constant (R + G + B) / 3;
    contrast scales the distance from medium grey. Together they weigh each channel and its two neighbours with the same
    three numbers. TAO goes by way of HSV and adds to the saturation, which gives greys a tint: see hsv.py.
    """
    third_turn = 2 * math.pi / 3
    radians = torch.deg2rad(degrees)
    own, previous, following = (
        _per_image(contrast * (1 + 2 * saturation * torch.cos(radians + turn)) / 3)
        for turn in (0, -third_turn, third_turn)
    )
    changed = images * own
    changed += images.roll(1, dims=1) * previous
    changed += images.roll(-1, dims=1) * following
    changed += _per_image(127.5 * (1 - contrast))
    return changed.clamp_(0, 255)


def make_preprocess(experiment: pb.Experiment) -> Preprocess:
    """Normalisation as the spec says.

    Raises:
        SpecError: image_mean lacks a channel.
    """
    train = experiment.train_config
    channels = int(experiment.model_config.input_image_size.split(",")[0])
    exact = experiment.compat == pb.Compat.TAO_EXACT
    std = TAO_STD[channels] if exact and train.preprocess_mode == "torch" else None
    if not train.image_mean or train.preprocess_mode != "caffe":
        return Preprocess(train.preprocess_mode, channels, std=std)
    keys = "bgr" if channels == 3 else "l"
    missing = [key for key in keys if key not in train.image_mean]
    if missing:
        raise SpecError(
            f"train_config.image_mean: no key {missing[0]!r}; set all of {', '.join(keys)}, or none for ImageNet's mean"
        )
    return Preprocess("caffe", channels, tuple(train.image_mean[key] for key in keys))


def make_augment(experiment: pb.Experiment) -> Augment:
    """Augmentation of training batches as the spec says."""
    train = experiment.train_config
    is_coloured = experiment.model_config.input_image_size.strip().startswith("3")
    return Augment(
        has_flip=not train.disable_horizontal_flip,
        has_colour=train.enable_color_augmentation and is_coloured,
        exact=experiment.compat == pb.Compat.TAO_EXACT,
    )


def make_mixup(experiment: pb.Experiment) -> Mixup | None:
    """Mixup of training batches as the spec says; None without."""
    alpha = experiment.train_config.mixup_alpha
    return Mixup(alpha) if alpha > 0 else None


def _affine(
    mode: str, channels: int, mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> tuple[list[float], list[float]]:
    """Factor and summand of each channel, in the network's order."""
    deviations = [255 * deviation for deviation in std or TORCH_STD[channels]]
    affine = {
        "caffe": ([1.0] * channels, [-value for value in mean or CAFFE_MEAN[channels]]),
        "torch": (
            [1 / deviation for deviation in deviations],
            [-255 * value / deviation for value, deviation in zip(TORCH_MEAN[channels], deviations, strict=True)],
        ),
        "tf": ([1 / 127.5] * channels, [-1.0] * channels),
    }
    return affine[mode]


def _colour_changes(draws: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Change of hue in degrees, change of saturation, change of contrast; each [B]."""
    either_way = 2 * draws - 1
    return (
        either_way[:, HUE] * MAX_HUE_DEGREES,
        either_way[:, SATURATION] * MAX_SATURATION_CHANGE,
        either_way[:, CONTRAST] * MAX_CONTRAST_CHANGE,
    )


def _per_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _partner_weight_quantiles(alpha: float) -> npt.NDArray[np.float64]:
    """min(x, 1 - x) for x from Beta(alpha, alpha), at the quantiles k / 4096; float64 [4097], 0 to 1/2.

    The density (t * (1 - t))**(alpha - 1) on [0, 1/2], times what makes it 1 at most, is integrated over t**alpha where
    alpha < 1: over t it has a pole at 0.
    """
    power = min(alpha, 1.0)
    stretched = np.linspace(0, 0.5**power, 16 * _MIXUP_STEPS + 1)
    t = stretched ** (1 / power)
    density = (4 * t * (1 - t)) ** (alpha - power) * (1 - t) ** (power - 1)
    distribution = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return np.interp(np.linspace(0, 1, _MIXUP_STEPS + 1), distribution / distribution[-1], t)
