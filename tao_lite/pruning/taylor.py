"""How much the training loss would change, to first order, if no layer read a channel any more."""

import copy
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tao_lite.pruning.groups import Group
from tao_lite.pruning.importance import Evidence, Judge, of_group

Losses = Callable[[Tensor, Tensor], Tensor]
"""Logits and labels of a batch -> the loss of each image."""

_cross_entropy: Losses = partial(F.cross_entropy, reduction="none")


def by_loss(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], losses: Losses = _cross_entropy) -> Judge:
    """The root of the mean square change of an image's loss, for each channel of each group.

    A group is judged as one, so there is nothing to equalise. The batches are images as the network reads them, float
    [B, C, H, W], and labels, as `losses` takes them, where the network shall compute, which it does as in evaluation.
    Source: Molchanov et al., arXiv:1906.10771, equation 8, with the gate where the cut is: at the layers that read the
    channel, summed over them and over its positions.
    """

    def judge(groups: Sequence[Group]) -> list[list[Evidence]]:
        watched = copy.deepcopy(network).eval().requires_grad_(False)
        sums, count = [torch.zeros(group.width, dtype=torch.float64) for group in groups], 0
        for images, labels in batches:
            changes = _changes(watched.to(images.device), groups, images, partial(_loss, labels=labels, losses=losses))
            sums = [total + own.square().sum(dim=0).cpu() for total, own in zip(sums, changes, strict=True)]
            count += len(labels)
        return [[of_group(group, (total / count).sqrt())] for group, total in zip(groups, sums, strict=True)]

    return judge


def _loss(logits: Tensor, labels: Tensor, losses: Losses) -> Tensor:
    return losses(logits, labels).sum()


def _changes(
    network: nn.Module, groups: Sequence[Group], images: Tensor, loss: Callable[[Tensor], Tensor]
) -> list[Tensor]:
    """First-order change of each image's loss without each channel: float64 [B, width] for each group."""
    changes = [torch.zeros(len(images), group.width, dtype=torch.float64, device=images.device) for group in groups]
    readers = dict[str, list[tuple[Tensor, Tensor]]]()  # layer -> the changes to add to, the channel of each input
    for change, group in zip(changes, groups, strict=True):
        for name, channels in group.consumers.items():
            readers.setdefault(name, []).append((change, channels.to(images.device)))
    hooks = [
        network.get_submodule(name).register_forward_pre_hook(partial(_watch, readers=own))
        for name, own in readers.items()
    ]
    try:
        torch.autograd.backward(loss(network(images.detach().requires_grad_())))
    finally:
        for hook in hooks:
            hook.remove()
    return changes


def _watch(_: nn.Module, inputs: tuple[Tensor, ...], readers: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, ...]:
    # A copy of its own for each reader: its gradient is that reader's alone, and nothing changes it in place.
    read = inputs[0].clone()
    value = read.detach()

    def add(gradient: Tensor) -> None:
        product = value * gradient
        by_input = product.flatten(2).sum(dim=2) if product.dim() > 2 else product
        for change, channels in readers:
            change.index_add_(1, channels[channels >= 0], by_input[:, channels >= 0].double())

    read.register_hook(add)  # type: ignore[no-untyped-call]
    return (read, *inputs[1:])
