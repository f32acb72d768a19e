"""Random erasing: a box of some training images becomes the mean pixel.

Source: Zhong et al., arXiv:1708.04896. There a box that is too long for the image is drawn anew; here it is cut off.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from tao_lite.data.augment.per_image import boxes, spread
from tao_lite.data.draws import ERASE, ERASE_AREA, ERASE_ASPECT, ERASE_LEFT, ERASE_TOP
from tao_lite.spec import classification_pb2 as pb

MIN_AREA, MAX_AREA = 0.02, 1 / 3
MAX_ASPECT = 1 / 0.3

Erase = Callable[[Tensor, Tensor], Tensor]


def erase(images: Tensor, draws: Tensor, *, probability: float) -> Tensor:
    """float32 [B, C, H, W], normalised, and uniforms [B, NUM_DRAWS] -> the same with boxes of 0.

    A box covers 0.02 to 1/3 of the image; height : width is 0.3 to 1 / 0.3, as often below 1 as above.
    """
    height, width = images.shape[2:]
    area = MIN_AREA + (MAX_AREA - MIN_AREA) * draws[:, ERASE_AREA]
    # Of the sides as shares of the image's.
    aspect = torch.exp((2 * draws[:, ERASE_ASPECT] - 1) * math.log(MAX_ASPECT)) * (width / height)
    down, across = (area * aspect).sqrt(), (area / aspect).sqrt()
    centres = down / 2 + draws[:, ERASE_TOP] * (1 - down), across / 2 + draws[:, ERASE_LEFT] * (1 - across)
    is_erased = boxes(centres, (down, across), images.shape[2:]) & spread(draws[:, ERASE] < probability)
    return torch.where(is_erased, 0.0, images)


def make_erase(experiment: pb.Experiment) -> Erase | None:
    """Random erasing of training batches as the spec says; None without."""
    probability = experiment.train_config.random_erasing
    return partial(erase, probability=probability) if probability > 0 else None
