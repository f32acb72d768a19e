"""Where a network computes in INT8: pairs of QuantizeLinear and DequantizeLinear, laid out for who will run it."""

import copy
import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tao_lite.stages.quantize.graph import WEIGHTED, Graph
from tao_lite.training import runtimes

if TYPE_CHECKING:
    from onnx import ModelProto

Ranges = Mapping[str, tuple[float, float]]
"""Least and largest value of each tensor."""

# TensorRT moves pairs through other pools and activations itself; of sums, see _quantize_residuals. Source: NVIDIA's
# documentation of TensorRT, "Explicit quantization", "Q/DQ placement recommendations".
_POOLS = ("AveragePool", "GlobalAveragePool")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What INT8 is to look like."""

    for_tensorrt: bool = False
    reduce_range: bool = False


def place(graph: Graph, ranges: Ranges, layout: Layout, layers: Collection[str]) -> "ModelProto":
    """The network with these layers (nodes of `graph.layers`) in INT8, and what is between them; the rest in float."""
    chosen = _chosen(graph, layers, _POOLS if layout.for_tensorrt else None)
    message = copy.deepcopy(graph.message)
    if chosen:
        quantizer = _quantizer(message, ranges, layout, chosen)
        with _silent():
            quantizer.quantize_model()
        if layout.for_tensorrt:
            _quantize_residuals(quantizer.model, graph, ranges, layers)
        quantizer.model.topological_sort()
        message = quantizer.model.model
    _strip(message)
    _share_constants(message.graph)
    return message


def _chosen(graph: Graph, layers: Collection[str], kinds: Collection[str] | None) -> dict[str, str]:
    """Node and operation: the layers, and what is computed from none but them; of that only some kinds, if given."""
    wanted = frozenset(layers)
    return {
        node.name: node.op_type
        for node in graph.message.graph.node
        if node.name in wanted
        or (
            node.name in graph.followers
            and (kinds is None or node.op_type in kinds)
            and graph.sources[node.name] <= wanted
        )
    }


def _quantizer(message: "ModelProto", ranges: Ranges, layout: Layout, chosen: Mapping[str, str]) -> Any:
    runtimes.import_onnxruntime()
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import TensorData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import add_infer_metadata

    add_infer_metadata(message)  # shapes are known
    kinds = sorted(set(chosen.values()))
    options: dict[str, Any] = {"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]}  # logits keep their digits
    if layout.for_tensorrt:
        options = {
            "OpTypesToExcludeOutputQuantization": kinds,
            "ActivationSymmetric": True,
            "QuantizeBias": False,
        }
    return QDQQuantizer(
        message,
        True,  # per channel
        layout.reduce_range,
        QuantType.QInt8,
        QuantType.QInt8 if layout.for_tensorrt else QuantType.QUInt8,
        {name: TensorData(lowest=np.float32(low), highest=np.float32(high)) for name, (low, high) in ranges.items()},
        list(chosen),
        [],
        kinds,
        options,
    )


def _quantize_residuals(model: Any, graph: Graph, ranges: Ranges, layers: Collection[str]) -> None:
    """One branch of each sum is quantised where none is yet: the other then joins the layer that computes it."""
    wanted, producers = frozenset(layers), model.output_name_to_node()
    for node in list(model.nodes()):
        if node.op_type != "Add" or not graph.sources[node.name] <= wanted or node.name not in graph.followers:
            continue
        made_by = [producers.get(name) for name in node.input]
        if any(one is not None and one.op_type == "DequantizeLinear" for one in made_by):
            continue
        # The branch without a layer of its own at its end is the shortcut; of two with one, the second.
        place = next((i for i, one in enumerate(made_by) if one is None or one.op_type not in WEIGHTED), 1)
        node.input[place] = _pair(model, node, node.input[place], ranges)


def _pair(model: Any, node: Any, tensor: str, ranges: Ranges) -> str:
    """The tensor quantised symmetrically, for this node alone; its name."""
    from onnx import helper, numpy_helper

    prefix = f"{node.name}_{tensor}"
    scale = np.float32(max(abs(value) for value in ranges[tensor]) / 127 or 1)
    names = [f"{prefix}_scale", f"{prefix}_zero_point"]
    for name, value in zip(names, (scale, np.int8(0)), strict=True):
        model.add_initializer(numpy_helper.from_array(np.asarray(value), name))
    quantized, dequantized = f"{prefix}_quantized", f"{prefix}_dequantized"
    model.add_node(helper.make_node("QuantizeLinear", [tensor, *names], [quantized], f"{prefix}_quantize"))
    model.add_node(helper.make_node("DequantizeLinear", [quantized, *names], [dequantized], f"{prefix}_dequantize"))
    return dequantized


def _strip(message: "ModelProto") -> None:
    """Without what was needed on the way: shapes, notes and domains of operations that it has not."""
    del message.graph.value_info[:]
    del message.metadata_props[:]
    used = {node.domain for node in message.graph.node} | {""}
    kept = [one for one in message.opset_import if one.domain in used]
    del message.opset_import[:]
    message.opset_import.extend(kept)


def _share_constants(graph: Any) -> None:
    """Each constant once: the zeros of each layer's channels are a tenth of a small network."""
    first: dict[tuple[object, ...], str] = {}
    same: dict[str, str] = {}
    for tensor in graph.initializer:
        same[tensor.name] = first.setdefault(_content(tensor), tensor.name)
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
    kept = [tensor for tensor in graph.initializer if same[tensor.name] == tensor.name]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _content(tensor: Any) -> tuple[object, ...]:
    from onnx import numpy_helper

    return tensor.data_type, tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes()


@contextmanager
def _silent() -> Iterator[None]:
    """Without the library's warnings about what it leaves in float, which we tell."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
