"""The cut: plan what stays, build the smaller network, rebuild it from a checkpoint, report what it saves."""

import bisect
import copy
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from tao_lite.errors import CheckpointError, PruneError
from tao_lite.pruning import criteria, groups, layers, trace
from tao_lite.pruning.criteria import Rule
from tao_lite.pruning.groups import Group
from tao_lite.pruning.trace import Shape


@dataclass(frozen=True)
class Plan:
    """What stays of every layer with channels, by name: int64 indices, ascending; all for a layer that stays whole."""

    outputs: Mapping[str, Tensor]  # Conv2d, Linear and batch norms
    inputs: Mapping[str, Tensor]  # Conv2d (depthwise ones follow their outputs) and Linear


@dataclass(frozen=True)
class LayerChange:
    """One layer with weights before and after the cut; MACs are multiply-accumulates for one image."""

    name: str
    channels_before: int
    channels_after: int
    parameters_before: int
    parameters_after: int
    macs_before: int
    macs_after: int


@dataclass(frozen=True)
class Comparison:
    """All layers with weights in the network's order, and totals."""

    layers: tuple[LayerChange, ...]
    parameters_before: int
    parameters_after: int
    macs_before: int
    macs_after: int


def plan(network: nn.Module, input_shape: Shape, rule: Rule) -> Plan:
    """What the rule leaves of a network that takes images [B, *input_shape].

    Raises: PruneError as `groups.find`, and for weights that are not finite.
    """
    return _plan(network, _scored_groups(network, input_shape, rule), rule)


def threshold_for_ratio(network: nn.Module, input_shape: Shape, rule: Rule, ratio: float) -> float:
    """The lowest threshold that leaves at most `ratio` of the parameters; the rule's own threshold is ignored.

    A channel goes when the threshold reaches its score: the parameters fall in steps at the scores, so only these are
    tried, by bisection.
    Raises: PruneError with the least ratio that granularity, minimum and excluded layers allow, where more than asked.
    """
    scored = _scored_groups(network, input_shape, rule)
    total = sum(p.numel() for p in network.parameters())

    def ratio_at(threshold: float) -> float:
        return _num_parameters(network, _plan(network, scored, replace(rule, threshold=threshold))) / total

    thresholds: list[float] = sorted({0.0, *(score for _, scores in scored for score in scores.tolist())})
    first = bisect.bisect_left(thresholds, True, key=lambda threshold: ratio_at(threshold) <= ratio)
    if first == len(thresholds):
        raise PruneError(
            f"a ratio of {ratio:g} is out of reach: granularity {rule.granularity}, min_num_filters "
            f"{rule.min_num_filters} and {len(rule.excluded_layers)} excluded layers leave at least "
            f"{ratio_at(thresholds[-1]):.4f} of the parameters"
        )
    return thresholds[first]


def cut(network: nn.Module, plan: Plan) -> nn.Module:
    """A smaller network of the same class and names with the weights that stay; the original is untouched."""
    smaller = copy.deepcopy(network)
    for name, outputs in plan.outputs.items():
        layers.narrow(smaller.get_submodule(name), outputs, plan.inputs.get(name))
    return smaller


def mask(network: nn.Module, plan: Plan) -> nn.Module:
    """A copy of the same size that computes what the cut network computes: no layer reads the removed channels.

    Zeros in the removed channels themselves would not do: a batch norm or a sigmoid on the way makes something of them.
    """
    masked = copy.deepcopy(network)
    for name, inputs in plan.inputs.items():
        layers.hide(masked.get_submodule(name), inputs)
    return masked


def resize_like(network: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Gives a freshly built network the widths of a checkpoint, in place, so that it loads strictly.

    Resized tensors hold no values until then. The output layer takes the checkpoint's number of classes too.
    Raises: CheckpointError naming the tensor that is absent or has another rank or kernel; nothing is changed then.
    """
    shapes = {name: _shapes(name, layer, state_dict) for name, layer in layers.named(network).items()}
    for name, layer in layers.named(network).items():
        layers.resize(layer, shapes[name])


def compare(before: nn.Module, after: nn.Module, input_shape: Shape) -> Comparison:
    """What a cut saved, layer by layer, for images [B, *input_shape]."""
    pruned = dict(after.named_modules())
    macs_before, macs_after = _macs(before, input_shape), _macs(after, input_shape)
    changes = tuple(
        LayerChange(
            name=name,
            channels_before=layers.width(layer),
            channels_after=layers.width(pruned[name]),
            parameters_before=_own_parameters(layer),
            parameters_after=_own_parameters(pruned[name]),
            macs_before=macs_before[name],
            macs_after=macs_after[name],
        )
        for name, layer in before.named_modules()
        if _own_parameters(layer)
    )
    parameters_before, parameters_after = (sum(p.numel() for p in network.parameters()) for network in (before, after))
    return Comparison(changes, parameters_before, parameters_after, macs_before.total(), macs_after.total())


def _scored_groups(network: nn.Module, input_shape: Shape, rule: Rule) -> list[tuple[Group, Tensor]]:
    """The groups that may be cut, each with the merged statistic of its channels, float64 [width]."""
    found = groups.find(network, input_shape, rule.excluded_layers)
    return [(group, _scores(network, group, rule)) for group in found if not group.kept_because]


def _scores(network: nn.Module, group: Group, rule: Rule) -> Tensor:
    norms = list[Tensor]()
    for name, channels in {**group.producers, **group.followers}.items():
        layer = network.get_submodule(name)
        if isinstance(layer, layers.BATCH_NORMS):
            continue
        of_layer = criteria.normalise(criteria.channel_norms(layers.weight(layer)), rule.normalizer).cpu()
        if not of_layer.isfinite().all():
            raise PruneError(
                f"{name}.weight holds values that are not finite; prune a checkpoint from before the training diverged"
            )
        order = channels.argsort(stable=True)[int((channels < 0).sum()) :]
        # A channel that stands more than once in a layer counts as that many layers.
        norms.extend(of_layer[order].view(group.width, -1).unbind(1))
    return criteria.equalise(norms, rule.equalization_criterion)


def _plan(network: nn.Module, scored: list[tuple[Group, Tensor]], rule: Rule) -> Plan:
    named = layers.named(network)
    outputs = {name: torch.ones(layers.width(layer), dtype=torch.bool) for name, layer in named.items()}
    inputs = {
        name: torch.ones(layers.num_inputs(layer), dtype=torch.bool)
        for name, layer in named.items()
        if layers.makes_channels(layer)
    }
    for group, scores in scored:
        stays = torch.zeros(group.width, dtype=torch.bool).index_fill(0, _kept(group, scores, rule), True)
        for name, channels in {**group.producers, **group.followers}.items():
            outputs[name] &= stays[channels] | (channels < 0)
        for name, channels in group.consumers.items():
            inputs[name] &= stays[channels] | (channels < 0)
    return Plan(*({name: mask.nonzero().flatten() for name, mask in masks.items()} for masks in (outputs, inputs)))


def _kept(group: Group, scores: Tensor, rule: Rule) -> Tensor:
    """The rule's channels; one that stands for several filters (of a grouped convolution) counts as many."""
    times = int((next(iter(group.producers.values())) >= 0).sum()) // group.width
    granularity = rule.granularity // math.gcd(rule.granularity, times)
    return criteria.kept(scores, rule.threshold, granularity, math.ceil(rule.min_num_filters / times))


def _num_parameters(network: nn.Module, plan: Plan) -> int:
    count = sum(p.numel() for p in network.parameters())
    for name, layer in layers.named(network).items():
        count += layers.num_parameters(layer, plan.outputs[name], plan.inputs.get(name)) - _own_parameters(layer)
    return count


def _own_parameters(layer: nn.Module) -> int:
    return sum(p.numel() for p in layer.parameters(recurse=False))


def _shapes(name: str, layer: nn.Module, state_dict: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    shapes = {}
    fixed = 1 if layers.is_depthwise(layer) else 2  # the first axis that is no number of channels
    for own, tensor in layers.tensors(layer):
        key = f"{name}.{own}".removeprefix(".")
        if key not in state_dict:
            raise CheckpointError(f"{key} is not in the checkpoint, so it holds another architecture than the network")
        shapes[own] = state_dict[key].shape
        if len(shapes[own]) != tensor.dim() or shapes[own][fixed:] != tensor.shape[fixed:]:
            raise CheckpointError(
                f"{key} is {_times(shapes[own])} in the checkpoint and {_times(tensor.shape)} in the network; only the "
                "numbers of channels may differ, so the checkpoint holds another architecture"
            )
    return shapes


def _times(shape: torch.Size) -> str:
    return "x".join(map(str, shape))


def _macs(network: nn.Module, input_shape: Shape) -> Counter[str]:
    """Multiply-accumulates of each Conv2d and Linear for one image, counted without computing."""
    counts = Counter[str]()

    def count(name: str, layer: nn.Module, _: object, output: Tensor) -> None:
        counts[name] += output.numel() * layers.weight(layer)[0].numel()

    ghost = trace.abstract(network)
    for name, layer in ghost.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(partial(count, name))
    ghost(trace.images(ghost, input_shape, batch_size=1))
    return counts
