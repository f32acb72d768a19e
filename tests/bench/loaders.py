"""How many images a second come out of our loader, of torchvision's ImageFolder with DataLoader, and of timm's loader.

    python tests/bench/loaders.py [--images 1000] [--side 256] [--size 224] [--rounds 5] [--output FILE]

All read the same JPEGs, drawn here, with one worker and batches of 64, cut and resized to `size`: with a random crop
and flip, and squeezed. Rounds go through all of them in turn; what is printed is the median, per second of CPU time of
the process and its children, and per second on the wall. Ours gives uint8, as the GPU or the training step wants them;
the others float32, as they do by default. The caches are filled before; that epoch is not counted.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tao_lite.data.dataset import DataSet
from tao_lite.data.example import Example, Report
from tao_lite.data.loader import Loader

BATCH_SIZE = 64
Epoch = Callable[[int], Iterator[int]]
"""Of an epoch's number: the sizes of its batches."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "loaders.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder / "images", arguments.images, arguments.side)
        rates = {
            view: measure(contenders(folder, arguments.size, view), arguments.rounds, arguments.images)
            for view in ("random crop", "squeeze")
        }
    result = {"machine": machine(), "arguments": {**vars(arguments), "output": None}, "images_per_second": rates}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    show(rates)


def draw(folder: Path, count: int, side: int) -> None:
    """Smooth colours with a little noise: about as many bytes as photos of that size have."""
    for index in range(count):
        random = np.random.default_rng(index)
        colours = Image.fromarray(random.integers(0, 256, (24, 24, 3), np.uint8))
        smooth = np.asarray(colours.resize((side, side), Image.Resampling.BICUBIC), np.float64)
        pixels = np.clip(smooth + random.normal(0, 10, (side, side, 1)), 0, 255).astype(np.uint8)
        path = folder / f"class{index % 2}" / f"{index:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=90)


def contenders(folder: Path, size: int, view: str) -> dict[str, Epoch]:
    caches: dict[str, dict[str, Any]] = {
        "ours, files": {},
        "ours, cache MEMORY": {"cache_bytes": 2**36},
        "ours, cache DISK": {"cache_bytes": 2**36, "cache_dir": folder / "cache"},
    }
    epochs = {name: ours(folder / "images", size, view, cache) for name, cache in caches.items()}
    epochs["torchvision ImageFolder + DataLoader"] = torchvision_epoch(folder / "images", size, view)
    epochs["timm create_loader"] = timm_epoch(folder / "images", size, view)
    return epochs


def ours(folder: Path, size: int, view: str, cache: dict[str, Any]) -> Epoch:
    paths = sorted(folder.rglob("*.jpg"))
    loader = Loader(
        data_set=DataSet(tuple(Example(path, path.parent.name, path.name) for path in paths), ("class0", "class1")),
        size=(size, size),
        channels=3,
        batch_size=BATCH_SIZE,
        num_workers=1,
        seed=1,
        training=True,
        geometry="random_crop" if view == "random crop" else "squeeze",
        interpolation="bilinear",
        report=Report(fail=True),
        **cache,
    )
    return lambda epoch: (len(batch.paths) for batch in loader.epoch(epoch))


def torchvision_epoch(folder: Path, size: int, view: str) -> Epoch:
    from torchvision import datasets, transforms

    steps = {
        "random crop": [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()],
        "squeeze": [transforms.Resize((size, size))],
    }[view]
    normalise = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    images = datasets.ImageFolder(folder, transforms.Compose([*steps, transforms.ToTensor(), normalise]))
    loader = torch.utils.data.DataLoader(images, BATCH_SIZE, shuffle=True, num_workers=1)
    return lambda _: (len(labels) for _, labels in loader)


def timm_epoch(folder: Path, size: int, view: str) -> Epoch:
    from timm.data.dataset_factory import create_dataset
    from timm.data.loader import create_loader

    loader = create_loader(
        create_dataset("", str(folder)),
        input_size=(3, size, size),
        batch_size=BATCH_SIZE,
        is_training=view == "random crop",
        no_aug=False,
        color_jitter=0.0,
        crop_mode="squash",
        crop_pct=1.0,
        num_workers=1,
        device=torch.device("cpu"),
        use_prefetcher=True,
        persistent_workers=False,
        pin_memory=False,
    )
    return lambda _: (len(labels) for _, labels in loader)


def measure(epochs: dict[str, Epoch], rounds: int, count: int) -> dict[str, dict[str, float]]:
    """Images per second of CPU time and on the wall: the medians of the rounds."""
    for epoch in epochs.values():
        sum(epoch(0))
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in epochs}
    for number in range(1, rounds + 1):
        for name, epoch in epochs.items():
            samples[name].append(rates_of(partial(epoch, number), count))
    return {
        name: {
            "per_cpu_second": statistics.median(cpu for cpu, _ in of_one),
            "per_wall_second": statistics.median(wall for _, wall in of_one),
        }
        for name, of_one in samples.items()
    }


def rates_of(epoch: Callable[[], Iterator[int]], count: int) -> tuple[float, float]:
    cpu, wall = cpu_seconds(), time.perf_counter()
    images = sum(epoch())
    assert images >= count - BATCH_SIZE
    return images / (cpu_seconds() - cpu), images / (time.perf_counter() - wall)


def cpu_seconds() -> float:
    """Of this process and its children that have ended."""
    return sum(os.times()[:4])


def machine() -> dict[str, str | int | None]:
    return {"processor": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__}


def show(rates: dict[str, dict[str, dict[str, float]]]) -> None:
    for view, of_view in rates.items():
        print(f"{view:38} {'per CPU-second':>14} {'on the wall':>12}  against torchvision")
        torchvision = of_view["torchvision ImageFolder + DataLoader"]["per_cpu_second"]
        for name, rate in of_view.items():
            ratio = rate["per_cpu_second"] / torchvision
            print(f"  {name:36} {rate['per_cpu_second']:14,.0f} {rate['per_wall_second']:12,.0f}  {ratio:6.2f} x")


if __name__ == "__main__":
    main()
