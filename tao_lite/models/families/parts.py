"""The blocks of a network that nobody numbered: modules that hold all its tensors but those of the head, in order."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tao_lite.models import head

# Modules that hold one block after the other.
_CONTAINERS = ("features", "encoder", "layers", "blocks", "stages", "trunk_output")


def in_order(network: nn.Module) -> list[tuple[str, ...]]:
    """Modules that follow one another; normalisation goes with what it normalises."""
    found: list[tuple[str, ...]] = []
    for path in _followers(network, "", head.find(network)):
        if found and isinstance(network.get_submodule(path), _BatchNorm | nn.LayerNorm):
            found[-1] += (path,)
        else:
            found.append((path,))
    return found


def grouped(network: nn.Module, groups: Mapping[str, int]) -> list[tuple[str, ...]]:
    """Largest modules whose parameters are all of one group: parameter name -> number of its group."""
    found: dict[int, list[str]] = defaultdict(list)
    # Statistics and other buffers go with the parameters before them.
    numbers, number = {}, 0
    for name in network.state_dict():
        number = groups.get(name, number)
        numbers[name] = number
    for path, group in _of_one_group(network, "", numbers, head.find(network)):
        found[group].append(path)
    return [tuple(found[group]) for group in sorted(found)]


def _followers(network: nn.Module, path: str, head_name: str) -> Iterator[str]:
    for name, child in network.get_submodule(path).named_children():
        inner = f"{path}.{name}".lstrip(".")
        if inner == head_name or not child.state_dict():
            continue
        if name in _CONTAINERS or f"{head_name}.".startswith(f"{inner}."):
            yield from _followers(network, inner, head_name)
        else:
            yield inner


def _of_one_group(
    network: nn.Module, path: str, numbers: Mapping[str, int], head_name: str
) -> Iterator[tuple[str, int]]:
    for name, child in network.get_submodule(path).named_children():
        inner = f"{path}.{name}".lstrip(".")
        held = {numbers[f"{inner}.{tensor}"] for tensor in child.state_dict()}
        if inner == head_name or not held:
            continue
        if len(held) > 1 or head_name.startswith(f"{inner}."):
            yield from _of_one_group(network, inner, numbers, head_name)
        else:
            yield inner, held.pop()
