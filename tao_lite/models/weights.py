"""Weights to start from: read them, and assign them to a network with an account of every tensor."""

import contextlib
import re
import sys
import urllib.error
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import torch
import torchvision
from torch import Tensor, nn

from tao_lite.errors import CheckpointError
from tao_lite.models import architectures, weight_files
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.bind import did_you_mean

TORCHVISION = "torchvision://"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of every tensor. Each one of the network is in exactly one of the first five."""

    source: str
    # Taken as they are.
    matched: tuple[str, ...]
    # Taken after summing or repeating the input channels.
    converted: tuple[str, ...]
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

    def __str__(self) -> str:
        """One to four lines for the log."""
        loaded = len(self.matched) + len(self.converted)
        total = loaded + len(self.neutral) + len(self.missing) + len(self.mismatched)
        first = f"{self.source}: took {loaded} of the network's {total} tensors"
        if self.converted:
            first += f", {_listed(self.converted)} with its input channels converted"
        if self.neutral:
            first += f"; {len(self.neutral)} that the file lacks start neutral (identity or zero)"
        lines = [first]
        if self.new_head:
            lines.append(f"New head, left at its initialisation: {_listed(map(self._shapes, self.new_head))}")
        left = [name for name in (*self.missing, *self.mismatched) if name not in self.new_head]
        if left:
            lines.append(f"Left at their initialisation: {len(left)} tensors, {_listed(map(self._shapes, left))}")
        unused = [name for name in self.unused if name not in self.new_head]
        if unused:
            hint = f"; the file looks like {self.looks_like}" if self.looks_like else ""
            lines.append(f"Unused tensors of the file: {len(unused)}, {_listed(unused)}{hint}")
        return "\n".join(lines)

    def _shapes(self, name: str) -> str:
        if name not in self.mismatched:
            return f"{name} (not in the file)"
        return "{} ({} in the file, {} here)".format(name, *map(list, self.mismatched[name]))


def read(source: str, model_config: pb.ModelConfig) -> dict[str, Tensor]:
    """Tensors of a local weights file, or of torchvision's for this architecture by "torchvision://NAME", on the CPU.

    Containers ({"state_dict": ...}, {"model": ...}) and prefixes of wrapped networks ("module.") are taken off.

    Raises:
        CheckpointError: missing, damaged, foreign or dangerous file, unknown name, failed download.
    """
    if source.startswith(TORCHVISION):
        return _tensors(source, _read_torchvision(source, model_config))
    return _tensors(source, weight_files.load(Path(source)))


def assign(network: nn.Module, state_dict: Mapping[str, Tensor], *, head: str, source: str = "weights") -> Report:
    """Account of copying into the network all tensors whose name and shape fit; the network is untouched on errors.

    Where the file lacks an added projection (all_projections) or bias, it is set so that the function in evaluation
    mode is kept. A first convolution of 3 input channels is summed for 1-channel input; one of 1 channel is spread over
    3, so that grey images give the same. `head` names the module that makes the logits, `source` stands in messages.

    Raises:
        CheckpointError: under half of the network's tensors are in the file, or values are not finite.
    """
    own = network.state_dict()
    converted = _converted(network, state_dict)
    given = {**state_dict, **converted}
    neutral = {name: tensor for name, tensor in _neutral(network, state_dict).items() if name not in given}
    fitting = {name: given[name] for name in own if name in given and given[name].shape == own[name].shape}
    report = Report(
        source=source,
        matched=tuple(name for name in fitting if name not in converted),
        converted=tuple(converted),
        neutral=tuple(neutral),
        missing=tuple(name for name in own if name not in given and name not in neutral),
        mismatched={
            name: (tuple(given[name].shape), tuple(own[name].shape))
            for name in own
            if name in given and name not in fitting
        },
        unused=tuple(name for name in state_dict if name not in own),
        new_head=tuple(name for name in own if name.startswith(f"{head}.") and name not in fitting),
        looks_like=looks_like(state_dict),
    )
    _refuse_misfit(report, looks_like(own))
    _refuse_non_finite(source, fitting)
    with torch.no_grad():
        for name, tensor in {**fitting, **neutral}.items():
            own[name].copy_(tensor)
    return report


def looks_like(state_dict: Mapping[str, Tensor]) -> str:
    """Architecture that the names and shapes of the tensors suggest, or ""."""
    found = {match.groups() for match in map(re.compile(r"layer(\d)\.(\d+)\.conv1\.").match, state_dict) if match}
    if found:
        stages = len({stage for stage, _ in found})
        depth = 2 + len(found) * (3 if "layer1.0.conv3.weight" in state_dict else 2)
        return f"ResNet-{depth}" + (f" of {stages} stages, as made for small images" if stages != 4 else "")
    for pattern, family in _FAMILIES.items():
        if any(map(re.compile(pattern).search, state_dict)):
            return family
    if any(tensor.dim() == 4 and tensor.shape[1] == 1 < tensor.shape[2] for tensor in state_dict.values()):
        return "a network with depthwise convolutions, such as MobileNet"
    return ""


_FAMILIES = {
    r"^conv_stem\.|^features\.\d\.\d+\.block\.\d\.fc1\.": "EfficientNet",
    r"^features\.denseblock\d": "DenseNet",
    r"^features\.\d+\.squeeze\.": "SqueezeNet",
    r"^inception\d[a-e]\.": "GoogLeNet",
    r"\.attn\.|\.self_attention\.": "a vision transformer",
    r"^classifier\.6\.": "VGG or AlexNet",
}


def _read_torchvision(source: str, model_config: pb.ModelConfig) -> object:
    """Content of torchvision's file, from torch's cache or downloaded and checked against its hash."""
    model = architectures.find(model_config).torchvision(model_config)
    models = torchvision.models.list_models(module=torchvision.models)
    if model not in models:
        family = [name for name in models if re.fullmatch(re.sub(r"\d+$", r"\\d+", model), name)]
        raise CheckpointError(
            f"{source}: torchvision has no {model}, only {', '.join(family) or 'other architectures'}; "
            "change model_config.n_layers, or leave train_config.pretrained_model_path out"
        )
    choices, name = torchvision.models.get_model_weights(model).__members__, source.removeprefix(TORCHVISION)
    if name not in choices:
        raise CheckpointError(f"{source}: {model} has {', '.join(choices)}{did_you_mean(name, choices)}")
    weights = choices[name]
    cached = Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(urlsplit(weights.url).path).name
    # torch announces a download on stdout, which belongs to the summary.
    with weight_files.clear_errors(cached), contextlib.redirect_stdout(sys.stderr):
        if cached.exists():
            weight_files.refuse_by_content(cached)
        try:
            return weights.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
        except urllib.error.URLError as error:
            raise CheckpointError(
                f"{source}: {weights.url} can't be downloaded ({error.reason}); "
                f"put that file into {cached.parent}, or give its path as train_config.pretrained_model_path"
            ) from error


def _tensors(source: str, content: object) -> dict[str, Tensor]:
    """Tensors by the network's own names, taken out of the containers that training scripts write."""
    # Twice at most: a file can hold itself.
    for container in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(container), Mapping):
            content = content[container]
    items = content.items() if isinstance(content, Mapping) else ()
    tensors = {str(name).removeprefix("module."): value for name, value in items if isinstance(value, Tensor)}
    if not tensors:
        found = f"a dict of {_listed(map(str, content))}" if isinstance(content, Mapping) else type(content).__name__
        raise CheckpointError(
            f'{source}: holds no tensors by name but {found}; give a state dict, alone or under "state_dict" or "model"'
        )
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise CheckpointError(f"{source}: {name} is not a plain dense tensor; save the network's float weights")
    return tensors


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


def _neutral(network: nn.Module, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Values that keep the function where the file has none, by name."""
    values = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
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


def _refuse_misfit(report: Report, network_looks_like: str) -> None:
    taken = len(report.matched) + len(report.converted)
    expected = taken + len(report.missing) + len(report.mismatched)
    if 2 * taken < expected:
        kind = report.looks_like or f"no architecture known here, with {_listed(report.unused) or 'no other tensors'}"
        raise CheckpointError(
            f"{report.source}: only {taken} of {expected} tensors of the network are in it with the same shape; "
            f"it looks like {kind}, the network is {network_looks_like or 'another'}; "
            "change model_config or train_config.pretrained_model_path"
        )


def _refuse_non_finite(source: str, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise CheckpointError(f"{source}: {name} holds values that are not finite; take an earlier checkpoint")


def _listed(names: Iterable[str]) -> str:
    """The first three names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
