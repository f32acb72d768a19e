"""Shards of WebDataset written for tests by Python's tarfile, independently of what writes ours."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("blue", "green", "red")


def written(path: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def picture(number: int, side: int = 16) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def data_set(root: Path, num_shards: int, num_images: int, side: int = 16) -> Path:
    """So many shards of so many pictures each, of unequal sizes; classes are names by turns."""
    for shard in range(num_shards):
        numbers = range(shard * num_images, (shard + 1) * num_images)
        files = [
            file
            for number in numbers
            for file in (
                (f"{number:05d}.cls", CLASSES[number % 3].encode()),
                (f"{number:05d}.png", picture(number, side + shard % 4)),
            )
        ]
        written(root / f"train-{shard:03d}.tar", files)
    return root
