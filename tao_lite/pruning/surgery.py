"""The cut: build the smaller network, or its masked twin, and rebuild it from a checkpoint's tensors."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tao_lite.errors import CheckpointError, PruneError
from tao_lite.pruning import layers
from tao_lite.pruning.plans import Plan
from tao_lite.pruning.trace import Shape

TOLERANCE = 1e-3
"""Difference of a cut network's outputs from its masked twin's, as a share of the largest: what rounding may do."""


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


def check(network: nn.Module, plan: Plan, smaller: nn.Module, input_shape: Shape) -> None:
    """Compare a cut network with its masked twin on two random images.

    A forward function may use numbers of channels that it wrote down before the cut, which no trace shows.
    Raises: PruneError where they differ or the cut network can't compute.
    """
    images = torch.randn(2, *input_shape, generator=torch.Generator().manual_seed(0))
    masked = mask(network, plan).eval()
    images = images.to(next(network.parameters()))
    try:
        with torch.inference_mode():
            expected, found = masked(images), smaller.eval()(images)
    except (RuntimeError, ValueError, AssertionError) as error:
        problem = str(error).partition("\n")[0]
        raise PruneError(f"{type(network).__name__} can't compute once it is cut: {problem}") from error
    if expected.isfinite().all() and not torch.allclose(found, expected, rtol=0, atol=TOLERANCE * _scale(expected)):
        raise PruneError(
            f"{type(network).__name__}: the cut network does not compute what is left of the original (off by "
            f"{float((found - expected).abs().max() / _scale(expected)):.2g} of the output's scale); it was not written"
        )


def _scale(logits: Tensor) -> float:
    return max(float(logits.abs().max()), 1e-6)


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
