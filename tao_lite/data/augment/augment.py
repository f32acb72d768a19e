"""Random changes of a batch on the device: mirroring, turns, RandAugment, blur, colours. No wait for the device.

    images uint8 -> Augment -> uint8 or float32 in 0 .. 255 -> Preprocess -> float32 -> erase -> Mixup or Cutmix

Everything is element-wise arithmetic in float32, so that autocast and TF32 leave it alone and an image gives the same
bits in any batch.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from tao_lite.data.augment import hsv
from tao_lite.data.augment.blur import Blur
from tao_lite.data.augment.jitter import Jitter
from tao_lite.data.augment.per_image import spread
from tao_lite.data.augment.rand_augment import RandAugment
from tao_lite.data.augment.turning import ANGLES, Flip, Rotate
from tao_lite.data.draws import CONTRAST, HUE, SATURATION
from tao_lite.data.preprocess import make_preprocess
from tao_lite.spec import classification_pb2 as pb

MAX_HUE_DEGREES = 25
MAX_SATURATION_CHANGE = 0.2
MAX_CONTRAST_CHANGE = 0.1


class Augment(nn.Module):
    """Random changes, one after the other."""

    def __init__(self, *steps: nn.Module) -> None:
        """Each: uint8 [B, C, H, W] and uniforms [B, NUM_DRAWS] -> the same; the last one may give float32."""
        super().__init__()
        self.steps = nn.ModuleList(steps)

    @property
    def changes_nothing(self) -> bool:
        return not self.steps

    def forward(self, images: Tensor, draws: Tensor) -> Tensor:
        """uint8 [B, C, H, W] and uniforms [B, NUM_DRAWS] -> the same or float32 in 0 .. 255."""
        for step in self.steps:
            images = step(images, draws)
        return images


class Colour(nn.Module):
    """Random hue, saturation and contrast, as far as TAO changes them."""

    def __init__(self, *, exact: bool = False) -> None:
        """exact: as in TAO's code, see hsv.py."""
        super().__init__()
        self.exact = exact

    def forward(self, images: Tensor, draws: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] and uniforms [B, NUM_DRAWS] -> the same where exact, else float32 in 0 .. 255."""
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


def make_augment(experiment: pb.Experiment) -> Augment:
    """Augmentation of training batches as the spec says.

    Raises:
        SpecError: as make_preprocess.
    """
    return Augment(*_placed(experiment.train_config), *_recoloured(experiment))


def _placed(train: pb.TrainConfig) -> Iterator[nn.Module]:
    sideways = 0.0 if train.disable_horizontal_flip else train.hflip_probability
    if sideways or train.vflip_probability:
        yield Flip(sideways, train.vflip_probability)
    if train.HasField("random_rotate"):
        yield Rotate(train.random_rotate.rotate_probability, train.random_rotate.angle_list or ANGLES)


def _recoloured(experiment: pb.Experiment) -> Iterator[nn.Module]:
    train = experiment.train_config
    if train.HasField("rand_augment"):
        config = train.rand_augment
        yield RandAugment(config.num_operations, config.magnitude, make_preprocess(experiment).mean_pixel)
    if train.HasField("random_blur"):
        yield Blur(train.random_blur.probability, train.random_blur.max_radius)
    if train.HasField("random_color"):
        colour = train.random_color
        yield Jitter(
            brightness=colour.brightness, contrast=colour.contrast, saturation=colour.saturation, hue=colour.hue
        )
    elif train.enable_color_augmentation and experiment.model_config.input_image_size.strip().startswith("3"):
        yield Colour(exact=experiment.compat == pb.Compat.TAO_EXACT)


def _colour_changes(draws: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Change of hue in degrees, change of saturation, change of contrast; each [B]."""
    either_way = 2 * draws - 1
    return (
        either_way[:, HUE] * MAX_HUE_DEGREES,
        either_way[:, SATURATION] * MAX_SATURATION_CHANGE,
        either_way[:, CONTRAST] * MAX_CONTRAST_CHANGE,
    )
