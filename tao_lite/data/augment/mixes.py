"""Mixup and cutmix: each image with a partner, the first of the batch with the last, the second with the last but one.

All of them are called alike: float32 images [B, C, H, W], int64 labels [B] and draws [B, NUM_DRAWS] -> mixed images,
partners' labels, own weights float32 [B]. The loss to train on is
weight * loss(own label) + (1 - weight) * loss(partner's label).
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tao_lite.data.augment.per_image import boxes, spread
from tao_lite.data.draws import CUTMIX, CUTMIX_LEFT, CUTMIX_TOP, MIX_CHOICE, MIXUP
from tao_lite.spec import classification_pb2 as pb

_STEPS = 4096


class Mixup(nn.Module):
    """The sum of both images, weighed.

    The image's own weight is max(x, 1 - x) for x from the distribution Beta(alpha, alpha), so that its own label keeps
    the larger part. Source: Zhang et al., arXiv:1710.09412, as TAO does it.
    """

    partner_weights: Tensor

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.register_buffer("partner_weights", _smaller_shares(alpha), persistent=False)

    def forward(self, images: Tensor, labels: Tensor, draws: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        partner_weight = _look_up(self.partner_weights, draws[:, MIXUP])
        mixed = images + spread(partner_weight) * (partners(images) - images)
        return mixed, partners(labels), 1 - partner_weight


class Cutmix(nn.Module):
    """The image with a box of its partner's pixels, at the same place.

    The box has the image's aspect and a share x from Beta(alpha, alpha) of its area; its centre is anywhere, and what
    is over the border is lost. The own weight is the share of the pixels left, which may be less than half: unlike in
    mixup, one can see which part is whose. Source: Yun et al., arXiv:1905.04899.
    """

    smaller_shares: Tensor

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.register_buffer("smaller_shares", _smaller_shares(alpha), persistent=False)

    def forward(self, images: Tensor, labels: Tensor, draws: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        side = self._box_share(draws[:, CUTMIX]).sqrt()
        is_cut = boxes((draws[:, CUTMIX_TOP], draws[:, CUTMIX_LEFT]), (side, side), images.shape[2:])
        own_weight = (~is_cut).sum((1, 2, 3)) / is_cut[0].numel()
        return torch.where(is_cut, partners(images), images), partners(labels), own_weight

    def _box_share(self, uniforms: Tensor) -> Tensor:
        """The distribution is symmetric: in one half of the cases the smaller share, in the other the larger one."""
        smaller = _look_up(self.smaller_shares, 2 * uniforms % 1)
        return torch.where(uniforms < 0.5, smaller, 1 - smaller)


class MixupOrCutmix(nn.Module):
    """One of the two for each image, evenly."""

    def __init__(self, mixup: Mixup, cutmix: Cutmix) -> None:
        super().__init__()
        self.mixup = mixup
        self.cutmix = cutmix

    def forward(self, images: Tensor, labels: Tensor, draws: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        is_cut = draws[:, MIX_CHOICE] < 0.5
        mixed, partner_labels, mixup_weight = self.mixup(images, labels, draws)
        cut, _, cutmix_weight = self.cutmix(images, labels, draws)
        return torch.where(spread(is_cut), cut, mixed), partner_labels, torch.where(is_cut, cutmix_weight, mixup_weight)


Mix = Mixup | Cutmix | MixupOrCutmix


def partners(values: Tensor) -> Tensor:
    """Of what each image has, what its partner has: [B, ...]."""
    return values.flip(0)


def make_mix(experiment: pb.Experiment) -> Mix | None:
    """Mixing of training batches as the spec says; None without."""
    train = experiment.train_config
    mixup = Mixup(train.mixup_alpha) if train.mixup_alpha > 0 else None
    cutmix = Cutmix(train.cutmix_alpha) if train.cutmix_alpha > 0 else None
    return MixupOrCutmix(mixup, cutmix) if mixup and cutmix else mixup or cutmix


def _look_up(smaller_shares: Tensor, uniforms: Tensor) -> Tensor:
    """0 to 1/2 for numbers in [0, 1): the inverse of its distribution function, from a table."""
    position = uniforms * _STEPS
    step = position.long()
    return torch.lerp(smaller_shares[step], smaller_shares[step + 1], position - step)


def _smaller_shares(alpha: float) -> Tensor:
    return torch.from_numpy(_smaller_share_quantiles(alpha)).to(torch.float32)


def _smaller_share_quantiles(alpha: float) -> npt.NDArray[np.float64]:
    """min(x, 1 - x) for x from Beta(alpha, alpha), at the quantiles k / 4096; float64 [4097], 0 to 1/2.

    The density (t * (1 - t))**(alpha - 1) on [0, 1/2], times what makes it 1 at most, is integrated over t**alpha where
    alpha < 1: over t it has a pole at 0.
    """
    power = min(alpha, 1.0)
    stretched = np.linspace(0, 0.5**power, 16 * _STEPS + 1)
    t = stretched ** (1 / power)
    density = (4 * t * (1 - t)) ** (alpha - power) * (1 - t) ** (power - 1)
    distribution = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return np.interp(np.linspace(0, 1, _STEPS + 1), distribution / distribution[-1], t)
