"""How much processor time a training takes to which validation accuracy: the yardstick for defaults and recipes.

    python -m tests.bench.time_to_accuracy [--data TRAIN VAL] [--epochs 4 8 16] [--seeds 5] [--size 64]
                                           [--contenders ...] [--target 0.93] [--spec transfer_spec]

Without --data: the objects of the sample data set. Each contender is trained whole for each number of epochs, since a
schedule ends with its run, with each seed, all of them in turn; its score is the last epoch's top-1, its time that of
the processor for the whole command, start and validation included. The time to the target is read off the line through
the means. Appends each run to a file that a later command with the same settings takes up, so that a bench that was
stopped goes on (--results). Not part of `make bench`: hours.
"""

import argparse
import dataclasses
import itertools
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tao_lite import checkpoint as checkpoints
from tao_lite.monitor import console
from tests.bench import experiment, machine, samples
from tests.bench.accuracy import BATCH_SIZE, LEARNING_RATE, draw, last_top1, peer, tao_lite

PEERS = (experiment.PLAIN, experiment.AMP_RECIPE, experiment.TIMM)
_COSINE = "{ cosine { learning_rate: %s soft_start: 0.1 } }"
_ALL_KEPT = {"checkpoint": "{ keep_last: 1000 }"}
_WHOLE = {"linear_probe": "false", "unfreeze_at_epoch": 0}
_PLAIN = {**_WHOLE, "layer_decay": 1, "model_config.freeze_bn": "false"}
_RATE = "{ cosine { learning_rate: %s } }"

CANDIDATES: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "classification_spec": {
        "as it is": {},
        "TAO's tutorial": {
            "lr_config": "{ step { learning_rate: 0.006 step_size: 10 gamma: 0.1 } }",
            "reg_config": "{ type: 'L2' scope: 'Conv2D,Dense' weight_decay: 0.00005 }",
            "enable_random_crop": "true",
        },
        "Adam": {"optimizer": "{ adam { } }", "lr_config": _COSINE % 0.001},
        "Nesterov": {"optimizer": "{ sgd { momentum: 0.9 nesterov: true } }"},
        "rate 0.06": {"lr_config": _COSINE % 0.06},
        "batch 32": {"batch_size_per_gpu": 32},
        "small batches, smoothing": {
            "batch_size_per_gpu": 32,
            "optimizer": "{ sgd { momentum: 0.9 nesterov: true } }",
            "label_smoothing": 0.1,
        },
        "smoothing": {"label_smoothing": 0.1},
        "average": {"ema_decay": 0.99},
        "crop": {"enable_random_crop": "true", "random_crop": "{ min_area: 0.35 max_area: 1 }"},
        "growing": {"progressive_resize": "{ }"},
    },
    "transfer_spec": {
        "as it is": {},
        "probe only": {"unfreeze_at_epoch": 0},
        "last block": {"recipe": "LAST_BLOCK"},
        # As a loop without any of this would be written.
        "plain": {**_PLAIN, "lr_config": _RATE % 0.01},
        "plain, rate 0.003": _PLAIN,
        "no probe": _WHOLE,
        "no layer decay": {"layer_decay": 1},
        "average": {"ema_decay": 0.95},
        "interpolation": _ALL_KEPT,
        "soup": _ALL_KEPT,
        "rate 0.001": {"lr_config": _RATE % 0.001},
        "rate 0.01": {"lr_config": _RATE % 0.01},
        "rate 0.01, batch norm trains": {"lr_config": _RATE % 0.01, "model_config.freeze_bn": "false"},
        "growing": {"progressive_resize": "{ }"},
    },
}
"""Changes of a spec's train_config, and of others by their whole path."""

MIXED = {"interpolation": (0.5, 1), "soup": (0.67, 0.83, 1)}
"""Of which places in the run the weights are averaged, and that network is scored: half-way the probe ends."""


class Run(NamedTuple):
    contender: str
    epochs: int
    seed: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = dict.fromkeys([*(name for changes in CANDIDATES.values() for name in changes), *PEERS])
    parser.add_argument("--spec", choices=CANDIDATES, default="classification_spec")
    parser.add_argument("--data", type=Path, nargs=2, metavar=("TRAIN", "VAL"))
    parser.add_argument("--epochs", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--contenders", nargs="+", choices=names, help="all by default")
    parser.add_argument("--target", type=float, default=0.93)
    parser.add_argument("--results", type=Path, help="file to go on with; a new one by default")
    arguments = parser.parse_args()
    arguments.contenders = arguments.contenders or [*CANDIDATES[arguments.spec], *PEERS]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.data:
            train, val = (path.resolve() for path in arguments.data)
        else:
            objects = draw(folder, frames=400)
            train, val = objects / "train", objects / "val"
        path = arguments.results or folder / "runs.jsonl"
        setting = {"data": str(arguments.data or "sample"), "spec": arguments.spec, "size": arguments.size}
        found = read(path, setting)
        for seed, epochs, contender in itertools.product(
            range(arguments.seeds), arguments.epochs, arguments.contenders
        ):
            run = Run(contender, epochs, seed)
            if run not in found:
                found[run] = measured(run, train, val, arguments)
                with path.open("a") as file:
                    file.write(json.dumps({**setting, **run._asdict(), **found[run]}) + "\n")
                print(f"  {run.contender}, {epochs} epochs, seed {seed}: {found[run]}", file=sys.stderr)
    rows = [row(contender, arguments, found) for contender in arguments.contenders]
    columns = [f"{epochs} epochs" for epochs in arguments.epochs]
    console.table(
        f"Validation top-1, and seconds of processor time; {arguments.seeds} seeds",
        ("", *columns, f"seconds to {arguments.target:.1%}"),
        rows,
    )
    console.line(json.dumps(machine.facts()))


def read(path: Path, setting: Mapping[str, Any]) -> dict[Run, samples.Sample]:
    """The runs of this setting that the file holds."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {
        Run(line["contender"], line["epochs"], line["seed"]): {name: line[name] for name in ("top1", "cpu_seconds")}
        for line in lines
        if setting.items() <= line.items()
    }


def measured(run: Run, train: Path, val: Path, arguments: argparse.Namespace) -> samples.Sample:
    before = machine.cpu_seconds()
    if run.contender in PEERS:
        options = {"train": train, "val": val, "size": arguments.size, "epochs": run.epochs, "seed": run.seed}
        top1 = peer(run.contender, {**options, "batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE})
    else:
        settings = {
            "train_dataset_path": train,
            "val_dataset_path": val,
            "n_epochs": run.epochs,
            "random_seed": run.seed,
        }
        settings |= CANDIDATES[arguments.spec][run.contender]
        settings = {name if "." in name else f"train_config.{name}": value for name, value in settings.items()}
        settings |= {"model_config.input_image_size": experiment.image_size(arguments.size)}
        spec = machine.ROOT / "specs" / f"{arguments.spec}.cfg"
        with tempfile.TemporaryDirectory() as name:
            results = Path(name)
            top1 = last_top1(spec, results, settings)
            if run.contender in MIXED:
                epochs = sorted({round(place * run.epochs) for place in MIXED[run.contender]})
                top1 = mixed_top1(results, epochs)
    return {"top1": top1, "cpu_seconds": machine.cpu_seconds() - before}


def mixed_top1(results: Path, epochs: Sequence[int]) -> float:
    """Of the network whose weights are the mean of those after these epochs."""
    found = [checkpoints.load(next((results / "weights").glob(f"*_{epoch:03}.pth"))) for epoch in epochs]
    mean = {
        name: torch.stack([one.network[name].double() for one in found]).mean(dim=0).to(tensor.dtype)
        for name, tensor in found[-1].network.items()
    }
    checkpoints.save(results / "mixed.pth", dataclasses.replace(found[-1], network=mean))
    tao_lite("evaluate", "-m", results / "mixed.pth", "-r", results)
    return float(json.loads((results / "evaluate.json").read_text())["top1"])


def row(contender: str, arguments: argparse.Namespace, found: Mapping[Run, samples.Sample]) -> tuple[str, ...]:
    points, cells = [], []
    for epochs in arguments.epochs:
        runs = [found[Run(contender, epochs, seed)] for seed in range(arguments.seeds)]
        top1, seconds = ([run[name] for run in runs] for name in ("top1", "cpu_seconds"))
        points.append((statistics.mean(seconds), statistics.mean(top1)))
        deviation = statistics.stdev(top1) if len(top1) > 1 else 0.0
        cells.append(f"{statistics.mean(top1):.1%} ± {deviation:.1%}, {statistics.mean(seconds):.0f} s")
    reached = seconds_to(arguments.target, points)
    return (contender, *cells, f"{reached:.0f}" if reached is not None else "not reached")


def seconds_to(target: float, points: Sequence[tuple[float, float]]) -> float | None:
    """When the line through points of seconds and accuracy first reaches the target; None where it does not."""
    for (start, low), (end, high) in itertools.pairwise([(0.0, 0.0), *points]):
        if low < target <= high:
            # Before the first point there is no line to read.
            return start + (end - start) * (target - low) / (high - low) if start else end
    return None


if __name__ == "__main__":
    main()
