"""A network's computation as a graph with shapes, found without computing: on the meta device, in evaluation mode."""

import copy
import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, fx, nn

from tao_lite.errors import PruneError
from tao_lite.pruning.layers import LAYERS, known_base

Shape = tuple[int, int, int]  # channels, height, width
MAX_OPERATIONS = 20_000
"""More than any network of a spec file has; what is beyond would take minutes and gigabytes to follow."""
# What a forward function may raise that is traced, or gets an image that it can't take.
FAILURES = (ValueError, TypeError, RuntimeError, AssertionError, AttributeError, LookupError)


def abstract(network: nn.Module) -> nn.Module:
    """A copy with shapes but no numbers, in evaluation mode; takes no memory for weights."""
    tensors = itertools.chain(network.parameters(), network.buffers())
    return copy.deepcopy(network, {id(tensor): _on_meta(tensor) for tensor in tensors}).eval()


def images(network: nn.Module, input_shape: Shape, batch_size: int) -> Tensor:
    """A meta tensor [batch_size, C, H, W] in the network's precision."""
    dtype = next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
    return torch.empty(batch_size, *input_shape, dtype=dtype, device="meta")


def run(network: nn.Module, input_shape: Shape) -> tuple[fx.GraphModule, dict[fx.Node, object]]:
    """The graph of the computation and the (meta) value at each of its nodes.

    Raises: PruneError where the computation depends on data or does not take such an image.
    """
    name = type(network).__name__
    try:
        ghost = abstract(network)
        traced = fx.GraphModule(ghost, Tracer().trace(ghost))
    except FAILURES as error:
        raise PruneError(
            f"{name}: the computation can't be traced, so it can't be pruned: {_first_line(error)}"
        ) from error
    if len(traced.graph.nodes) > MAX_OPERATIONS:
        raise PruneError(
            f"{name}: has {len(traced.graph.nodes):,} operations; more than {MAX_OPERATIONS:,} are not traced"
        )
    interpreter = fx.Interpreter(traced, garbage_collect_values=False)
    try:
        # Two images, so that the batch axis is not mistaken for an axis of size 1.
        interpreter.run(images(network, input_shape, batch_size=2))
    except FAILURES as error:
        shape = "x".join(map(str, input_shape))
        raise PruneError(f"{name} can't take an image of {shape} (CxHxW): {_first_line(error)}") from error
    return traced, interpreter.env


def tensors_in(value: object) -> Iterator[Tensor]:
    """The tensors of a value that is a tensor, a (nested) tuple or list of them, or something else."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors_in(part)


class Tracer(fx.Tracer):
    """Looks into all modules but torch's own, layers with channels, and what is known to compute as torch's own do."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        is_known = isinstance(m, LAYERS) or known_base(m) is not None
        return is_known or super().is_leaf_module(m, module_qualified_name)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _on_meta(tensor: Tensor) -> Tensor:
    moved = tensor.detach().to("meta")
    return nn.Parameter(moved, requires_grad=False) if isinstance(tensor, nn.Parameter) else moved
