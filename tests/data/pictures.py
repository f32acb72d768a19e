"""Data sets of small pictures, and loaders of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tao_lite.data.batch import Batch
from tao_lite.data.dataset import DataSet
from tao_lite.data.example import Example
from tao_lite.data.left_out import LeftOut
from tao_lite.data.loader import Cache, Loader
from tao_lite.data.sampler import Sampler

NUM_PICTURES = 23
GEOMETRIES = ["squeeze", "centre_crop", "random_crop"]
KINDS = ["OFF", "MEMORY", "DISK", "DEVICE"]


def write_picture(path: Path, seed: int, value: int | None = None) -> None:
    """Noise of a size that depends on the seed or, with a value, an even grey of 20 x 20."""
    random = np.random.default_rng(seed)
    height, width = (20, 20) if value is not None else random.integers(18, 60, 2)
    pixels = random.integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels if value is None else np.full_like(pixels, value)).save(path)


def as_data_set(paths: Sequence[Path]) -> DataSet:
    labels = ("cat", "dog", "eel")
    return DataSet(tuple(Example(path, labels[i % 3], path.name) for i, path in enumerate(paths)), labels)


def cached(kind: str, folder: Path) -> dict[str, object]:
    """The loader's field for that cache; the folder is that of DISK."""
    if kind == "OFF":
        return {}
    return {"cache": Cache(10**9, {"MEMORY": None, "DISK": folder, "DEVICE": torch.device("cpu")}[kind])}


def make(data_set: DataSet, **changes: object) -> Loader:
    """The loader of these pictures with changes to its fields or to those of its sampler."""
    order: dict[str, object] = {"batch_size": 4, "seed": 1, "training": True, "rank": 0, "world_size": 1}
    order = {name: changes.pop(name, value) for name, value in order.items()}
    classes = data_set.labels() if changes.pop("balanced", False) else None
    values: dict[str, object] = {
        "sampler": Sampler(num_examples=len(data_set.examples), classes=classes, **order),  # type: ignore[arg-type]
        "size": (16, 24),
        "channels": 3,
        "num_workers": 2,
        "geometry": "random_crop",
        "interpolation": "bilinear",
        "report": LeftOut(fail=True),
    }
    return Loader(data_set=data_set, **(values | changes))  # type: ignore[arg-type]


def same(first: Sequence[Batch], second: Sequence[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a.images, b.images)
        and torch.equal(a.labels, b.labels)
        and torch.equal(a.draws, b.draws)
        and (a.paths, a.number) == (b.paths, b.number)
        for a, b in zip(first, second, strict=True)
    )


def indices_of(batches: Sequence[Batch]) -> list[int]:
    return [int(path.stem) for batch in batches for path in batch.paths]
