"""What a channel is judged by: the weights, the scale of a batch norm, chance; `taylor` adds the training loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from tao_lite.errors import PruneError
from tao_lite.pruning import criteria, layers
from tao_lite.pruning.criteria import Rule
from tao_lite.pruning.groups import Group


@dataclass(frozen=True)
class Evidence:
    """A statistic of a layer's channels, and which channel of a group each of them is (-1: of another group)."""

    source: str  # the tensor it was computed from
    values: Tensor  # float64 [n]
    channels: Tensor  # int64 [n]


# What speaks for the channels of each group: one or more pieces of evidence, merged by `score`.
Judge = Callable[[Sequence[Group]], list[list[Evidence]]]


def by_weights(network: nn.Module) -> Judge:
    """TAO's: the norms of the filters of every convolution and linear layer of the group."""
    return lambda groups: [_weights(network, group) for group in groups]


def by_batch_norms(network: nn.Module) -> Judge:
    """The absolute scale of every batch norm of the group; its weights, divided by the largest, where it has none.

    Source: Liu et al., arXiv:1708.06519, without its penalty in training.
    """

    def weights(group: Group) -> list[Evidence]:
        # Scales are near 1 whatever the layer; norms of weights are not until they are normalised.
        return [replace(one, values=criteria.normalise(one.values, "max")) for one in _weights(network, group)]

    return lambda groups: [_scales(network, group) or weights(group) for group in groups]


def by_chance(seed: int) -> Judge:
    """One draw for each channel, uniform in [0, 1): the control."""

    def judge(groups: Sequence[Group]) -> list[list[Evidence]]:
        generator = torch.Generator().manual_seed(seed)
        draws = [torch.rand(group.width, generator=generator, dtype=torch.float64) for group in groups]
        return [[of_group(group, values)] for group, values in zip(groups, draws, strict=True)]

    return judge


def of_group(group: Group, values: Tensor) -> Evidence:
    """Evidence on the channels of a group as a whole."""
    return Evidence(group.name, values, torch.arange(group.width))


def without_batch_norm(network: nn.Module, groups: Sequence[Group]) -> list[str]:
    """The groups that `by_batch_norms` has to judge by their weights, by the name of their first layer."""
    return [group.name for group in groups if not _scales(network, group)]


def score(evidence: Sequence[Evidence], group: Group, rule: Rule) -> Tensor:
    """The evidence normalised layer by layer and merged: float64 [width].

    Raises: PruneError where it is not finite.
    """
    vectors = list[Tensor]()
    for one in evidence:
        values = criteria.normalise(one.values, rule.normalizer).cpu()
        if not values.isfinite().all():
            raise PruneError(
                f"{one.source} holds values that are not finite; prune a checkpoint from before the training diverged"
            )
        order = one.channels.argsort(stable=True)[int((one.channels < 0).sum()) :]
        # A channel that stands more than once in a layer counts as that many layers.
        vectors.extend(values[order].view(group.width, -1).unbind(1))
    merged = criteria.equalise(vectors, rule.equalization_criterion)
    return criteria.ranks(merged) if rule.ranking == "PER_LAYER" else merged


def _weights(network: nn.Module, group: Group) -> list[Evidence]:
    members = {**group.producers, **group.followers}
    named = [(name, network.get_submodule(name), channels) for name, channels in members.items()]
    return [
        Evidence(f"{name}.weight", criteria.channel_norms(layers.weight(layer)), channels)
        for name, layer, channels in named
        if not isinstance(layer, layers.BATCH_NORMS)
    ]


def _scales(network: nn.Module, group: Group) -> list[Evidence]:
    named = [(name, network.get_submodule(name), channels) for name, channels in group.followers.items()]
    return [
        Evidence(f"{name}.weight", cast("Tensor", layer.weight).detach().abs().double(), channels)
        for name, layer, channels in named
        if isinstance(layer, layers.BATCH_NORMS) and layer.weight is not None
    ]
