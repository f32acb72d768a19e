"""Numbers that each image of a batch has for itself: spread over its pixels, as a box of them, or as who is changed."""

from collections.abc import Callable

import torch
from torch import Tensor

# Kinds of device whose results the host knows without a wait.
WAIT_FREE = ("cpu",)

Pair = tuple[Tensor, Tensor]


def spread(values: Tensor, dims: int = 4) -> Tensor:
    """[B] -> [B, 1, 1, 1], to go with images."""
    return values.view(-1, *[1] * (dims - 1))


def boxes(centres: Pair, sides: Pair, size: torch.Size) -> Tensor:
    """Which pixels of an image of this size [H, W] lie in its box, as far as that is in the image: bool [B, 1, H, W].

    Centres and sides are [B] each, down and across, as shares of the image's own sides. A pixel is where its middle is.
    """
    rows, columns = (_within(*axis) for axis in zip(centres, sides, size, strict=True))
    return rows[:, None, :, None] & columns[:, None, None, :]


def replaced(values: Tensor, is_concerned: Tensor, change: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """The values [B, ...] with change(*inputs) in the place of those concerned, bool [B]; inputs are [B, ...] too.

    A CPU computes only these; a GPU all, because to find these would be to wait for it. The bits are the same.
    """
    if values.device.type not in WAIT_FREE:
        return torch.where(spread(is_concerned, values.dim()), change(*inputs), values)
    places = is_concerned.nonzero().flatten()
    if not len(places):
        return values
    new = values.clone()
    new[places] = change(*(part[places] for part in inputs))
    return new


def _within(centre: Tensor, side: Tensor, length: int) -> Tensor:
    """bool [B, length]."""
    middles = (torch.arange(length, device=centre.device) + 0.5) / length
    return (middles - centre[:, None]).abs() < side[:, None] / 2
