"""Residual blocks: which of a network's can go as a whole, what each is worth, and the network without some."""

import copy
import operator
from collections.abc import Collection, Mapping
from dataclasses import replace

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from tao_lite.errors import PruneError
from tao_lite.pruning import groups, importance, trace
from tao_lite.pruning.criteria import Rule
from tao_lite.pruning.importance import Judge

_ADDITIONS = (operator.add, operator.iadd, torch.add, "add", "add_")
_ACTIVATIONS = (functional.relu, torch.relu, torch.relu_, functional.silu, functional.gelu, "relu", "relu_")


def cheapest(
    network: nn.Module, shape: trace.Shape, *, rule: Rule, judge: Judge, count: int, is_summed: bool
) -> tuple[str, ...]:
    """The blocks whose removal costs least, by the scores of the channels that no layer outside of the block has.

    `is_summed`: a block costs the sum of these, as changes of the loss add up; else their mean, as norms and scales
    compare between layers of different width.

    Raises: PruneError where there are not so many that can go.
    """
    found = [one for one in groups.find(network, shape, rule.excluded_layers) if not one.kept_because]
    free = [name for name in removable(network) if not any(_is_in(layer, name) for layer in rule.excluded_layers)]
    inside = {name: [one for one in found if all(_is_in(layer, name) for layer in one.producers)] for name in free}
    inside = {name: own for name, own in inside.items() if own}
    if count > len(inside):
        names = ", ".join(inside) or "none"
        raise PruneError(
            f"prune_config.blocks is {count}, but of {type(network).__name__} {len(inside)} can go: {names}. A "
            "block can if it adds to its input something of the same shape, and none of its layers is excluded"
        )
    every, plain = [one for own in inside.values() for one in own], replace(rule, ranking="GLOBAL")
    scores = iter([importance.score(evidence, one, plain) for evidence, one in zip(judge(every), every, strict=True)])
    costs = dict[str, float]()
    for name, own in inside.items():
        channels = torch.cat([next(scores) for _ in own])
        costs[name] = float(channels.sum() if is_summed else channels.mean())
    gone = sorted(costs, key=lambda name: costs[name])[:count]
    return tuple(name for name in inside if name in gone)


def without(network: nn.Module, names: Collection[str]) -> nn.Module:
    """A copy in which these blocks give on what they get."""
    smaller = copy.deepcopy(network)
    for name in names:
        parent, _, own = name.rpartition(".")
        setattr(smaller.get_submodule(parent), own, nn.Identity())
    return smaller


def remove_absent(network: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Take those residual blocks out of a freshly built network, in place, of which a checkpoint has no tensor."""
    there = {name.rsplit(".", depth)[0] for name in state_dict for depth in range(1, name.count(".") + 1)}
    absent = [name for name, block in network.named_modules() if name and name not in there and _holds(block)]
    for name in absent:
        parent, _, own = name.rpartition(".")
        if parent in there | {""} and _is_residual(network.get_submodule(name)):
            setattr(network.get_submodule(parent), own, nn.Identity())


def removable(network: nn.Module) -> list[str]:
    """The residual blocks that hold no other."""
    found = [name for name, block in network.named_modules() if name and _holds(block) and _is_residual(block)]
    return [name for name in found if not any(other != name and _is_in(other, name) for other in found)]


def _holds(block: nn.Module) -> bool:
    """Whether it has parameters, and is made of several modules."""
    return any(True for _ in block.children()) and any(True for _ in block.parameters())


def _is_in(layer: str, block: str) -> bool:
    return layer == block or layer.startswith(f"{block}.")


def _is_residual(block: nn.Module) -> bool:
    """Whether the block's output is its input plus something, and at most an activation of that."""
    try:
        traced = fx.GraphModule(ghost := trace.abstract(block), trace.Tracer().trace(ghost))
    except trace.FAILURES:
        return False
    inputs = [node for node in traced.graph.nodes if node.op == "placeholder"]
    (output,) = (node for node in traced.graph.nodes if node.op == "output")
    if len(inputs) != 1 or not isinstance(output.args[0], fx.Node):
        return False
    last = _before_activation(traced, output.args[0])
    if last.target not in _ADDITIONS:
        return False
    terms = [_before_activation(traced, term) for term in last.args if isinstance(term, fx.Node)]
    return len(terms) == 2 and sum(term is inputs[0] for term in terms) == 1


def _before_activation(traced: fx.GraphModule, node: fx.Node) -> fx.Node:
    """The node's source, past activations and modules that do nothing in evaluation."""
    while _is_activation(traced, node):
        node = node.all_input_nodes[0]
    return node


def _is_activation(traced: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        layer = traced.get_submodule(str(node.target))
        return isinstance(layer, nn.Identity | nn.Dropout) or type(layer).__module__ == "torch.nn.modules.activation"
    return node.target in _ACTIVATIONS
