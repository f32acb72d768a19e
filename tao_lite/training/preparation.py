"""From the spec to what a training works with: data, learning rate, how a step computes, on how many processes."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tao_lite import compat, schedule
from tao_lite.data import balance, dataset
from tao_lite.data.augment import augment, erasing, mixes
from tao_lite.data.from_spec import loader
from tao_lite.data.loader import Loader
from tao_lite.data.preprocess import make_preprocess
from tao_lite.data.sample import draw
from tao_lite.errors import SpecError
from tao_lite.models import architectures, freeze, head
from tao_lite.monitor import console
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.training import batch_norm, objective, optim
from tao_lite.training.average import Average
from tao_lite.training.compiled import Compiled
from tao_lite.training.distillation import Teacher
from tao_lite.training.loops import Recipe
from tao_lite.training.precision import Precision
from tao_lite.training.trained import Trained


def draw_sample(experiment: pb.Experiment, run: Run) -> None:
    """Draw the sample data set where the spec names it and nothing is there."""
    config, root = experiment.dataset_config, Path(experiment.train_config.train_dataset_path)
    if run.is_main and config.HasField("sample") and not root.exists():
        console.line(f"Drawing the sample data set in {root}: {config.sample.num_frames} frames")
        draw.write(root, num_frames=config.sample.num_frames, seed=config.sample.seed)
    run.world.barrier()


def loaders(experiment: pb.Experiment, run: Run) -> tuple[Loader, Loader]:
    """Training and validation batches of this process.

    Raises:
        DataError: a data set can't be used.
    """
    config = experiment.train_config
    train_set, val_set = dataset.splits(experiment, _class_names(experiment))
    make = partial(
        loader,
        experiment,
        batch_size=config.batch_size_per_gpu,
        seed=config.random_seed,
        world=run.world,
    )
    return make(train_set, "train", grows=True), make(val_set, "val")


def learning_rate(experiment: pb.Experiment, data: Loader) -> schedule.Schedule:
    """The schedule of the run.

    Raises:
        SpecError: as make_schedule.
    """
    config, split = experiment.train_config, data.sampler.split
    return schedule.make_schedule(
        config.lr_config,
        world_size=split.step / (config.batch_size_per_gpu * config.gradient_accumulation_steps),
        exact=compat.is_exact(experiment),
        num_steps=num_steps(experiment, data),
    )


def num_steps(experiment: pb.Experiment, data: Loader) -> int:
    """Optimizer steps of the run."""
    return experiment.train_config.n_epochs * math.ceil(len(data) / data.sampler.split.accumulation)


def refuse_fixed_size(network: nn.Module, data: Loader, arch: str) -> None:
    """See to it that the network, on its device, takes images of every size that the training has.

    Raises:
        SpecError: it can't, of the size that is named.
    """
    first = next(network.parameters())
    network.eval()
    for height, width in data.growth.sizes() if data.growth else ():
        try:
            with torch.no_grad():
                network(torch.zeros(1, data.channels, height, width, device=first.device, dtype=first.dtype))
        except (RuntimeError, ValueError, AssertionError) as error:
            raise SpecError(
                f"train_config.progressive_resize: {arch} can't read images of {height}x{width} pixels; networks can "
                "that pool before their head, down to the least size that they take: raise from_share, or leave it out"
            ) from error


def recipe(experiment: pb.Experiment, network: nn.Module, data: Loader, run: Run, *, precision: Precision) -> Recipe:
    """How a step computes, with a fresh optimizer and average of the network. No weight changes.

    Raises:
        SpecError: the optimizer, the schedule, the normalisation or the teacher can't be made.
        CheckpointError: the teacher can't be read.
    """
    config, exact = experiment.train_config, compat.is_exact(experiment)
    rate, steps = learning_rate(experiment, data), num_steps(experiment, data)
    optimizer = optim.make_optimizer(
        config.optimizer,
        config.reg_config,
        network,
        device=run.device,
        exact=exact,
        rate_shares=freeze.rate_shares(architectures.blocks(experiment.model_config), config.layer_decay),
    )
    change, mix = augment.make_augment(experiment), mixes.make_mix(experiment)
    weights = balance.class_weights(config, data.data_set, experiment.dataset_config.multitask.class_weighting)
    # A copy of the network as it is before a teacher listens at its head.
    average = Average(network, config.ema_decay) if config.ema_decay else None
    return Recipe(
        optimizer=optimizer,
        precision=precision,
        preprocess=make_preprocess(experiment).to(run.device),
        augment=None if change.changes_nothing else change.to(run.device),
        mix=mix.to(run.device) if mix else None,
        erase=erasing.make_erase(experiment),
        set_learning_rate=lambda step: optim.set_learning_rate(optimizer, rate(step / steps), step),
        objective=objective.make(
            data.tasks,
            label_smoothing=config.label_smoothing,
            class_weights=torch.tensor(weights, device=run.device) if weights else None,
        ),
        accumulation=data.sampler.split.accumulation,
        max_grad_norm=config.max_grad_norm,
        seed=config.random_seed + 1_000_003 * run.world.rank,
        penalty=optim.make_penalty(config.reg_config, network) if exact else None,
        teacher=teacher(experiment, network, data.class_names, run),
        average=average,
    )


def distributed(network: nn.Module, run: Run, *, static_graph: bool = True) -> nn.Module:
    """The network for several processes where there are several; static_graph: each step uses the same weights."""
    if run.world.world_size == 1:
        return network
    devices = [run.device.index] if run.device.type == "cuda" else None
    return DistributedDataParallel(network, device_ids=devices, gradient_as_bucket_view=True, static_graph=static_graph)


def wrapped(network: nn.Module, config: pb.TrainConfig, run: Run, *, batch_size: int) -> nn.Module:
    """The network for several processes where there are several, compiled for the size where the spec says so."""
    if config.sync_batch_norm and run.world.world_size > 1:
        batch_norm.synchronise(network)
    if not config.compile:
        return distributed(network, run)
    # torch.compile splits the network where gradients are exchanged, which a static graph does not allow.
    return Compiled(distributed(network, run, static_graph=False), config.compile, batch_size)


def teacher(experiment: pb.Experiment, network: nn.Module, class_names: Sequence[str], run: Run) -> Teacher | None:
    """The network that the spec's training learns from; None without.

    Raises:
        CheckpointError: it can't be read.
        SpecError: it has other classes or another number of input channels.
    """
    config, path = experiment.train_config.distillation, "train_config.distillation.teacher_path"
    if not experiment.train_config.HasField("distillation"):
        return None
    trained = Trained.of(Path(config.teacher_path), run.device)
    channels, height, width = architectures.input_shape(trained.experiment.model_config)
    if channels != architectures.input_shape(experiment.model_config)[0]:
        raise SpecError(f"{path}: {config.teacher_path} takes images of {channels} channels, this network does not")
    if set(trained.class_names) != set(class_names):
        raise SpecError(
            f"{path}: {config.teacher_path} knows the classes {', '.join(trained.class_names)}; "
            f"the data has {', '.join(class_names)}; a teacher must know the same classes"
        )
    return Teacher(
        network=trained.network.requires_grad_(False),
        preprocess=trained.preprocess,
        order=torch.tensor([trained.class_names.index(name) for name in class_names], device=run.device),
        size=(height, width),
        temperature=config.temperature,
        weight=config.weight,
        feature_weight=config.feature_weight,
        heads=[one.get_submodule(head.find(one)) for one in (trained.network, network)],
    )


def _class_names(experiment: pb.Experiment) -> tuple[str, ...] | None:
    path = experiment.dataset_config.classmap_path
    return dataset.read_classmap(Path(path)) if path else None
