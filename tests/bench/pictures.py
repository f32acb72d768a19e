"""JPEGs for the benches to read: about as many bytes as photos of their size have."""

from pathlib import Path

import numpy as np
from PIL import Image

NUM_CLASSES = 10


def draw(folder: Path, count: int, side: int) -> None:
    """Smooth colours with a little noise, dealt out to a folder per class."""
    for index in range(count):
        random = np.random.default_rng(index)
        colours = Image.fromarray(random.integers(0, 256, (24, 24, 3), np.uint8))
        smooth = np.asarray(colours.resize((side, side), Image.Resampling.BICUBIC), np.float64)
        pixels = np.clip(smooth + random.normal(0, 10, (side, side, 1)), 0, 255).astype(np.uint8)
        path = folder / f"class{index % NUM_CLASSES}" / f"{index:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=90)
