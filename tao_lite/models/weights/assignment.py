"""Weights into a network by name and shape, with an account of every tensor."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tao_lite.errors import CheckpointError
from tao_lite.models.weights.recognise import looks_like


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What became of every tensor. Each one of the network is in exactly one of the first six."""

    source: str
    # Taken as they are.
    matched: tuple[str, ...]
    # Taken after summing or repeating the input channels.
    converted: tuple[str, ...]
    # Taken less the bias of the convolution before, which the network lacks: means of batch normalisations.
    folded: tuple[str, ...] = ()
    # Not in the file, set so that the function is kept: identity projections, zero biases, batch counters.
    neutral: tuple[str, ...]
    # Not in the file, left as they were.
    missing: tuple[str, ...]
    # Of another shape, left as they were: name -> shape in the file, shape in the network.
    mismatched: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    # In the file only.
    unused: tuple[str, ...]
    # Tensors of the head that were left as they were.
    new_head: tuple[str, ...]
    # What the file's tensor names and shapes look like, or "".
    looks_like: str
    # Classes of the file's own head, where they are not those of the network and so the head was not taken.
    other_classes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One to four lines for the log."""
        loaded = len(self.matched) + len(self.converted) + len(self.folded)
        total = loaded + len(self.neutral) + len(self.missing) + len(self.mismatched)
        first = f"{self.source}: took {loaded} of the network's {total} tensors"
        if self.converted:
            first += f", {listed(self.converted)} with its input channels converted"
        if self.folded:
            first += f"; {len(self.folded)} biases that it lacks went into the batch normalisation behind them"
        if self.neutral:
            first += f"; {len(self.neutral)} that the file lacks start neutral (identity or zero)"
        lines = [first]
        if self.new_head:
            tensors = listed(self.new_head if self.other_classes else map(self._shapes, self.new_head))
            why = f"; the file's is for other classes: {listed(self.other_classes)}" if self.other_classes else ""
            lines.append(f"New head, left at its initialisation: {tensors}{why}")
        left = [name for name in (*self.missing, *self.mismatched) if name not in self.new_head]
        if left:
            lines.append(f"Left at their initialisation: {len(left)} tensors, {listed(map(self._shapes, left))}")
        unused = [name for name in self.unused if name not in self.new_head]
        if unused:
            hint = f"; the file looks like {self.looks_like}" if self.looks_like else ""
            lines.append(f"Unused tensors of the file: {len(unused)}, {listed(unused)}{hint}")
        return "\n".join(lines)

    def _shapes(self, name: str) -> str:
        if name not in self.mismatched:
            return f"{name} (not in the file)"
        return "{} ({} in the file, {} here)".format(name, *map(list, self.mismatched[name]))


def assign(network: nn.Module, state_dict: Mapping[str, Tensor], *, head: str, source: str = "weights") -> Assignment:
    """Account of copying into the network all tensors whose name and shape fit; the network is untouched on errors.

    Where the file lacks an added projection (all_projections) or bias, it is set so that the function in evaluation
    mode is kept; so it is where the network lacks a bias before a batch normalisation. A first convolution of 3 input
    channels is summed for 1-channel input; one of 1 channel is spread over 3, so that grey images give the same.
    `head` names the module that makes the logits, `source` stands in messages.

    Raises:
        CheckpointError: under half of the network's tensors are in the file, or values are not finite.
    """
    own = network.state_dict()
    converted, (folded, biases) = _converted(network, state_dict), _folded(network, state_dict)
    given = {**state_dict, **converted, **folded}
    neutral = {name: tensor for name, tensor in _neutral(network, state_dict, head).items() if name not in given}
    fitting = {name: given[name] for name in own if name in given and given[name].shape == own[name].shape}
    report = Assignment(
        source=source,
        matched=tuple(name for name in fitting if name not in converted and name not in folded),
        converted=tuple(converted),
        folded=tuple(folded),
        neutral=tuple(neutral),
        missing=tuple(name for name in own if name not in given and name not in neutral),
        mismatched={
            name: (tuple(given[name].shape), tuple(own[name].shape))
            for name in own
            if name in given and name not in fitting
        },
        unused=tuple(name for name in state_dict if name not in own and name not in biases),
        new_head=tuple(name for name in own if name.startswith(f"{head}.") and name not in fitting),
        looks_like=looks_like(state_dict),
    )
    _refuse_misfit(report, looks_like(own))
    _refuse_non_finite(source, fitting)
    with torch.no_grad():
        for name, tensor in {**fitting, **neutral}.items():
            own[name].copy_(tensor)
    return report


def listed(names: Iterable[str]) -> str:
    """The first three names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _converted(network: nn.Module, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weight of the first convolution for the network's channels, where the file has 3 and it has 1 or the reverse."""
    for module_name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            name = f"{module_name}.weight"
            own, weight = tuple(module.weight.shape), state_dict.get(name, torch.empty(0))
            if own[1] == 1 and tuple(weight.shape) == (own[0], 3, *own[2:]):
                return {name: weight.sum(dim=1, keepdim=True)}
            if own[1] == 3 and tuple(weight.shape) == (own[0], 1, *own[2:]):
                return {name: weight.expand(-1, 3, -1, -1) / 3}
            return {}
    return {}


def _folded(network: nn.Module, state_dict: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Means of batch normalisations less biases that only the file has, by name, and the names of those biases."""
    # timm's batch normalisation holds the activation that follows it.
    steps = [it for it in network.named_modules() if isinstance(it[1], nn.BatchNorm2d) or not [*it[1].children()]]
    means, biases = {}, []
    for (name, layer), (behind, norm) in itertools.pairwise(steps):
        bias, mean = state_dict.get(f"{name}.bias"), state_dict.get(f"{behind}.running_mean")
        if not isinstance(layer, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d) or layer.bias is not None:
            continue
        if bias is not None and mean is not None and bias.shape == mean.shape:
            means[f"{behind}.running_mean"] = mean - bias
            biases.append(f"{name}.bias")
    return means, biases


def _neutral(network: nn.Module, state_dict: Mapping[str, Tensor], head: str) -> dict[str, Tensor]:
    """Values that keep the function where the file has none, by name; a head that it lacks is left as it is."""
    values = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None and name != head:
            values[f"{name}.bias"] = torch.zeros(module.out_channels)
        if isinstance(module, nn.BatchNorm2d):
            values[f"{name}.num_batches_tracked"] = torch.tensor(0)
        if name.endswith("downsample") and not any(key.startswith(f"{name}.") for key in state_dict):
            values |= {f"{name}.{key}": value for key, value in _identity(module).items()}
    return values


def _identity(projection: nn.Module) -> dict[str, Tensor]:
    """State of a projection (1x1 convolution, batch normalisation) that passes its input on in evaluation mode."""
    convolution, norm = projection.get_submodule("0"), projection.get_submodule("1")
    if not isinstance(convolution, nn.Conv2d) or convolution.in_channels != convolution.out_channels:
        return {}
    width = convolution.out_channels
    state = {"0.weight": torch.eye(width)[:, :, None, None]}
    if isinstance(norm, nn.BatchNorm2d):
        state |= {"1.running_mean": torch.zeros(width), "1.running_var": torch.ones(width)}
        state |= {"1.weight": torch.full((width,), 1 + norm.eps).sqrt(), "1.bias": torch.zeros(width)}
    return state


def _refuse_misfit(report: Assignment, network_looks_like: str) -> None:
    taken = len(report.matched) + len(report.converted) + len(report.folded)
    expected = taken + len(report.missing) + len(report.mismatched)
    if 2 * taken < expected:
        kind = report.looks_like or f"no architecture known here, with {listed(report.unused) or 'no other tensors'}"
        raise CheckpointError(
            f"{report.source}: only {taken} of {expected} tensors of the network are in it with the same shape; "
            f"it looks like {kind}, the network is {network_looks_like or 'another'}; "
            "change model_config or train_config.pretrained_model_path"
        )


def _refuse_non_finite(source: str, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise CheckpointError(f"{source}: {name} holds values that are not finite; take an earlier checkpoint")
