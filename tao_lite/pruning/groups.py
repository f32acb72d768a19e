"""Who is coupled: the channels of a network that can only be cut together, as groups of layers."""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx, nn

from tao_lite.errors import PruneError
from tao_lite.pruning import rules, trace
from tao_lite.pruning.channels import Channels, Layout
from tao_lite.pruning.layers import BATCH_NORMS, makes_channels, named
from tao_lite.pruning.step import Step


@dataclass(frozen=True)
class Group:
    """Layers that share one set of channels, numbered 0 to width - 1; each channel is kept or cut in all of them.

    The int64 tensors give the channel of this group at each position of a layer's outputs or inputs, -1 for a channel
    of another group: after a concatenation the channels start at an offset, after flatten each stands H*W times, in a
    grouped convolution once in every group of filters.
    """

    width: int
    producers: dict[str, Tensor] = field(default_factory=dict)  # Conv2d and Linear; at their outputs
    followers: dict[str, Tensor] = field(default_factory=dict)  # batch norms and depthwise Conv2d; at their channels
    consumers: dict[str, Tensor] = field(default_factory=dict)  # Conv2d and Linear; at their inputs
    kept_because: str = ""  # empty for a group that may be cut

    @property
    def name(self) -> str:
        """The name of its first layer in the order of the computation."""
        return next(iter(self.producers))


def find(network: nn.Module, input_shape: trace.Shape, excluded_layers: Collection[str] = ()) -> list[Group]:
    """All groups of a network that takes images [B, *input_shape], in the order of its computation.

    Groups that reach the output, touch the input or hold an excluded layer are kept whole.
    Raises: PruneError for an operation whose channels can't be followed, layers that evaluation doesn't reach, and
    unknown names.
    """
    layers = named(network)
    _refuse_unknown(excluded_layers, layers)
    channels = _follow(network, input_shape, excluded_layers)
    _refuse_unreached(network, [name for name in layers if name not in channels.outputs])
    return _groups(channels, layers)


def _refuse_unknown(names: Collection[str], layers: Collection[str]) -> None:
    problems = [
        f"{name!r} is no convolution, linear or batch-norm layer of the network (did you mean {nearest!r}?)"
        for name, nearest in ((name, _nearest(name, layers)) for name in names if name not in layers)
    ]
    if problems:
        raise PruneError(f"excluded_layers: {'; '.join(problems)}")


def _nearest(name: str, layers: Collection[str]) -> str:
    def likeness(layer: str) -> tuple[float, bool]:
        return difflib.SequenceMatcher(None, name, layer).ratio(), layer.startswith(name)

    return max(layers, key=likeness)


def _follow(network: nn.Module, input_shape: trace.Shape, excluded_layers: Collection[str]) -> Channels:
    traced, values = trace.run(network, input_shape)
    channels, layouts = Channels(), dict[fx.Node, Layout]()
    for node in traced.graph.nodes:
        layer = traced.get_submodule(str(node.target)) if node.op == "call_module" else None
        layouts[node] = rules.layout(Step(node, layer, values, layouts, channels))
        if layer is not None and node.target in excluded_layers:
            channels.keep(layouts[node], f"{node.target} is excluded")
    return channels


def _refuse_unreached(network: nn.Module, unreached: list[str]) -> None:
    if unreached:
        more = f" and {len(unreached) - 3} more" if len(unreached) > 3 else ""
        raise PruneError(
            f"{type(network).__name__}: {', '.join(unreached[:3])}{more} are not called in evaluation, so "
            "what they read can't be followed; build the network without them (auxiliary heads) before pruning"
        )


def _groups(channels: Channels, layers: Mapping[str, nn.Module]) -> list[Group]:
    """Channels made by the same layers form a group, numbered as at the outputs of the first of these layers."""
    members = _members(channels, layers)
    groups = [
        Group(len(roots), kept_because=next(filter(None, map(channels.why_kept, roots)), "")) for roots in members
    ]
    number_of = torch.full((len(channels),), -1)
    position_in = torch.full((len(channels),), -1)
    for number, roots in enumerate(members):
        number_of[roots] = number
        position_in[roots] = torch.arange(len(roots))

    def enter(layout: Layout, name: str, side: str) -> None:
        roots = torch.tensor([channels.root(channel) for channel in layout])
        for number in sorted(set(number_of[roots].tolist())):
            if number >= 0:
                getattr(groups[number], side)[name] = torch.where(number_of[roots] == number, position_in[roots], -1)

    for name, layout in channels.outputs.items():
        enter(layout, name, "producers" if makes_channels(layers[name]) else "followers")
    for name, layout in channels.inputs.items():
        enter(layout, name, "consumers")
    return groups


def _members(channels: Channels, layers: Mapping[str, nn.Module]) -> list[list[int]]:
    makers: dict[int, list[str]] = {}
    for name, outputs in channels.outputs.items():
        if not isinstance(layers[name], BATCH_NORMS):
            for channel in outputs:
                makers.setdefault(channels.root(channel), []).append(name)
    members: dict[tuple[str, ...], list[int]] = {}
    for root, names in makers.items():
        if any(makes_channels(layers[name]) for name in names):
            members.setdefault(tuple(names), []).append(root)
    return list(members.values())
