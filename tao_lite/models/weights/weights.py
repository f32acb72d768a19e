"""Weights to start from: where they come from, under the names of the spec's network, and what they expect."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tao_lite.errors import CheckpointError
from tao_lite.models.weights import keras_weights, layouts, packaged, published, weight_files
from tao_lite.models.weights.assignment import listed
from tao_lite.models.weights.published import HALVES, IMAGENET, Normalisation
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.paths import PACKAGE

# What images were normalised with -> the preprocess_mode that does so.
_MODES = {IMAGENET: "torch", HALVES: "tf"}


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Tensors on the CPU, by the network's names as far as they could be mapped to it."""

    tensors: Mapping[str, Tensor]
    # The preprocess_mode they were trained with, or "" where there is none like it.
    mode: str
    # The same in words.
    normalisation: str
    # What was done to them, for the log, or "".
    note: str = ""
    # Where their widths are not the architecture's: shapes of the full network, by name.
    full: Mapping[str, torch.Size] | None = None


def read(source: str, model_config: pb.ModelConfig) -> Weights:
    """Weights in a local file, published for this architecture ("torchvision://NAME", "timm://TAG"), or "package:NAME".

    Containers ({"state_dict": ...}, {"model": ...}) and prefixes of wrapped networks ("module.") are taken off.

    Raises:
        CheckpointError: missing, damaged, foreign or dangerous file, unknown name, failed download.
        SpecError: the spec's network can't be built.
    """
    if source.startswith(published.TORCHVISION):
        return _torch_weights(source, *published.read_torchvision(source, model_config), model_config)
    if source.startswith(published.TIMM):
        return _torch_weights(source, *published.read_timm(source, model_config), model_config)
    if source.startswith(PACKAGE):
        path, normalisation = packaged.find(source)
        return _torch_weights(source, weight_files.load(path), normalisation, model_config)
    path = Path(source)
    if weight_files.is_keras(path):
        named = keras_weights.named(path, weight_files.load_keras(path), model_config)
        return Weights(**vars(named), mode="caffe", normalisation="BGR images less their mean")
    normalisation = published.normalisation(model_config)
    return _torch_weights(source, weight_files.load(path), normalisation, model_config)


def _torch_weights(source: str, content: object, normalisation: Normalisation, model_config: pb.ModelConfig) -> Weights:
    tensors = _tensors(source, content)
    # What lies in .safetensors is sorted by name.
    named = layouts.own_names(tensors, model_config, is_ordered=not source.lower().endswith(".safetensors"))
    mean, deviation = (", ".join(f"{value:g}" for value in values) for values in normalisation)
    words = f"mean {mean} and standard deviation {deviation}"
    return Weights(**vars(named), mode=_MODES.get(normalisation, ""), normalisation=words)


def _tensors(source: str, content: object) -> dict[str, Tensor]:
    """Tensors by the file's own names, taken out of the containers that training scripts write."""
    # Twice at most: a file can hold itself.
    for container in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(container), Mapping):
            content = content[container]
    items = content.items() if isinstance(content, Mapping) else ()
    tensors = {str(name).removeprefix("module."): value for name, value in items if isinstance(value, Tensor)}
    if not tensors:
        found = f"a dict of {listed(map(str, content))}" if isinstance(content, Mapping) else type(content).__name__
        raise CheckpointError(
            f'{source}: holds no tensors by name but {found}; give a state dict, alone or under "state_dict" or "model"'
        )
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise CheckpointError(f"{source}: {name} is not a plain dense tensor; save the network's float weights")
    return tensors
