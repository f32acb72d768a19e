"""Normalisation, from pixels to what a network reads: element-wise, so that an image gives the same bits anywhere."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tao_lite.errors import SpecError
from tao_lite.spec import classification_pb2 as pb

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
    def offsets(self) -> list[float]:
        """What becomes 0, in 0 .. 255, in the network's order of channels."""
        values: list[float] = (-self.shift / self.scale).tolist()
        return values

    @property
    def mean_pixel(self) -> list[float]:
        """What becomes 0: red, green, blue or grey in 0 .. 255."""
        return self.offsets[::-1] if self.is_bgr else self.offsets

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

    def exportable(self, images: Tensor) -> Tensor:
        """As `forward`, by operations that an exporter can write down; may differ in the last bit."""
        channels = images.flip(1) if self.is_bgr else images
        return channels.float() * self.scale[:, None, None] + self.shift[:, None, None]

    def inverse(self, values: Tensor) -> Tensor:
        """What `forward` gave, as pixels again: uint8 [B, C, H, W], red first."""
        pixels = (values - self.shift[:, None, None]) / self.scale[:, None, None]
        pixels = pixels.flip(1) if self.is_bgr else pixels
        return pixels.round().clamp(0, 255).to(torch.uint8)

    def to_dict(self) -> dict[str, Any]:
        """Plain values from which `from_dict` makes the same again."""
        value = {"mode": self.mode, "channels": self.channels, "mean": list(self.mean) if self.mean else None}
        return {**value, "std": list(self.std)} if self.std else value

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> "Preprocess":
        mean, std = (tuple(value.get(name) or ()) or None for name in ("mean", "std"))
        return Preprocess(value["mode"], value["channels"], mean, std)


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
