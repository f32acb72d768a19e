"""How much of a training's time TensorBoard takes: what is spent in all that it shows by default, within one training.

    python -m tests.bench.monitor [--images 2000] [--size 64] [--batch_size 32] [--epochs 3] [--rounds 3] [--threads 1]
        [--gpu] [--results FOLDER]

`tao-lite train` in this process, from the spec to the last checkpoint, with a clock around each call of what watches
the training: on a shared machine, a training with and one without differ by less than two that are alike. The
percentage is of the rest of the time, the median over the rounds.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from tao_lite.monitor import console
from tests.bench import experiment, machine, pictures, samples

NAME = "with TensorBoard"
# Of Watch: all that it is called for, and what it does between two batches.
METHODS = ("__enter__", "__exit__", "step", "interval", "validation", "epoch", "end", "_show_images")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
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

    from tao_lite.machine import host

    host.keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        pictures.draw(Path(folder) / "images", arguments.images, arguments.size)
        once = work(arguments, Path(folder))
        once()  # loads what is loaded once in a process
        return samples.in_turn({NAME: once}, arguments.rounds)


def overhead(rounds: samples.Rounds) -> float:
    """The share by which the training takes longer."""
    return samples.median(rounds, NAME, lambda one: one["shown_seconds"] / (one["wall_seconds"] - one["shown_seconds"]))


def work(arguments: argparse.Namespace, folder: Path) -> Callable[[], samples.Sample]:
    """A training of its own results folder; what it took, and what of that was spent on TensorBoard."""
    from tao_lite.machine import distributed
    from tao_lite.run import Run
    from tao_lite.spec.load import load_text
    from tao_lite.stages.train.train import train

    settings = {
        "model_config.input_image_size": experiment.image_size(arguments.size),
        "train_config.train_dataset_path": folder / "images",
        "train_config.batch_size_per_gpu": arguments.batch_size,
        "train_config.n_epochs": arguments.epochs,
    }
    spec = load_text(experiment.SPEC, folder / "monitor.cfg", overrides=experiment.overrides(settings))
    world = distributed.start("cuda" if arguments.gpu else "cpu")

    def once() -> samples.Sample:
        run = Run(results=folder / "results", world=world)
        wall, cpu = time.perf_counter(), machine.cpu_seconds()
        with clocks() as spent:
            train(spec, run)
        sample = {"wall_seconds": time.perf_counter() - wall, "cpu_seconds": machine.cpu_seconds() - cpu}
        shutil.rmtree(run.results)
        return sample | {"images": arguments.images * arguments.epochs, "shown_seconds": sum(spent)}

    return once


@contextmanager
def clocks() -> Iterator[list[float]]:
    """The seconds of each call of what watches trainings, as long as the block lasts."""
    from tao_lite.stages.train.answers import Answers
    from tao_lite.stages.train.watching import Watch

    spent: list[float] = []

    def clocked(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            result = method(*given, **named)
            spent.append(time.perf_counter() - began)
            return result

        return call

    with ExitStack() as stack:
        for owner, names in ((Watch, METHODS), (Answers, ("add",))):
            for name in names:
                stack.enter_context(mock.patch.object(owner, name, clocked(getattr(owner, name))))
        yield spent


if __name__ == "__main__":
    main()
