"""What INT8 computes, against whole numbers by hand; and where TensorRT finds it."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tao_lite.stages.quantize import graph, placing
from tao_lite.stages.quantize.graph import Graph
from tao_lite.stages.quantize.placing import Layout

Array = npt.NDArray[Any]

NEEDS_VNNI = pytest.mark.skipif(
    "vnni" not in Path("/proc/cpuinfo").read_text(), reason="without VNNI sums of two products saturate at 16 bits"
)

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(6, 3, 8, 8)).astype(np.float32)
WEIGHTS = {
    "network.first.weight": RNG.normal(size=(8, 3, 3, 3)),
    "network.second.weight": RNG.normal(size=(8, 8, 3, 3)) / 5,
    "network.third.weight": RNG.normal(size=(8, 8, 1, 1)) / 3,
    "network.head.weight": RNG.normal(size=(5, 8)),
    **{f"network.{name}.bias": RNG.normal(size=8) / 4 for name in ("first", "second", "third")},
    "network.head.bias": RNG.normal(size=5),
}


def network() -> Graph:
    """Three convolutions, a shortcut around the middle one, mean over the map, and a linear layer."""

    def layer(kind: str, source: str, name: str, target: str, **settings: Any) -> onnx.NodeProto:
        inputs = [source, f"network.{name}.weight", f"network.{name}.bias"]
        return helper.make_node(kind, inputs, [target], f"node_{name}", **settings)

    padded = {"pads": [1, 1, 1, 1]}
    nodes = [
        layer("Conv", "input_1", "first", "a", **padded),
        helper.make_node("Relu", ["a"], ["stem"], "relu_a"),
        layer("Conv", "stem", "second", "b", **padded),
        helper.make_node("Add", ["b", "stem"], ["sum"], "add"),
        helper.make_node("Relu", ["sum"], ["block"], "relu_b"),
        layer("Conv", "block", "third", "c"),
        helper.make_node("ReduceMean", ["c", "axes"], ["mean"], "mean"),
        helper.make_node("Flatten", ["mean"], ["flat"], "flatten"),
        layer("Gemm", "flat", "head", "logits", transB=1),
    ]
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in WEIGHTS.items()]
    constants.append(numpy_helper.from_array(np.array([-1, -2]), "axes"))
    ports = [
        helper.make_tensor_value_info("input_1", TensorProto.FLOAT, ["batch", 3, 8, 8]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 5]),
    ]
    made = helper.make_graph(nodes, "small", ports[:1], ports[1:], constants)
    message = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return graph.read(message.SerializeToString())


def computed(message: onnx.ModelProto, names: Collection[str]) -> list[Array]:
    """These tensors of the images; ONNX Runtime computes node by node, as they stand."""
    wanted = onnx.ModelProto()
    wanted.CopyFrom(message)
    del wanted.graph.output[:]
    kinds = {
        name: TensorProto.UINT8 if name.endswith("_QuantizeLinear_Output") else TensorProto.FLOAT for name in names
    }
    wanted.graph.output.extend(helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items())
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(wanted.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(list(names), {"input_1": IMAGES})]


@pytest.fixture(scope="module")
def small() -> Graph:
    return network()


@pytest.fixture(scope="module")
def ranges(small: Graph) -> dict[str, tuple[float, float]]:
    """Of what each tensor is on the images."""
    names = [name for name in small.tensors() if name != "input_1"]
    values = dict(zip(names, computed(small.message, names), strict=True)) | {"input_1": IMAGES}
    return {name: (float(value.min()), float(value.max())) for name, value in values.items()}


def levels(low: float, high: float) -> tuple[float, int]:
    """Width of a level and the level of 0, where 0 .. 255 stand for the range, which 0 is in."""
    low, high = min(low, 0.0), max(high, 0.0)
    width = (high - low) / 255
    return width, round(-low / width)


def in_levels(values: Array, width: float, zero: int) -> Array:
    return np.asarray(np.clip(np.rint(values / width) + zero, 0, 255), np.int64)


def convolved(pixels: Array, kernel: Array, pad: int) -> Array:
    """In whole numbers: [B, C, H, W] and [K, C, h, w] -> [B, K, H', W']."""
    padded = np.pad(pixels, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], axis=(2, 3))
    found: Array = np.einsum("bcyxhw,kchw->bkyx", windows, kernel)
    return found


def layer_by_hand(name: str, pixels: Array, width: float, zero: int, pad: int) -> tuple[Array, Array]:
    """Sums of products of whole numbers, int32's, and what a 1 of each channel is worth."""
    weight, bias = WEIGHTS[f"network.{name}.weight"], WEIGHTS[f"network.{name}.bias"]
    weight, bias = weight.astype(np.float32), bias.astype(np.float32)
    widths = np.abs(weight).reshape(len(weight), -1).max(axis=1) / 127
    whole = np.rint(weight / widths.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int64)
    assert np.abs(whole).max() == 127
    start = np.rint(bias / (width * widths)).astype(np.int64)
    if weight.ndim == 2:
        return (pixels - zero) @ whole.T + start, width * widths
    sums = convolved(pixels - zero, whole, pad) + start[:, None, None]
    return sums, (width * widths)[:, None, None]


@NEEDS_VNNI
def test_int8_computes_what_whole_numbers_do_by_hand(small: Graph, ranges: dict[str, tuple[float, float]]) -> None:
    """Each tensor from the levels of those before it, within a level: how halves are rounded is left open."""
    message = placing.place(small, ranges, Layout(), list(small.layers))
    names = ("input_1", "stem", "b", "block", "c", "mean", "flat")
    of_name = dict(zip(names, computed(message, [f"{name}_QuantizeLinear_Output" for name in names]), strict=True))
    read = {name: value.astype(np.int64) for name, value in of_name.items()}
    scale = {name: levels(*ranges[name]) for name in names} | {"flat": levels(*ranges["mean"])}
    by_hand = {"input_1": in_levels(IMAGES, *scale["input_1"]), "flat": read["mean"].reshape(6, 8)}
    for name, source, layer, pad in (
        ("stem", "input_1", "first", 1),
        ("b", "stem", "second", 1),
        ("c", "block", "third", 0),
    ):
        sums, worth = layer_by_hand(layer, read[source], *scale[source], pad)
        by_hand[name] = in_levels(sums * worth, *scale[name])
    terms = [(read[name] - scale[name][1]) * scale[name][0] for name in ("b", "stem")]
    by_hand["block"] = in_levels(terms[0] + terms[1], *scale["block"])
    mean = (read["c"] - scale["c"][1]).sum(axis=(2, 3), keepdims=True) * (scale["c"][0] / 64)
    by_hand["mean"] = in_levels(mean, *scale["mean"])
    for name in names:
        assert np.abs(by_hand[name] - read[name]).max() <= 1, name
        assert len(np.unique(read[name])) > 20, name
    sums, worth = layer_by_hand("head", read["flat"], *scale["flat"], 0)
    (logits,) = computed(message, ["logits"])
    assert np.abs(sums * worth - logits).max() < 1e-4 * np.abs(logits).max()


@NEEDS_VNNI
def test_the_whole_network_is_within_a_few_levels_of_float(
    small: Graph, ranges: dict[str, tuple[float, float]]
) -> None:
    (expected,) = computed(small.message, ["logits"])
    for layout in (Layout(), Layout(for_tensorrt=True), Layout(reduce_range=True)):
        (found,) = computed(placing.place(small, ranges, layout, list(small.layers)), ["logits"])
        assert 0 < np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_weights_of_seven_bits_are_half_as_large(small: Graph, ranges: dict[str, tuple[float, float]]) -> None:
    message = placing.place(small, ranges, Layout(reduce_range=True), list(small.layers))
    weights = [numpy_helper.to_array(tensor) for tensor in message.graph.initializer if tensor.data_type == 3]  # INT8
    assert {int(np.abs(weight).max()) for weight in weights if weight.any()} == {64}


def test_no_layer_in_int8_is_the_network_in_float(small: Graph, ranges: dict[str, tuple[float, float]]) -> None:
    message = placing.place(small, ranges, Layout(), [])
    assert not [node for node in message.graph.node if "Quantize" in node.op_type]
    assert np.array_equal(computed(message, ["logits"])[0], computed(small.message, ["logits"])[0])


def test_layers_left_in_float_take_what_follows_them_along(
    small: Graph, ranges: dict[str, tuple[float, float]]
) -> None:
    assert list(small.layers.values()) == ["first", "second", "third", "head"]
    message = placing.place(small, ranges, Layout(), [node for node, name in small.layers.items() if name != "second"])
    types = {tensor.name: tensor.data_type for tensor in message.graph.initializer}
    assert types["network.second.weight"] == types["network.second.bias"] == TensorProto.FLOAT
    assert types["network.third.weight_quantized"] == TensorProto.INT8
    # The sum reads the convolution as it is; the stem is quantised by the layer that makes it.
    add = next(node for node in message.graph.node if node.op_type == "Add")
    assert "b" in add.input
    onnx.checker.check_model(message, full_check=True)


def test_tensorrt_finds_pairs_at_the_inputs_of_layers_and_on_the_shortcut(
    small: Graph, ranges: dict[str, tuple[float, float]]
) -> None:
    message = placing.place(small, ranges, Layout(for_tensorrt=True), list(small.layers))
    onnx.checker.check_model(message, full_check=True)
    makers = {name: node for node in message.graph.node for name in node.output}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in message.graph.initializer}
    for node in message.graph.node:
        made_by = [makers[name].op_type if name in makers else "" for name in node.input]
        if node.op_type in ("Conv", "Gemm"):
            # A bias of int32 is none that TensorRT takes.
            assert made_by == ["DequantizeLinear", "DequantizeLinear", ""]
            assert constants[node.input[2]].dtype == np.float32
        elif node.op_type == "GlobalAveragePool":
            assert made_by == ["DequantizeLinear"]
        elif node.op_type == "Add":
            # The convolution's own end joins the sum in TensorRT, so it has none.
            assert made_by == ["Conv", "DequantizeLinear"]
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = constants[node.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()


def test_of_two_branches_with_a_layer_one_is_quantised(ranges: dict[str, tuple[float, float]]) -> None:
    """A projection in the shortcut: `c` is computed from the stem here, and added to `b`."""
    changed = network()
    nodes = {node.name: node for node in changed.message.graph.node}
    nodes["node_third"].input[0] = "stem"
    nodes["add"].input[1] = "c"
    nodes["mean"].input[0] = "block"
    order = ["node_first", "relu_a", "node_second", "node_third", "add", "relu_b", "mean", "flatten", "node_head"]
    ordered = [nodes[name] for name in order]
    del changed.message.graph.node[:]
    changed.message.graph.node.extend(ordered)
    fresh = Graph(changed.message)
    message = placing.place(fresh, ranges, Layout(for_tensorrt=True), list(fresh.layers))
    makers = {name: node.op_type for node in message.graph.node for name in node.output}
    add = next(node for node in message.graph.node if node.op_type == "Add")
    assert [makers[name] for name in add.input] == ["Conv", "DequantizeLinear"]
    onnx.checker.check_model(message, full_check=True)
