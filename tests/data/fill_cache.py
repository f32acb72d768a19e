"""Fills a cache in a process of its own: python -m tests.data.fill_cache PICTURES CACHE SEED LARGEST_FILE."""

import logging
import random
import resource
import sys
from pathlib import Path

from tao_lite.data.cache.folder import Disk, open_disk
from tao_lite.data.cache.images import Images
from tao_lite.data.example import Example

SETTINGS = (3, None)


def examples_in(folder: Path) -> list[Example]:
    return [Example(path, "cat", path.name) for path in sorted(folder.glob("*.png"))]


def disk(folder: Path, cache: Path, max_bytes: int = 10**9) -> Disk:
    store = open_disk(cache, examples_in(folder), 3, SETTINGS, max_bytes=max_bytes)
    assert store
    return store


def main(folder: Path, cache: Path, seed: int, largest: int) -> None:
    """Each picture twice in some order; says so for each."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    if largest:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    examples = examples_in(folder)
    store = open_disk(cache, examples, 3, SETTINGS, max_bytes=10**9)
    images = Images(examples, 3, lambda image: image, store)
    order = random.Random(seed).sample(range(len(examples)), len(examples))
    for index in order * 2:
        sys.stdout.write(f"{index} {int(images[index].sum(dtype='int64'))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
