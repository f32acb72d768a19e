"""What stays of every layer: from the scores of the channels to a plan, and the plan's size without making the cut."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil, gcd

import torch
from torch import Tensor, nn

from tao_lite.errors import PruneError
from tao_lite.pruning import criteria, groups, importance, layers
from tao_lite.pruning.criteria import Rule
from tao_lite.pruning.groups import Group
from tao_lite.pruning.importance import Judge
from tao_lite.pruning.trace import Shape


@dataclass(frozen=True)
class Plan:
    """What stays of every layer with channels, by name: int64 indices, ascending; all for a layer that stays whole."""

    outputs: Mapping[str, Tensor]  # Conv2d, Linear and batch norms
    inputs: Mapping[str, Tensor]  # Conv2d (depthwise ones follow their outputs) and Linear


@dataclass(frozen=True)
class Scored:
    """A network, its groups that may be cut, and the score of each of their channels: float64 [width]."""

    network: nn.Module
    input_shape: Shape
    rule: Rule
    groups: tuple[tuple[Group, Tensor], ...]

    def plan(self, threshold: float | None = None) -> Plan:
        """What the rule leaves, with this threshold in the place of its own."""
        return _plan(self, self.rule if threshold is None else replace(self.rule, threshold=threshold))

    def only(self, group: Group) -> "Scored":
        """The same with this group alone; the others stay whole."""
        return replace(self, groups=tuple(pair for pair in self.groups if pair[0] is group))

    def thresholds(self) -> list[float]:
        """The thresholds that make a difference, ascending: 0 and every score; a channel goes when its is reached."""
        return sorted({0.0, *(score for _, scores in self.groups for score in scores.tolist())})


def score(network: nn.Module, input_shape: Shape, rule: Rule, judge: Judge | None = None) -> Scored:
    """The network, that takes images [B, *input_shape], ready to be planned; judged by its weights unless told else.

    Raises: PruneError as `groups.find`, where no layer may be cut, and for evidence that is not finite.
    """
    everything = groups.find(network, input_shape, rule.excluded_layers)
    found = [group for group in everything if not group.kept_because]
    if not found:
        reasons = list(dict.fromkeys(group.kept_because for group in everything))
        more = f" and {len(reasons) - 3} more reasons" if len(reasons) > 3 else ""
        raise PruneError(f"{type(network).__name__}: no layer can be cut: {'; '.join(reasons[:3])}{more}")
    evidence = (judge or importance.by_weights(network))(found)
    scores = [importance.score(one, group, rule) for one, group in zip(evidence, found, strict=True)]
    return Scored(network, input_shape, rule, tuple(zip(found, scores, strict=True)))


def num_parameters(network: nn.Module, plan: Plan) -> int:
    """Parameters of the network if it were cut so."""
    count = sum(p.numel() for p in network.parameters())
    for name, layer in layers.named(network).items():
        own = sum(p.numel() for p in layer.parameters(recurse=False))
        count += layers.num_parameters(layer, plan.outputs[name], plan.inputs.get(name)) - own
    return count


def _plan(scored: Scored, rule: Rule) -> Plan:
    named = layers.named(scored.network)
    outputs = {name: torch.ones(layers.width(layer), dtype=torch.bool) for name, layer in named.items()}
    inputs = {
        name: torch.ones(layers.num_inputs(layer), dtype=torch.bool)
        for name, layer in named.items()
        if layers.makes_channels(layer)
    }
    for group, scores in scored.groups:
        stays = torch.zeros(group.width, dtype=torch.bool).index_fill(0, _kept(group, scores, rule), True)
        for name, channels in {**group.producers, **group.followers}.items():
            outputs[name] &= stays[channels] | (channels < 0)
        for name, channels in group.consumers.items():
            inputs[name] &= stays[channels] | (channels < 0)
    return Plan(*({name: mask.nonzero().flatten() for name, mask in masks.items()} for masks in (outputs, inputs)))


def _kept(group: Group, scores: Tensor, rule: Rule) -> Tensor:
    """The rule's channels; one that stands for several filters (of a grouped convolution) counts as many."""
    times = int((next(iter(group.producers.values())) >= 0).sum()) // group.width
    granularity = rule.granularity // gcd(rule.granularity, times)
    return criteria.kept(scores, rule.threshold, granularity, ceil(rule.min_num_filters / times))
