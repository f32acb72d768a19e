"""What each operation does to the layout of channels. A new operation is a row in RULES."""

import operator
from collections.abc import Callable, Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import fx, nn
from torchvision.ops import stochastic_depth

from tao_lite.errors import PruneError
from tao_lite.pruning.channels import Layout
from tao_lite.pruning.layers import BATCH_NORMS, LAYERS, is_depthwise, known_base, makes_channels, width
from tao_lite.pruning.step import Step
from tao_lite.pruning.trace import tensors_in


def layout(step: Step) -> Layout:
    """The layout of what an operation returns; empty where that is not a tensor.

    Raises: PruneError for an operation that is not in RULES and reads channels that may be cut.
    """
    if step.node.op == "placeholder":
        return _stays(step, "touches the input")
    if step.node.op == "output":
        return _stays(step, "reaches the output")
    if step.node.op == "get_attr":
        return _stays(step, "meets a constant")
    if next(tensors_in(step.values[step.node]), None) is None:
        return []
    if step.layer is None:
        return RULES.get(step.node.target, _unknown)(step)
    kind = known_base(step.layer) or type(step.layer)
    return RULES.get(kind, _opaque if isinstance(step.layer, LAYERS) else _unknown)(step)


def _stays(step: Step, reason: str) -> Layout:
    for node in step.node.all_input_nodes:
        step.channels.keep(step.layouts[node], reason)
    result = step.channels.new(sum(t.shape[1] for t in tensors_in(step.values[step.node]) if t.dim() > 1))
    step.channels.keep(result, reason)
    return result


def _unknown(step: Step) -> Layout:
    reads = [channel for node in step.node.all_input_nodes for channel in step.layouts[node]]
    sources = step.channels.sources(reads)
    if sources:
        what = getattr(step.node.target, "__name__", step.node.target)
        kind = f"{type(step.layer).__name__} {what}" if step.layer is not None else what
        raise PruneError(
            f"{step.node.name} ({kind}): channels can't be followed through this operation; "
            f"to prune the other layers, put {' '.join(sources)} in excluded_layers"
        )
    return _stays(step, f"passes {step.node.name}")


def _opaque(step: Step) -> Layout:
    """A layer of a class that may do anything with its weights: like an unknown operation, and it stays whole."""
    result, layer = _unknown(step), cast("nn.Module", step.layer)
    outputs = step.channels.new(width(layer))
    step.channels.keep(outputs, f"{step.name} is a {type(layer).__name__}, whose channels may depend on one another")
    step.channels.record(step.name, outputs, step.tensors()[0][1] if makes_channels(layer) else None)
    return result


def _whole(step: Step) -> Layout:
    return _stays(step, f"needed whole by {step.node.name}")


def _convolution(step: Step) -> Layout:
    conv, channels = cast("nn.Conv2d", step.layer), step.channels
    inputs = step.tensors()[0][1]
    if is_depthwise(conv):
        outputs = _repeated(inputs, conv.out_channels // conv.groups)
        channels.record(step.name, outputs)
        return outputs
    outputs = channels.new(conv.out_channels)
    channels.record(step.name, outputs, inputs)
    # A grouped convolution can only stay one if each of its groups loses the same positions.
    for side in (inputs, outputs):
        width = len(side) // conv.groups
        for start in range(width, len(side), width):
            channels.tie(side[:width], side[start : start + width])
    return outputs


def _linear(step: Step) -> Layout:
    value, inputs = step.tensors()[0]
    linear = cast("nn.Linear", step.layer)
    outputs = step.channels.new(linear.out_features)
    if value.dim() == 2:
        step.channels.record(step.name, outputs, inputs)
        return outputs
    result = _unknown(step)  # the features are not on axis 1
    inputs = step.channels.new(linear.in_features)
    step.channels.keep(outputs + inputs, f"passes {step.node.name}")
    step.channels.record(step.name, outputs, inputs)
    return result


def _batch_norm(step: Step) -> Layout:
    outputs = _same(step)
    step.channels.record(step.name, outputs)
    return outputs


def _same(step: Step) -> Layout:
    value, result = step.tensors()[0]
    return result if value.shape[:2] == step.shape()[:2] else _unknown(step)


def _reduced(step: Step) -> Layout:
    value, result = step.tensors()[0]
    dims = step.argument(1, "dim", None)
    dims = dims if isinstance(dims, (tuple, list)) else (dims,)
    spatial = all(isinstance(dim, int) and dim % value.dim() >= 2 for dim in dims)
    return result if spatial else _unknown(step)


def _flattened(step: Step) -> Layout:
    value, result = step.tensors()[0]
    shape = step.shape()
    if shape[:2] == value.shape[:2]:
        return result
    if len(shape) == 2 and shape[0] == value.shape[0]:
        return _repeated(result, shape[1] // value.shape[1])
    return _unknown(step)


def _viewed(step: Step) -> Layout:
    sizes = step.argument(1, "shape", ())
    sizes = sizes if isinstance(sizes, (tuple, list)) else step.node.args[1:]
    # A number of channels written in the forward function would be wrong after the cut.
    written = any(isinstance(size, int) and size != -1 for size in sizes[1:2])
    return _unknown(step) if written else _flattened(step)


def _indexed(step: Step) -> Layout:
    index = step.argument(1, "", ())
    all_channels = isinstance(index, tuple) and index[:2] == (slice(None), slice(None))
    return _same(step) if all_channels else _whole(step)


def _joined(step: Step) -> Layout:
    """Ties the channels of element-wise operands; one that is spread over all channels stays as it is."""
    shape, tensors = step.shape(), [(value, result) for value, result in step.tensors() if value.numel() > 1]
    alike = [result for value, result in tensors if value.dim() == len(shape) and value.shape[1] == shape[1]]
    for value, result in tensors:
        if value.dim() != len(shape):
            return _stays(step, f"meets another rank in {step.node.name}")
        if value.shape[1] != shape[1]:
            step.channels.keep(result, f"spread over channels by {step.node.name}")
    for result in alike[1:]:
        step.channels.tie(alike[0], result)
    return alike[0] if alike else _unknown(step)


def _concatenated(step: Step) -> Layout:
    parts, dim = step.argument(0, "tensors", ()), step.argument(1, "dim", 0)
    if not isinstance(parts, (tuple, list)) or not isinstance(dim, int):
        return _unknown(step)
    if dim % len(step.shape()) != 1:
        return _joined(step)
    return [channel for part in parts if isinstance(part, fx.Node) for channel in step.layouts[part]]


def _repeated(channels: Layout, times: int) -> Layout:
    return [channel for channel in channels for _ in range(times)]


_SAME = (
    *(nn.Identity, nn.Dropout, nn.Dropout2d, nn.ZeroPad2d, nn.Upsample),
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Softplus, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh),
    *(F.dropout, F.dropout2d, F.pad, F.interpolate, stochastic_depth),
    *(F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d),
    *(F.relu, F.relu6, F.leaky_relu, F.elu, F.gelu, F.silu, F.mish),
    *(F.sigmoid, F.tanh, F.softplus, F.hardsigmoid, F.hardswish, F.hardtanh),
    *(torch.relu, torch.sigmoid, torch.tanh, torch.clamp, torch.neg, torch.abs, torch.exp),
    *("relu", "relu_", "sigmoid", "tanh", "clamp", "neg", "abs", "exp", "contiguous", "clone", "detach", "float", "to"),
)
_JOINED = (
    *(operator.add, operator.iadd, operator.sub, operator.isub, operator.mul, operator.imul, operator.truediv),
    *(torch.add, torch.sub, torch.mul, torch.div, torch.maximum, torch.minimum),
    *("add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_", "maximum", "minimum"),
)
_WHOLE = (
    *(nn.Softmax, nn.LogSoftmax, F.softmax, F.log_softmax, torch.softmax, torch.log_softmax, "softmax", "log_softmax"),
    *(torch.chunk, torch.split, "chunk", "split"),
)
_REDUCED = (torch.mean, torch.amax, torch.sum, "mean", "amax", "sum")
_FLATTENED = (nn.Flatten, torch.flatten, torch.squeeze, torch.unsqueeze, "flatten", "squeeze", "unsqueeze")

RULES: Mapping[object, Callable[[Step], Layout]] = {
    nn.Conv2d: _convolution,
    nn.Linear: _linear,
    **dict.fromkeys(BATCH_NORMS, _batch_norm),
    **dict.fromkeys(_SAME, _same),
    **dict.fromkeys(_JOINED, _joined),
    **dict.fromkeys((torch.cat, torch.concat), _concatenated),
    **dict.fromkeys(_FLATTENED, _flattened),
    **dict.fromkeys((torch.reshape, "view", "reshape"), _viewed),
    **dict.fromkeys(_REDUCED, _reduced),
    **dict.fromkeys(_WHOLE, _whole),
    operator.getitem: _indexed,
}
