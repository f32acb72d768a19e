"""The last feature map of a network: where in the picture its answer still has a place. Found by running it once."""

import contextlib
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class FeatureMap:
    """What a module gives at one of its calls, counted from 0: features [B, C, H, W], or [B, H, W, C]."""

    module: str
    call: int
    size: tuple[int, int]
    """Rows and columns, for images of the size with which it was found."""
    is_channels_last: bool
    is_deep: bool
    """Whether most layers that know places come before it; in a transformer it is the picture cut into patches."""

    def channels_first(self, features: Tensor) -> Tensor:
        """The module's output as [B, C, H, W]."""
        return features.permute(0, 3, 1, 2) if self.is_channels_last else features


@dataclass(frozen=True, kw_only=True)
class _Output:
    name: str
    call: int
    module: nn.Module
    value: Tensor

    @property
    def is_pooled(self) -> bool:
        return "Pool" in type(self.module).__name__

    @property
    def knows_places(self) -> bool:
        """Whether it is of a layer with weights that has more than one position for each image."""
        is_layer = isinstance(self.module, nn.Conv2d | nn.Linear)
        return is_layer and self.value.dim() > 2 and self.value.shape[1:].numel() > max(self.value.shape[1:])


def find(network: nn.Module, image: Tensor) -> FeatureMap | None:
    """The last map of more than one position through which all that the logits know of the image passes.

    Maps that are pooled only, as before a head of several layers, don't count. None where there is no such map. The
    network is in evaluation mode; image: float32 [1, C, H, W], what is in it does not matter.
    """
    outputs = _outputs(network, image)
    pooled = {id(one.value) for one in outputs if one.is_pooled}
    seen = set[int]()
    for place in reversed(range(len(outputs))):
        one = outputs[place]
        is_channels_last = _layout(one.value, image)
        # What changes a tensor in place returns the same one: its last state counts.
        if is_channels_last is None or id(one.value) in pooled | seen:
            continue
        seen.add(id(one.value))
        before, after = (sum(other.knows_places for other in part) for part in (outputs[:place], outputs[place + 1 :]))
        rows, columns = one.value.shape[1:3] if is_channels_last else one.value.shape[2:]
        found = FeatureMap(
            module=one.name,
            call=one.call,
            size=(rows, columns),
            is_channels_last=is_channels_last,
            is_deep=after <= before,
        )
        if _holds_all(network, image, found):
            return found
    return None


@contextlib.contextmanager
def held(network: nn.Module, feature_map: FeatureMap) -> Generator[list[Tensor]]:
    """A list to which each forward pass adds the map, as a leaf of the graph of what follows it.

    What comes before it is in no graph, whatever the mode is; gradients are on from there to the end of the pass.
    """
    leaves, call = list[Tensor](), 0

    def replaced(_: nn.Module, __: object, output: Tensor) -> Tensor | None:
        nonlocal call
        call += 1
        if call - 1 != feature_map.call:
            return None
        torch.set_grad_enabled(True)
        leaves.append(output.detach().requires_grad_())
        return leaves[-1].clone()  # what follows may work in place

    def begin(_: nn.Module, __: object) -> None:
        nonlocal call
        call = 0

    hooks = [network.register_forward_pre_hook(begin)]
    hooks.append(network.get_submodule(feature_map.module).register_forward_hook(replaced))
    was_enabled = torch.is_grad_enabled()
    try:
        yield leaves
    finally:
        torch.set_grad_enabled(was_enabled)
        for hook in hooks:
            hook.remove()


def _outputs(network: nn.Module, image: Tensor) -> Sequence[_Output]:
    """The tensors that modules give in one forward pass, in the order in which they are ready."""
    found, calls = list[_Output](), Counter[str]()

    def keeping(name: str) -> Callable[[nn.Module, object, object], None]:
        def keep(module: nn.Module, _: object, output: object) -> None:
            if isinstance(output, Tensor):
                found.append(_Output(name=name, call=calls[name], module=module, value=output))
            calls[name] += 1

        return keep

    hooks = [module.register_forward_hook(keeping(name)) for name, module in network.named_modules() if name]
    try:
        with torch.no_grad():
            network(image)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _layout(features: Tensor, image: Tensor) -> bool | None:
    """Whether channels are last in what may be a map of the image; None where it is none."""
    if features.dim() != 4 or len(features) != len(image):
        return None
    for is_channels_last, (rows, columns) in ((False, features.shape[2:]), (True, features.shape[1:3])):
        height, width = image.shape[2:]
        is_small = rows * columns > 1 and rows <= height and columns <= width
        if is_small and abs(rows - height * columns / width) <= 1 and abs(columns - width * rows / height) <= 1:
            return is_channels_last
    return None


def _holds_all(network: nn.Module, image: Tensor, feature_map: FeatureMap) -> bool:
    """Whether the logits depend on the image by way of the map only."""
    with torch.enable_grad(), held(network, feature_map) as leaves:
        inputs = image.clone().requires_grad_()
        total = network(inputs).sum()
        direct, through = torch.autograd.grad(total, [inputs, leaves[-1]], allow_unused=True)
    return direct is None and through is not None
