"""What a search with early stopping finds beside as many random trials that are all trained to their end.

    python -m tests.bench.tune [--seeds 5] [--trials 16] [--epochs 9] [--arch resnet] [--data FOLDER]

Learning rate, weight decay, label smoothing, batch size and random crops move. The random trials of a seed are the same
whether they are stopped or not: what is lost is lost by stopping. Data: cifar10_small. Not part of `make bench`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tao_lite.monitor import console
from tests.bench import machine

SPEC = """
model_config { arch: "%(arch)s" n_layers: 10 use_batch_norm: true input_image_size: "3,32,32" }
train_config {
  train_dataset_path: "%(data)s/train"
  val_dataset_path: "%(data)s/val"
  optimizer { sgd { momentum: 0.9 nesterov: true } }
  reg_config { type: "L2" scope: "Conv2D,Dense" weight_decay: 0.0005 }
  batch_size_per_gpu: 64
  n_epochs: %(epochs)s
  preprocess_mode: "torch"
  lr_config { cosine { learning_rate: 0.03 soft_start: 0.1 } }
  visualizer { enabled: false }
}
tune_config {
  parameter { field: "train_config.lr_config.cosine.learning_rate" log_range { min: 1e-3 max: 1 } }
  parameter { field: "train_config.reg_config.weight_decay" log_range { min: 1e-5 max: 1e-2 } }
  parameter { field: "train_config.label_smoothing" range { min: 0 max: 0.2 } }
  parameter { field: "train_config.batch_size_per_gpu" choice: [16, 32, 64, 128] }
  parameter { field: "train_config.enable_random_crop" }
  baseline: false
}
"""
WAYS = {
    "random, whole": ("RANDOM", "NONE"),
    "random, stopped": ("RANDOM", "HYPERBAND"),
    "TPE, stopped": ("TPE", "HYPERBAND"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--arch", default="resnet")
    folders = machine.ROOT.parent / "shared" / "data" / "folders"
    parser.add_argument("--data", type=Path, default=folders / "cifar10_small")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        spec = Path(name) / "spec.cfg"
        words = {"data": arguments.data.resolve(), "epochs": arguments.epochs, "arch": arguments.arch}
        spec.write_text(SPEC % words)
        for seed in range(1, arguments.seeds + 1):
            for way, (sampler, pruner) in WAYS.items():
                results = Path(name) / f"{pruner}_{sampler}_{seed}"
                fields = {
                    "tune_config.trials": arguments.trials,
                    "tune_config.sampler": sampler,
                    "tune_config.pruner": pruner,
                    "train_config.random_seed": seed,
                }
                search(spec, results, fields)
                found = json.loads((results / "tune.json").read_text())
                rows.append((seed, way, found["epochs"], *best(found)))
                console.line(f"{rows[-1]}")
    console.table("Searches", ("seed", "trials", "epochs", "val top-1", "val loss"), rows)
    console.table("Means over the seeds", ("trials", "epochs", "val top-1", "spread"), means(rows))


def search(spec: Path, results: Path, fields: dict[str, object]) -> None:
    settings = [word for path, value in fields.items() for word in ("--set", f"{path}={value}")]
    asked = ["tune", "-e", str(spec), "-r", str(results), "--gpus", "0"]
    words = [sys.executable, "-m", "tao_lite.cli", *asked, *settings]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def best(found: dict[str, Any]) -> tuple[float, float]:
    """Top-1 and loss of the best trial."""
    summary = json.loads((Path(found["best"]["results"]) / "train.json").read_text())
    return summary["val_accuracy"], summary["val_loss"]


def means(rows: list[tuple[Any, ...]]) -> list[tuple[object, ...]]:
    of_way = {way: [row for row in rows if row[1] == way] for way in WAYS}
    return [
        (
            way,
            statistics.mean(row[2] for row in own),
            statistics.mean(row[3] for row in own),
            statistics.stdev([row[3] for row in own]) if len(own) > 1 else 0.0,
        )
        for way, own in of_way.items()
    ]


if __name__ == "__main__":
    main()
