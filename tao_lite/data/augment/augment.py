"""What happens to a batch on the device: augmentation, normalisation, mixing. Whole batches, no wait for the device.

    images uint8 -> Augment -> uint8 or float32 in 0 .. 255 -> Preprocess -> float32 -> erase -> Mixup or Cutmix

Everything is element-wise arithmetic in float32, so that autocast and TF32 leave it alone and an image gives the same
bits in any batch.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from tao_lite.data.augment import hsv
from tao_lite.data.augment.per_image import spread
from tao_lite.data.augment.rand_augment import RandAugment
from tao_lite.data.draws import CONTRAST, FLIP, HUE, SATURATION
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

    @property
    def mean_pixel(self) -> list[float]:
        """What becomes 0: red, green, blue or grey in 0 .. 255."""
        values: list[float] = (-self.shift / self.scale).tolist()
        return values[::-1] if self.is_bgr else values

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
    """Random horizontal flip of every second image; RandAugment; random hue, saturation and contrast of colours."""

    def __init__(
        self, *, has_flip: bool, has_colour: bool, exact: bool = False, rand_augment: RandAugment | None = None
    ) -> None:
        """exact: colours change as in TAO's code, see hsv.py."""
        super().__init__()
        self.has_flip = has_flip
        self.rand_augment = rand_augment
        self.has_colour = has_colour
        self.exact = exact

    @property
    def changes_nothing(self) -> bool:
        return not (self.has_flip or self.has_colour or self.rand_augment)

    def forward(self, images: Tensor, draws: Tensor) -> Tensor:
        """uint8 [B, C, H, W] and uniforms [B, NUM_DRAWS] -> the same or, where not exact, float32 in 0 .. 255."""
        if self.has_flip:
            images = torch.where(spread(draws[:, FLIP] < 0.5), images.flip(3), images)
        if self.rand_augment:
            images = self.rand_augment(images, draws)
        if not self.has_colour:
            return images
        degrees, saturation, contrast = _colour_changes(draws)
        if self.exact:
            changed = hsv.change_colour(images, degrees, saturation, 1 + contrast)
            # Cutting off fractions would darken an image that is to stay as it is.
            is_same = (degrees == 0) & (saturation == 0) & (contrast == 0)
            return torch.where(spread(is_same), images, changed)
        return change_colour(images, degrees, 1 + saturation, 1 + contrast)


def change_colour(images: Tensor, degrees: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """RGB [B, 3, H, W] in 0 .. 255 with hue turned and saturation and contrast multiplied, each [B]; float32, clipped.

    Hue turns about the axis of greys and saturation scales the distance from it, both at constant (R + G + B) / 3;
    contrast scales the distance from medium grey. Together they weigh each channel and its two neighbours with the same
    three numbers. TAO goes by way of HSV and adds to the saturation, which gives greys a tint: see hsv.py.
    """
    third_turn = 2 * math.pi / 3
    radians = torch.deg2rad(degrees)
    own, previous, following = (
        spread(contrast * (1 + 2 * saturation * torch.cos(radians + turn)) / 3) for turn in (0, -third_turn, third_turn)
    )
    changed = images * own
    changed += images.roll(1, dims=1) * previous
    changed += images.roll(-1, dims=1) * following
    changed += spread(127.5 * (1 - contrast))
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
    """Augmentation of training batches as the spec says.

    Raises:
        SpecError: as make_preprocess.
    """
    train = experiment.train_config
    config, rand_augment = train.rand_augment, None
    if train.HasField("rand_augment"):
        fill = make_preprocess(experiment).mean_pixel
        rand_augment = RandAugment(config.num_operations, config.magnitude, fill)
    is_coloured = experiment.model_config.input_image_size.strip().startswith("3")
    return Augment(
        has_flip=not train.disable_horizontal_flip,
        has_colour=train.enable_color_augmentation and is_coloured,
        exact=experiment.compat == pb.Compat.TAO_EXACT,
        rand_augment=rand_augment,
    )


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
