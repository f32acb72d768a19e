"""How fast the training step is, beside a plain loop, the AMP recipe, timm and Lightning: ResNet-18, the same batches.

    python -m tests.bench.step [--sizes 224 64] [--steps 2 10] [--batch_size 32] [--rounds 5] [--threads 1]
        [--gpu] [--results FOLDER]

Each contender is a process that lives through the whole bench and trains, in turn, so many steps on a batch that it
holds as its loader would give it: uint8 for ours, normalised float32 for the others. Ours is what `tao-lite train`
runs: allocator, recipe and loop as they follow from a spec. On a CPU, at 224 pixels, another contender does bfloat16
convolutions and nothing else, which is what a step can come near to. With --gpu, ours is compiled in each way too.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import contest, experiment, machine, pictures, samples

if TYPE_CHECKING:
    from torch import Tensor

OURS = {"tao_lite": "OFF", "tao_lite compile DEFAULT": "DEFAULT", "tao_lite compile MAX": "MAX"}
LEARNING_RATE = 0.001
CONVOLUTIONS = "bfloat16 convolutions alone"
FLOP_PER_IMAGE = 10.65e9
"""Of training ResNet-18 at 224 pixels: three passes of 1.814 GMAC, without the gradient of the images."""
STAGES = ((64, 56), (128, 28), (256, 14), (512, 7))
"""Channels and side of the maps that its 3x3 convolutions work on; each takes as many operations."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 64])
    parser.add_argument("--steps", type=int, nargs="+", help="in a turn, at each size")
    parser.add_argument("--batch_size", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--results", type=Path, default=samples.RESULTS)
    for name in ("--contender", "--folder", "--device"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        contend(Task(arguments.contender, arguments.size, arguments.batch_size, arguments.device, arguments.folder))
        return
    arguments.steps = arguments.steps or ([100, 200] if arguments.gpu else [2, 10])
    arguments.batch_size = arguments.batch_size or (256 if arguments.gpu else 32)
    compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    facts, gpu = machine.facts(), arguments.gpu
    cases: dict[str, samples.Rounds] = {}
    missing: dict[str, str] = {}
    for size, steps in zip(arguments.sizes, arguments.steps, strict=True):
        limits = (CONVOLUTIONS,) if size == 224 and not gpu else ()
        options = {"size": size, "batch_size": arguments.batch_size, "device": "cuda" if gpu else "cpu"}
        with tempfile.TemporaryDirectory() as folder:
            # Ours holds back a fifth of them, and wants a whole batch.
            pictures.draw(Path(folder) / "images", 2 * arguments.batch_size, size)
            cases[f"{size} px"], missing = contest.Contest(
                module="tests.bench.step",
                names=(*(OURS if gpu else ("tao_lite",)), *experiment.PEERS, *limits),
                options=options | {"folder": folder},
                amount=steps,
                rounds=arguments.rounds,
                threads=arguments.threads,
            ).hold()
        samples.show(f"{size} pixels", cases[f"{size} px"], missing)
    sizes = {name: getattr(arguments, name) for name in ("sizes", "steps", "batch_size", "threads")}
    found = {"machine": facts, "arguments": sizes, "missing": missing, "rounds": cases}
    samples.write(arguments.results / f"step{'_gpu' if gpu else ''}.json", found)


@dataclass(frozen=True)
class Task:
    """What one contender is to train, on which device; folder holds images."""

    contender: str
    size: int
    batch_size: int
    device: str
    folder: str


def contend(task: Task) -> None:
    if task.contender == CONVOLUTIONS:
        operations = sum(2 * task.batch_size * 9 * (channels * side) ** 2 for channels, side in STAGES)
        contest.contend(lambda amounts: convolve(task, amounts), images=operations / FLOP_PER_IMAGE)
        return
    train = ours if task.contender in OURS else peer
    contest.contend(lambda amounts: train(task, amounts), images=task.batch_size, finish=lambda: finish(task.device))


def finish(device: str) -> None:
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def ours(task: Task, amounts: Iterator[int]) -> None:
    """What stages.train does before and in its epochs, on one batch again and again."""
    from tao_lite.machine import distributed, host
    from tao_lite.monitor import console

    host.keep_freed_memory()
    from tao_lite.models import freeze
    from tao_lite.run import Run
    from tao_lite.spec.load import load_text
    from tao_lite.stages.train import pretrained
    from tao_lite.stages.train.phases import Phases
    from tao_lite.training import preparation
    from tao_lite.training.interval import EpochStats, Interval
    from tao_lite.training.loops import train_epoch
    from tao_lite.training.precision import Precision
    from tao_lite.training.trained import on_device

    folder = Path(task.folder)
    settings = {
        "model_config.input_image_size": experiment.image_size(task.size),
        "train_config.train_dataset_path": folder / "images",
        "train_config.batch_size_per_gpu": task.batch_size,
        "train_config.n_epochs": 100_000,
        "train_config.lr_config.cosine.learning_rate": LEARNING_RATE,
        "train_config.compile": OURS[task.contender],
        "dataset_config.cache": "DEVICE" if task.device == "cuda" else "MEMORY",
    }
    spec = load_text(experiment.SPEC, folder / "step.cfg", overrides=experiment.overrides(settings)).experiment
    run = Run(results=folder / task.contender, world=distributed.start(task.device))
    train, val = preparation.loaders(spec, run)
    network = on_device(pretrained.network(spec, train.class_names), run.device)
    precision = Precision.of(spec.train_config, run.device)
    recipe = preparation.recipe(spec, network, train, run, precision=precision)
    phases = Phases(experiment=spec, run=run, network=network, recipe=recipe, train=train, val=val)
    phase = phases.begin(0, console.Progress(is_main=False), lambda done: None)
    freeze.train_mode(phase.network, phase.frozen)
    with closing(phase.train.epoch(0)) as batches:
        batch = next(batches)
    for steps in amounts:
        interval = Interval(EpochStats(), phase.recipe.precision)
        repeated = (replace(batch, number=number) for number in range(steps))
        for _ in train_epoch(phase.trained, repeated, phase.recipe, interval, first_step=0):
            if interval.is_due:
                interval.fetch()
        interval.fetch()


def peer(task: Task, amounts: Iterator[int]) -> None:
    import torch

    from tests.bench import peers

    chosen = peers.PEERS[task.contender]
    images = torch.randn(task.batch_size, 3, task.size, task.size)
    labels = torch.randint(0, pictures.NUM_CLASSES, (task.batch_size,))
    if chosen.train is peers.timm_script:
        # timm's loader brings the batches there itself, beside the step.
        images, labels = images.to(task.device), labels.to(task.device)
    job = peers.Job(
        size=task.size,
        num_classes=pictures.NUM_CLASSES,
        batch_size=task.batch_size,
        epochs=1,
        learning_rate=LEARNING_RATE,
        device=task.device,
        amp=chosen.amp,
    )
    chosen.train(job, Same(images, labels, amounts), ())


@dataclass
class Same:
    """One batch, as often as is asked for."""

    images: "Tensor"
    labels: "Tensor"
    amounts: Iterator[int]

    def __len__(self) -> int:
        """Without a length, Lightning takes a batch ahead, which would count as the next turn's."""
        return 10**9

    def __iter__(self) -> Iterator[tuple["Tensor", "Tensor"]]:
        for steps in self.amounts:
            for _ in range(steps):
                yield self.images, self.labels


def convolve(task: Task, amounts: Iterator[int]) -> None:
    """The 3x3 convolutions of ResNet-18's four stages, forwards, laid out as the fastest kernels want them."""
    import torch

    from tao_lite.machine import host

    host.keep_freed_memory()

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape).to(torch.bfloat16, memory_format=torch.channels_last)

    ready = [
        (drawn(task.batch_size, channels, side, side), drawn(channels, channels, 3, 3)) for channels, side in STAGES
    ]
    with torch.inference_mode():
        for amount in amounts:
            for images, weights in ready * amount:
                torch.nn.functional.conv2d(images, weights, padding=1)


if __name__ == "__main__":
    main()
