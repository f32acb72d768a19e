"""What the index of a data set saves: 1.28 million images in 1,000 folders, in processes one after the other.

    python tests/bench/index.py [--images 1280000] [--folders 1000] [--rounds 3] [--beside ../main]

In turn, in new processes: a first start without an index, a first start that makes one, and a second start; with
--beside, a first start of another checkout of the program too. A start is all from the spec to the first batch, which
is of images that are decoded anew each epoch. Memory is what a process has at its first batch above its memory after
importing torch; pages of the index, which processes share, are in it. The images are hard links, made in a temporary
folder (--folder where it should be); 41 of them have pixels.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tao_lite.monitor import console

LEAST_LINKS = 40_000
"""Of one file: file systems end at some 65,000."""

START = """
import json, resource, sys, time
from pathlib import Path
import torch

def megabytes():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * resource.getpagesize() / 2**20

before, begun, used = megabytes(), time.perf_counter(), time.process_time()
from tao_lite.data import dataset
from tao_lite.data.from_spec import loader
from tao_lite.machine import distributed
from tao_lite.spec.load import load_text

if sys.argv[3:]:
    from tao_lite.data import index
    index.LEAST = 10**12
imported = time.perf_counter()
experiment = load_text(f'''
model_config {{ arch: "resnet" n_layers: 10 input_image_size: "3,32,32" }}
train_config {{ train_dataset_path: "{sys.argv[1]}" n_workers: 1 n_epochs: 1 batch_size_per_gpu: 32
  optimizer {{ sgd {{ }} }} lr_config {{ cosine {{ learning_rate: 0.1 }} }} }}
dataset_config {{ cache: OFF cache_dir: "{sys.argv[2]}" }}
''', Path("bench.cfg")).experiment
training, validation = dataset.splits(experiment, None)
listed = time.perf_counter()
batches = loader(experiment, training, "train", batch_size=32, seed=1, world=distributed.start("cpu"))
batch = next(batches.epoch(0))
print(json.dumps({
    "examples": len(training.examples),
    "seconds to the list": listed - imported,
    "seconds to the first batch": time.perf_counter() - begun,
    "CPU seconds": time.process_time() - used,
    "MiB above torch": megabytes() - before,
    "MiB above torch, at most": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before,
}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_280_000)
    parser.add_argument("--folders", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        root, cache = Path(name) / "images", Path(name) / "cache"
        make(root, arguments.images, arguments.folders)
        found: dict[str, list[Mapping[str, float]]] = {}
        for _ in range(arguments.rounds):
            for kind, result in starts(root, cache, arguments.beside):
                found.setdefault(kind, []).append(result)
            (path,) = cache.glob("*.index")
            num_bytes = path.stat().st_size
            path.unlink()
    names = list(found["second start"][0])
    rows = [(kind, *(_median(results, name) for name in names)) for kind, results in found.items()]
    console.table(f"Medians of {arguments.rounds} rounds", ("start", *names), rows)
    console.line(f"the index has {num_bytes / arguments.images:.1f} bytes for each image")
    console.line(f"load average {os.getloadavg()[0]:.1f} at the end")


def make(root: Path, num_images: int, num_folders: int) -> None:
    """Folders of classes with links to a few pictures."""
    sources = root.with_name("pictures")
    sources.mkdir()
    for number in range(num_images // LEAST_LINKS + 1):
        Image.fromarray(np.full((64, 64, 3), number, np.uint8)).save(sources / f"{number}.jpg")
    for folder in range(num_folders):
        place = root / f"n{folder:08d}"
        place.mkdir(parents=True)
        for number in range(folder, num_images, num_folders):
            os.link(sources / f"{number // LEAST_LINKS}.jpg", place / f"{place.name}_{number:07d}.JPEG")


def starts(root: Path, cache: Path, beside: Path | None) -> Iterator[tuple[str, Mapping[str, float]]]:
    if beside:
        yield "first start, beside", start(root, cache, [], beside)
    yield "first start, no index", start(root, cache, ["none"])
    yield "first start", start(root, cache, [])
    yield "second start", start(root, cache, [])


def start(root: Path, cache: Path, more: Sequence[str], checkout: Path | None = None) -> Mapping[str, float]:
    """What a process says that begins with these images."""
    environment = {**os.environ, "PYTHONPATH": str(checkout or Path(__file__).parents[2])}
    words = [sys.executable, "-c", START, str(root), str(cache), *more]
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, check=True, text=True, cwd=root)
    result: Mapping[str, float] = json.loads(done.stdout)
    return result


def _median(results: Sequence[Mapping[str, float]], name: str) -> str:
    return f"{statistics.median(one[name] for one in results):,.1f}"


if __name__ == "__main__":
    main()
