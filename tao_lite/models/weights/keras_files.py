"""Keras 2 weights in an HDF5 file become plain tensors in torch's layout, by layer. Nothing in a file is executed.

The stored description of the network, which may hold code, is never read; links out of the file are never followed.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tao_lite.errors import CheckpointError

SUFFIXES = (".hdf5", ".h5")
SIGNATURE = b"\x89HDF"

# Keras stores plainly. A file that declares far more than it holds would fill the memory.
_MAX_EXPANSION = 1.1
_MAX_DEPTH = 8
_MAX_TENSORS = 20_000
# Name of a Keras weight -> name in torch.
_NAMES = {
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}

Layers = dict[str, dict[str, Tensor]]
# h5py's types; it has no annotations and may not be installed.
Group = Any
Dataset = Any


def load(content: BinaryIO, path: Path) -> Layers:
    """Name of each layer with weights -> its tensors by torch's names (weight, bias, running_mean, running_var).

    `path` is how messages call the file.

    Raises:
        CheckpointError: h5py is not installed, or the file is damaged, dangerous or not one of Keras 2.
    """
    try:
        import h5py
    except ImportError as error:
        needs = "Keras weights need h5py, which is not installed; pip install tao-lite[import]"
        raise CheckpointError(f"{path}: {needs}") from error
    with h5py.File(content, "r") as file:
        found = dict(_datasets(file, path, h5py.HardLink))
        # A whole model keeps its weights in a group; other groups hold the optimizer's.
        of_model = {key.partition("/")[2]: found[key] for key in found if key.startswith("model_weights/")}
        found = of_model or found
        _refuse_bomb(found, path)
        layers: Layers = {}
        for key, dataset in found.items():
            layer, name = _layer(key, found)
            if name in _NAMES:
                layers.setdefault(layer, {})[_NAMES[name]] = _tensor(name, dataset, path)
    if not layers:
        raise CheckpointError(
            f"{path}: holds no layers as Keras 2 writes them; give an .hdf5 file that TAO or Keras 2 saved"
        )
    return layers


def _datasets(group: Group, path: Path, hard_link: type, depth: int = 0) -> Iterator[tuple[str, Dataset]]:
    """Every dataset with its path below the group. Only what lies in the file itself is followed."""
    for key in group:
        if not isinstance(group.get(key, getlink=True), hard_link):
            raise CheckpointError(f"{path}: refused, because {key} is a link, which Keras never writes")
        item = group[key]
        if hasattr(item, "shape"):
            yield key, item
        elif hasattr(item, "keys") and depth < _MAX_DEPTH:
            inner = _datasets(item, path, hard_link, depth + 1)
            yield from ((f"{key}/{name}", dataset) for name, dataset in inner)


def _refuse_bomb(datasets: dict[str, Dataset], path: Path) -> None:
    for name, dataset in datasets.items():
        if dataset.external or dataset.is_virtual:
            raise CheckpointError(f"{path}: refused, because {name} points to another file, which Keras never does")
    size, expanded = path.stat().st_size, sum(dataset.nbytes for dataset in datasets.values())
    if expanded > _MAX_EXPANSION * size or len(datasets) > _MAX_TENSORS:
        raise CheckpointError(
            f"{path}: refused, because {len(datasets):,} arrays of together {expanded:,} bytes can't be in a file of "
            f"{size:,} bytes, unless it is compressed, which Keras never does; ask for the original file"
        )


def _layer(key: str, datasets: dict[str, Dataset]) -> tuple[str, str]:
    """Layer and weight of a dataset: its group, or what is in it where a whole network stands as one layer."""
    top, *between, last = key.split("/")
    in_group = Counter(other.split("/")[-1] for other in datasets if other.startswith(f"{top}/"))
    is_network = in_group[last] > 1
    return (between[-1] if is_network and between else top), last.partition(":")[0]


def _tensor(name: str, dataset: Dataset, path: Path) -> Tensor:
    """The dataset in torch's order of axes, float32."""
    if dataset.dtype.kind != "f" or dataset.ndim not in (1, 2, 4):
        raise CheckpointError(
            f"{path}: {dataset.name} is {dataset.dtype} of {dataset.ndim} axes; must be float of 1, 2 or 4 axes"
        )
    values: npt.NDArray[np.float32] = np.asarray(dataset[()], dtype=np.float32)
    if name == "depthwise_kernel" and values.ndim == 4:
        # Output channel i * multiplier + j reads input channel i, in Keras and in torch.
        values = values.reshape(*values.shape[:2], 1, -1)
    if values.ndim == 4:
        values = values.transpose(3, 2, 0, 1)
    elif values.ndim == 2:
        values = values.T
    return torch.from_numpy(np.ascontiguousarray(values))
