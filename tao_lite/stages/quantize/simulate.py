"""A network that computes in float what its INT8 file will: values and weights are rounded to the file's levels.

PyTorch's program of the exported network calls its values as the ONNX file does, so that levels are taken from there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import getitem
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from tao_lite.data.description import INPUT, OUTPUT
from tao_lite.stages.export.export import Form, exported, samples
from tao_lite.stages.export.graph import Deployed
from tao_lite.stages.quantize import graph, placing
from tao_lite.stages.quantize.graph import Graph
from tao_lite.stages.quantize.placing import Layout, Ranges
from tao_lite.stages.quantize.rounding import folded, rounded, rounded_bias, rounded_weights
from tao_lite.training.trained import Trained

if TYPE_CHECKING:
    from onnx import ModelProto

_aten = torch.ops.aten
_CONV, _LINEAR = _aten.conv2d.default, _aten.linear.default
_BATCH_NORM = _aten._native_batch_norm_legit_no_training.default
# What is one operation in PyTorch, and in ONNX a gate and a product.
_GATES: Mapping[Any, Any] = {
    _aten.silu.default: _aten.sigmoid.default,
    _aten.hardswish.default: _aten.hardsigmoid.default,
}
_MOVING = ("Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
_PREFIX = "network."
ROUNDED = "_rounded"
"""Ends the name of what a tensor of the file is once it is rounded."""


class Levels(NamedTuple):
    """The values that a tensor can have: (level - zero_point) * scale, from the least level to the most."""

    scale: float
    zero_point: int
    least: int
    most: int


@dataclass(frozen=True, eq=False)
class Simulation:
    """How networks of one structure compute in INT8; the levels of weights follow the weights."""

    graph: fx.Graph
    constants: Mapping[str, Tensor]
    missing: tuple[str, ...]
    """Tensors of the file that PyTorch's program does not know, which are not rounded here."""

    def __call__(self, network: nn.Module) -> nn.Module:
        """The network, float32 [B, C, H, W] -> logits, rounded; the parameters are the network's own.

        Batch norm uses its statistics. Source: Jacob et al., arXiv:1712.05877.
        """
        device = next(network.parameters()).device
        named = (*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False))
        tensors = {_PREFIX + name: tensor for name, tensor in named}
        tensors |= {name: tensor.to(device) for name, tensor in self.constants.items()}
        return fx.GraphModule(tensors, self.graph)


def simulation(trained: Trained, network: Graph, ranges: Ranges, layout: Layout) -> Simulation:
    """The network's with all its layers in INT8; the graph and the ranges are of any form of its file."""
    deployed = Deployed(trained.network, trained.pipeline, "tensor").eval()
    made = exported(deployed, samples(Form(), trained.pipeline)[0], Form(), [OUTPUT])
    own = graph.read(made.model_proto.SerializeToString())
    # Forms differ by what is before the first layer, and by nothing after it.
    own_ranges = dict(zip(own.tensors(), (ranges[name] for name in network.tensors()), strict=True))
    levels = _levels(placing.place(own, own_ranges, layout, list(own.layers)))
    assert made.exported_program is not None
    return _Rounding(made.exported_program, own, layout).of(levels)


def _levels(file: "ModelProto") -> dict[str, Levels]:
    """Of each tensor that the file rounds while it computes."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in file.graph.initializer}
    found = {}
    for node in file.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] not in constants:
            scale, zero_point = (numpy_helper.to_array(constants[name]) for name in node.input[1:])
            least, most = (0, 255) if zero_point.dtype == "uint8" else (-128, 127)
            found[node.input[0]] = Levels(float(scale), int(zero_point), least, most)
    return found


class _Rounding:
    """Changes a program, to which weights are inputs, to one that has them and rounds."""

    def __init__(self, program: torch.export.ExportedProgram, file: Graph, layout: Layout) -> None:
        self._program, self._graph, self._layout = program, program.graph, layout
        self._most = 64 if layout.reduce_range else 127
        signature = program.graph_signature
        self._sources = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self._sources |= signature.inputs_to_lifted_tensor_constants
        self._weights = {f"{_PREFIX}{name}.weight" for name in file.layers.values()}
        self._made_by = {output: node for node in file.message.graph.node for output in node.output}
        self._known = {node.name: node for node in self._graph.nodes}

    def of(self, levels: Mapping[str, Levels]) -> Simulation:
        """The simulation of a file with all layers in INT8, whose tensors have these levels."""
        inputs = [node for node in self._graph.find_nodes(op="placeholder") if node.name not in self._sources]
        (self._known[INPUT],) = inputs
        changes: dict[Any, Callable[[fx.Node], None]] = {
            _CONV: self._round_weights,
            _LINEAR: self._round_weights,
            _BATCH_NORM: self._fold,
            _aten.as_strided.default: self._pass_by,
            **dict.fromkeys(_GATES, self._divide),
        }
        self._end_at_logits()
        for node in list(self._graph.nodes):
            if change := changes.get(node.target):
                change(node)
        for name in levels.keys() & self._known.keys():
            self._round(name, levels[name])
        for node in self._graph.nodes:
            if node.target in {_CONV, _LINEAR} and not self._layout.for_tensorrt:
                self._round_bias(node)
        self._graph.eliminate_dead_code()
        used = self._attach()
        constants = {name: tensor for name, tensor in self._program.constants.items() if name in used}
        unknown = sorted(levels.keys() - self._known.keys())
        return Simulation(self._graph, constants, tuple(name for name in unknown if not self._is_rounded(name)))

    def _is_rounded(self, name: str) -> bool:
        """Whether the tensor has the values of another, which has its levels."""
        return name in self._made_by and self._made_by[name].op_type in _MOVING

    def _end_at_logits(self) -> None:
        end = self._graph.output_node()
        arguments: Any = end.args
        ((probabilities,),) = arguments
        end.args = (probabilities.args[0],)

    def _round_weights(self, node: fx.Node) -> None:
        weights: Any = node.args[1]
        if self._sources.get(weights.name) in self._weights:
            node.update_arg(1, self._before(node, rounded_weights, weights, self._most))

    def _fold(self, node: fx.Node) -> None:
        """Batch norm goes into the convolution that only it reads, as in the file; else it stays."""
        arguments: Any = node.args
        source, scale, shift, mean, variance, _, epsilon = arguments
        (result,) = node.users
        if source.target is _CONV and len(source.users) == 1:
            image, levelled, *rest = source.args
            bias, *settings = rest or [None]
            weights = levelled.args[0]
            both = self._before(source, folded, weights, bias, scale, shift, mean, variance, epsilon)
            weights, bias = (self._before(source, getitem, both, index) for index in (0, 1))
            source.args = (image, self._before(source, rounded_weights, weights, self._most), bias, *settings)
            new = source
        else:
            new = self._before(node, F.batch_norm, source, mean, variance, scale, shift, False, 0.0, epsilon)
        result.replace_all_uses_with(new)
        self._known[result.name] = new

    def _divide(self, node: fx.Node) -> None:
        """A gate and a product where the file has these, which may round the gate."""
        product = self._made_by.get(node.name)
        names = [one for one in product.input if self._made_by[one].op_type.endswith("Sigmoid")] if product else []
        if len(names) == 1:
            gate = self._before(node, _GATES[node.target], node.args[0])
            new = self._before(node, _aten.mul.Tensor, node.args[0], gate)
            node.replace_all_uses_with(new)
            self._known |= {names[0]: gate, node.name: new}

    def _pass_by(self, node: fx.Node) -> None:
        """The exporter's word for how a map of one pixel lies in memory, which here may lie otherwise."""
        source: Any = node.args[0]
        if node.meta["val"].shape == source.meta["val"].shape:
            node.replace_all_uses_with(source)
            self._known[node.name] = source

    def _round(self, name: str, levels: Levels) -> None:
        node = self._known[name]
        with self._graph.inserting_after(node):
            new = self._graph.create_node("call_function", rounded, (node, *levels), name=f"{name}{ROUNDED}")
        node.replace_all_uses_with(new, delete_user_cb=lambda user: user is not new)

    def _round_bias(self, node: fx.Node) -> None:
        arguments: Any = node.args
        values, weights, *rest = arguments
        if rest and rest[0] and values.target is rounded and weights.target is rounded_weights:
            node.update_arg(2, self._before(node, rounded_bias, rest[0], *weights.args, values.args[1]))

    def _attach(self) -> set[str]:
        """Weights, buffers and constants become the program's own; the names of those that are there."""
        used = set()
        for node in self._graph.find_nodes(op="placeholder"):
            if (source := self._sources.get(node.name)) is None:
                continue
            if node.users:
                used.add(source)
                with self._graph.inserting_before(node):
                    node.replace_all_uses_with(self._graph.create_node("get_attr", source))
            self._graph.erase_node(node)
        return used

    def _before(self, node: fx.Node, function: Any, *arguments: Any) -> fx.Node:
        with self._graph.inserting_before(node):
            made: fx.Node = self._graph.create_node("call_function", function, arguments)
        return made
