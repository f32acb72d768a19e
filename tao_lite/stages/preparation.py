"""From the spec to what a training works with: data, learning rate, how a step computes, on how many processes."""

import math
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tao_lite import compat, console, optim, schedule
from tao_lite.data import augment, dataset, sample
from tao_lite.data.example import Report
from tao_lite.data.loader import Loader, loader
from tao_lite.engine import Recipe
from tao_lite.precision import Precision
from tao_lite.run import Run, write_json
from tao_lite.spec import classification_pb2 as pb


def draw_sample(experiment: pb.Experiment, run: Run) -> None:
    """Draw the sample data set where the spec names it and nothing is there."""
    config, root = experiment.dataset_config, Path(experiment.train_config.train_dataset_path)
    if run.is_main and config.HasField("sample") and not root.exists():
        console.line(f"Drawing the sample data set in {root}: {config.sample.num_frames} frames")
        sample.write(root, num_frames=config.sample.num_frames, seed=config.sample.seed)
    run.world.barrier()


def loaders(experiment: pb.Experiment, run: Run) -> tuple[Loader, Loader]:
    """Training and validation batches of this process; the class map is written beside them.

    Raises:
        DataError: a data set can't be used.
    """
    config = experiment.train_config
    report = Report(fail=experiment.dataset_config.on_bad_example == pb.BadExample.FAIL)
    train_set, val_set = dataset.splits(experiment, _class_names(experiment))
    if run.is_main:
        write_json(run.classmap, {name: index for index, name in enumerate(train_set.class_names)})
    make = partial(
        loader,
        experiment,
        batch_size=config.batch_size_per_gpu,
        seed=config.random_seed,
        rank=run.world.rank,
        world_size=run.world.world_size,
        pin_memory=run.device.type == "cuda",
        report=report,
    )
    return make(train_set, "train"), make(val_set, "val")


def learning_rate(experiment: pb.Experiment, data: Loader, run: Run) -> schedule.Schedule:
    """The schedule of the run.

    Raises:
        SpecError: as make_schedule.
    """
    return schedule.make_schedule(
        experiment.train_config.lr_config,
        world_size=run.world.world_size,
        exact=compat.is_exact(experiment),
        num_steps=num_steps(experiment, data),
    )


def num_steps(experiment: pb.Experiment, data: Loader) -> int:
    """Optimizer steps of the run."""
    config = experiment.train_config
    return config.n_epochs * math.ceil(len(data) / config.gradient_accumulation_steps)


def recipe(experiment: pb.Experiment, network: nn.Module, data: Loader, run: Run) -> Recipe:
    """How a step computes, with a fresh optimizer of the network.

    Raises:
        SpecError: the optimizer, the schedule or the normalisation can't be made.
    """
    config, exact = experiment.train_config, compat.is_exact(experiment)
    rate, steps = learning_rate(experiment, data, run), num_steps(experiment, data)
    precision = Precision.of(config, run.device)
    optimizer = optim.make_optimizer(config.optimizer, config.reg_config, network, device=run.device, exact=exact)
    mixup = augment.make_mixup(experiment)
    return Recipe(
        optimizer=optimizer,
        precision=precision,
        preprocess=augment.make_preprocess(experiment).to(run.device),
        augment=augment.make_augment(experiment).to(run.device),
        mixup=mixup.to(run.device) if mixup else None,
        set_learning_rate=lambda step: optim.set_learning_rate(optimizer, rate(step / steps), step),
        label_smoothing=config.label_smoothing,
        accumulation=config.gradient_accumulation_steps,
        max_grad_norm=config.max_grad_norm,
        seed=config.random_seed + 1_000_003 * run.world.rank,
        penalty=optim.make_penalty(config.reg_config, network) if exact else None,
    )


def wrapped(network: nn.Module, config: pb.TrainConfig, run: Run) -> nn.Module:
    """The network for several processes where there are several, compiled where the spec says so."""
    trained: nn.Module = network
    if run.world.world_size > 1:
        devices = [run.device.index] if run.device.type == "cuda" else None
        trained = DistributedDataParallel(network, device_ids=devices, gradient_as_bucket_view=True)
    return torch.compile(trained, dynamic=False) if config.compile else trained  # type: ignore[return-value]


def _class_names(experiment: pb.Experiment) -> tuple[str, ...] | None:
    path = experiment.dataset_config.classmap_path
    return dataset.read_classmap(Path(path)) if path else None
