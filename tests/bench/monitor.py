"""How much of a training's time TensorBoard takes: the same training with all that it shows by default, and without.

    python -m tests.bench.monitor [--images 2000] [--size 64] [--batch_size 32] [--epochs 3] [--rounds 7] [--threads 1]
        [--gpu] [--results FOLDER]

Both are `tao-lite train` in this process, from the spec to the last checkpoint, in turn; without is the same code with
a stub in the place of what watches the training. The percentage is the median over the rounds.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

from tao_lite import console
from tests.bench import experiment, machine, pictures, samples

WITH, WITHOUT = "with TensorBoard", "without"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--results", type=Path, default=samples.RESULTS)
    arguments = parser.parse_args()
    facts = machine.facts()
    rounds = compare(arguments)
    console.line(f"TensorBoard takes {100 * overhead(rounds):.2f} % of the training's time")
    sizes = {name: getattr(arguments, name) for name in ("images", "size", "batch_size", "epochs", "threads")}
    found = {"machine": facts, "arguments": sizes, "missing": {}, "rounds": {"training": rounds}}
    samples.write(arguments.results / f"monitor{'_gpu' if arguments.gpu else ''}.json", found)


def compare(arguments: argparse.Namespace) -> samples.Rounds:
    """Of every round, the time of both."""
    import torch

    from tao_lite import host

    host.keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        pictures.draw(Path(folder) / "images", arguments.images, arguments.size)
        works = {name: work(arguments, Path(folder), name) for name in (WITH, WITHOUT)}
        works[WITH]()  # loads what is loaded once in a process
        return samples.in_turn(works, arguments.rounds)


def overhead(rounds: samples.Rounds) -> float:
    """The share by which the training takes longer."""
    return 1 / samples.ratio(rounds, WITH, WITHOUT, samples.per_second) - 1


def work(arguments: argparse.Namespace, folder: Path, name: str) -> Callable[[], samples.Sample]:
    """A training of its own results folder; what it took."""
    from tao_lite import distributed
    from tao_lite.run import Run
    from tao_lite.spec.load import load_text
    from tao_lite.stages import training
    from tao_lite.stages.train import train

    settings = {
        "model_config.input_image_size": experiment.image_size(arguments.size),
        "train_config.train_dataset_path": folder / "images",
        "train_config.batch_size_per_gpu": arguments.batch_size,
        "train_config.n_epochs": arguments.epochs,
    }
    spec = load_text(experiment.SPEC, folder / "monitor.cfg", overrides=experiment.overrides(settings))
    world = distributed.start("cuda" if arguments.gpu else "cpu")

    def once() -> samples.Sample:
        run = Run(results=folder / name, world=world)
        stub = nullcontext() if name == WITH else mock.patch.object(training, "Watch", Blind)
        wall, cpu = time.perf_counter(), machine.cpu_seconds()
        with stub:
            train(spec, run)
        sample = {"wall_seconds": time.perf_counter() - wall, "cpu_seconds": machine.cpu_seconds() - cpu}
        shutil.rmtree(run.results)
        return sample | {"images": arguments.images * arguments.epochs}

    return once


class Blind:
    """Takes the place of Watch and shows nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __enter__(self) -> "Blind":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def batches(self, batches: Any) -> Any:
        return batches

    def validation(self) -> None:
        pass

    def step(self, *_: Any) -> None:
        pass

    interval = epoch = end = step


if __name__ == "__main__":
    main()
