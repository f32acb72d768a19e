"""Whether tao_lite trains as well as a plain loop: validation top-1 on the sample data set, by seeds.

    python -m tests.bench.accuracy [--seeds 5] [--epochs 10] [--results FOLDER]

ResNet-18 from scratch at 64 pixels, the same images, squeezed and flipped, SGD, batch 64, cosine annealing, no crop;
top-1 is the last epoch's, not the best one's. `tao-lite train` in the precision it chooses, and the plain FP32 loop of
peers.py. Not part of `make bench`: a quarter of an hour. Prints means and standard deviations.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tao_lite.monitor import console
from tests.bench import experiment, machine, samples

BATCH_SIZE, LEARNING_RATE = 64, 0.03


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--frames", type=int, default=400, help="of the sample data set")
    parser.add_argument("--results", type=Path, default=samples.RESULTS)
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error(f"--seeds is {arguments.seeds}; a standard deviation needs 2 or more")
    facts, epochs = machine.facts(), arguments.epochs
    with tempfile.TemporaryDirectory() as name:
        data = draw(Path(name), arguments.frames)
        found = {
            "tao_lite": [ours(data, seed, epochs) for seed in range(arguments.seeds)],
            experiment.PLAIN: [plain(data, seed, epochs) for seed in range(arguments.seeds)],
        }
    console.table("Validation top-1", ("", "mean", "standard deviation"), [row(*item) for item in found.items()])
    sizes = {"seeds": arguments.seeds, "epochs": epochs, "frames": arguments.frames}
    whole = {"machine": facts, "arguments": sizes, "missing": {}, "accuracies": found}
    samples.write(arguments.results / "accuracy.json", whole)


def draw(folder: Path, frames: int) -> Path:
    """The sample data set's objects as folders of classes: train and val."""
    spec = folder / "spec.cfg"
    spec.write_text(experiment.SPEC)
    tao_lite("dataset", "sample", "-o", folder / "frames", "--frames", frames)
    source = experiment.options({"train_config.train_dataset_path": folder / "frames"})
    tao_lite("dataset", "convert", "-e", spec, "-o", folder / "objects", "--to", "image_folder", *source)
    return folder / "objects"


def ours(data: Path, seed: int, epochs: int) -> float:
    settings = {
        "train_config.train_dataset_path": data / "train",
        "train_config.val_dataset_path": data / "val",
        "train_config.batch_size_per_gpu": BATCH_SIZE,
        "train_config.lr_config.cosine.learning_rate": LEARNING_RATE,
        "train_config.random_seed": seed,
        "train_config.n_epochs": epochs,
    }
    with tempfile.TemporaryDirectory() as results:
        return last_top1(data.parent / "spec.cfg", Path(results), settings)


def last_top1(spec: Path, results: Path, settings: Mapping[str, object]) -> float:
    """Train the spec with these settings; the last epoch's validation top-1."""
    tao_lite("train", "-e", spec, "-r", results, *experiment.options(settings))
    with (results / "training.csv").open() as file:
        return float(list(csv.DictReader(file))[-1]["val_acc"])


def plain(data: Path, seed: int, epochs: int) -> float:
    options = {"train": data / "train", "val": data / "val", "seed": seed, "epochs": epochs}
    options |= {"batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE}
    return peer(experiment.PLAIN, options, "--no_random_crop")


def peer(name: str, options: Mapping[str, object], *words: str) -> float:
    """The same of a program of peers.py."""
    given = [text for option, value in options.items() for text in (f"--{option}", str(value))]
    command = [sys.executable, "-m", "tests.bench.peers", name, *words, *given]
    ran = subprocess.run(command, cwd=machine.ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(ran.stdout.splitlines()[-1])["accuracy"])


def tao_lite(*arguments: object) -> None:
    command = [sys.executable, "-m", "tao_lite.cli", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def row(name: str, accuracies: list[float]) -> tuple[str, float, float]:
    return name, statistics.mean(accuracies), statistics.stdev(accuracies)


if __name__ == "__main__":
    main()
