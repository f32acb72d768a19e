"""An exported network, made ready for INT8: batch norm folded, and known which of its nodes have an INT8 form."""

import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tao_lite.errors import RunError
from tao_lite.files import reading
from tao_lite.training import runtimes

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operations that are layers where they have weights of their own."""
FOLLOWING = (
    *("Add", "AveragePool", "Clip", "Concat", "Flatten", "GlobalAveragePool", "LeakyRelu", "MaxPool", "Mul", "Pad"),
    *("Relu", "Reshape", "Sigmoid", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
)
"""Operations between layers that ONNX Runtime has an INT8 form of."""
INT8 = ("QuantizeLinear", "DequantizeLinear")

_MAX_BYTES = 2**31
_MIXING = ("Add", "Concat", "Mul")  # with a constant, such as of a normalisation, they stay in float
_MAPS = ({2, 3}, {-1, -2})  # axes of a picture's rows and columns


@dataclass(frozen=True, eq=False)
class Graph:
    """The network's message, its shapes known. A layer is called as in PyTorch, a node by its name in the file."""

    message: "ModelProto"

    @cached_property
    def constants(self) -> frozenset[str]:
        """Names of tensors that are in the file."""
        return frozenset(tensor.name for tensor in self.message.graph.initializer)

    @cached_property
    def layers(self) -> Mapping[str, str]:
        """The nodes with weights, in the order of computation: node and name."""
        found = [node for node in self.message.graph.node if self._is_layer(node)]
        names = [node.input[1].removeprefix("network.").removesuffix(".weight") for node in found]
        counts = Counter(names)
        return {
            node.name: name if counts[name] == 1 else f"{name} ({node.name})"
            for node, name in zip(found, names, strict=True)
        }

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """How many weights each layer has, by node."""
        elements = {tensor.name: math.prod(tensor.dims) for tensor in self.message.graph.initializer}
        return {node.name: elements[node.input[1]] for node in self.message.graph.node if node.name in self.layers}

    @cached_property
    def sources(self) -> Mapping[str, frozenset[str]]:
        """For each node the nearest layers that its inputs come from, none before the first; of a layer, itself."""
        of_tensor: dict[str, frozenset[str]] = {}
        found = {}
        for node in self.message.graph.node:
            inputs = (of_tensor.get(name, frozenset()) for name in node.input)
            found[node.name] = frozenset({node.name} if node.name in self.layers else set().union(*inputs))
            of_tensor |= dict.fromkeys(node.output, found[node.name])
        return found

    @cached_property
    def followers(self) -> frozenset[str]:
        """The nodes between layers that have an INT8 form."""
        return frozenset(node.name for node in self._inside() if node.op_type in FOLLOWING and not self._mixes(node))

    def left(self) -> Mapping[str, int]:
        """How many nodes of each kind have no INT8 form, all those after the normalisation."""
        known = self.layers.keys() | self.followers
        return Counter(node.op_type for node in self._inside() if node.name not in known)

    def tensors(self) -> tuple[str, ...]:
        """What layers and their followers read and write: whose ranges are needed."""
        known = self.layers.keys() | self.followers
        nodes = [node for node in self.message.graph.node if node.name in known]
        names = dict.fromkeys(name for node in nodes for name in (*node.input, *node.output))
        return tuple(name for name in names if name in self.shapes and name not in self.constants)

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Of tensors of floats, for one image: 1 where a size is open."""
        graph = self.message.graph
        kinds = {one.name: one.type.tensor_type for one in (*graph.value_info, *graph.input, *graph.output)}
        return {
            name: tuple(size.dim_value or 1 for size in kind.shape.dim)
            for name, kind in kinds.items()
            if kind.elem_type == 1  # FLOAT
        }

    @property
    def batch_size(self) -> int:
        """Of a file that is made for one; 0: any number."""
        sizes = self.message.graph.input[0].type.tensor_type.shape.dim
        return int(sizes[0].dim_value)

    def _inside(self) -> Iterator["NodeProto"]:
        """The nodes from the first layer on."""
        return (node for node in self.message.graph.node if self.sources[node.name])

    def _is_layer(self, node: "NodeProto") -> bool:
        return node.op_type in WEIGHTED and len(node.input) > 1 and node.input[1] in self.constants

    def _mixes(self, node: "NodeProto") -> bool:
        return node.op_type in _MIXING and any(name in self.constants for name in node.input)


def read(content: bytes) -> Graph:
    """The network in the content of an ONNX file.

    Raises:
        RunError: it has no layer, or ONNX Runtime can't simplify it.
    """
    from onnx import shape_inference

    message = _folded(content)
    constants = {tensor.name: tensor for tensor in message.graph.initializer}
    for number, node in enumerate(message.graph.node):
        node.name = node.name or f"node_{number}"
        _pool_whole_maps(node, constants)
    del message.graph.value_info[:]
    graph = Graph(shape_inference.infer_shapes(message))
    if not graph.layers:
        raise RunError(
            "quantize: the network has no layer with weights that INT8 could make smaller; export it as it is"
        )
    return graph


def _folded(content: bytes) -> "ModelProto":
    """What ONNX Runtime makes of it for every machine: constants computed, batch norm in the layers before it."""
    import onnx

    onnxruntime = runtimes.import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return onnx.ModelProto.FromString(reading.read(path, RunError, max_bytes=_MAX_BYTES))


def _pool_whole_maps(node: "NodeProto", constants: Mapping[str, Any]) -> None:
    """A mean over rows and columns, as PyTorch writes its global pooling, becomes that, which has an INT8 form."""
    from onnx import numpy_helper

    if node.op_type != "ReduceMean" or len(node.input) < 2 or node.input[1] not in constants:
        return
    settings = {one.name: one.i for one in node.attribute}
    axes = set(numpy_helper.to_array(constants[node.input[1]]).tolist())
    if settings.get("keepdims", 1) and axes in _MAPS:
        node.op_type = "GlobalAveragePool"
        del node.input[1:]
        del node.attribute[:]
