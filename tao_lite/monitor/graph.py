"""What a network computes, as a graph: recorded while it runs once."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True, kw_only=True)
class Node:
    """An operation; its name begins with the names of the modules around it, each with a slash."""

    name: str
    operation: str  # torch's function or, where none is seen, the module's class
    inputs: tuple[str, ...]  # names of the nodes whose results it reads
    shape: tuple[int, ...]  # of its first result


def record(network: nn.Module, images: Tensor) -> list[Node]:
    """The operations on the images, float [B, C, H, W], in their order; leaves the network in eval mode."""
    network.eval()
    recorder = _Recorder(images)
    with torch.no_grad(), recorder.watching(network), recorder:
        network(images)
    return recorder.nodes


class _Recorder(TorchFunctionMode):
    """Notes each operation that reads what follows from the images.

    By functions rather than by dispatch: TorchDispatchMode would load torch's compiler, which takes a second.
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.nodes = [Node(name="images", operation="Placeholder", inputs=(), shape=tuple(images.shape))]
        self._scopes: list[str] = []
        self._makers = {id(images): "images"}
        # An id is taken again once its tensor is gone.
        self._alive: list[object] = [images]

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Collection[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = list(_tensors((args, kwargs)))
        found = func(*args, **(kwargs or {}))
        self._note(func.__name__, given, list(_tensors(found)))
        return found

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """While the network runs, know in which module that is."""
        with ExitStack() as stack:
            for path, module in network.named_modules():
                if path:
                    stack.callback(module.register_forward_pre_hook(self._enter(path.replace(".", "/"))).remove)
                    stack.callback(module.register_forward_hook(self._leave).remove)
            yield

    def _enter(self, scope: str) -> Callable[[nn.Module, Any], None]:
        return lambda *_: self._scopes.append(scope)

    def _leave(self, module: nn.Module, given: Any, found: Any) -> None:
        """A compiled module's functions are not seen; it is an operation itself then."""
        results = list(_tensors(found))
        if not any(id(result) in self._makers for result in results):
            self._note(type(module).__name__, list(_tensors(given)), results)
        self._scopes.pop()

    def _note(self, operation: str, given: Sequence[Tensor], results: Sequence[Tensor]) -> None:
        inputs = tuple(self._makers[id(tensor)] for tensor in given if id(tensor) in self._makers)
        if inputs and results:
            name = "/".join([*self._scopes[-1:], f"{operation}_{len(self.nodes)}"])
            self.nodes.append(Node(name=name, operation=operation, inputs=inputs, shape=tuple(results[0].shape)))
            self._makers |= {id(result): name for result in results}
            self._alive += results


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in nested sequences and mappings."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)
