"""Train. Retraining is the same with a spec whose pretrained_model_path is a pruned checkpoint."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from tao_lite import checkpoint as checkpoints
from tao_lite import compat, schedule
from tao_lite.checkpoint import Checkpoint
from tao_lite.data.loader import Loader
from tao_lite.files import writing
from tao_lite.monitor import console
from tao_lite.run import Run, Summary
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import tasks
from tao_lite.spec.load import Spec
from tao_lite.stages.train import agreement, phases, place, pretrained, restart
from tao_lite.stages.train.epochs import Training
from tao_lite.stages.train.fingerprint import Prints
from tao_lite.stages.train.mirror import Mirror
from tao_lite.stages.train.phases import Phases
from tao_lite.stages.train.progress import Progress
from tao_lite.stages.train.saver import Saver
from tao_lite.training import optim, preparation, trial
from tao_lite.training.interval import EpochStats
from tao_lite.training.loops import Recipe
from tao_lite.training.precision import Precision
from tao_lite.training.stop import StopRequest, stop_request
from tao_lite.training.trained import on_device

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Demands:
    """What is wanted beyond the spec, and what may not be, or has to be, of an earlier run in the folder."""

    is_fresh: bool = False  # its weights are moved aside, and the training begins anew
    same_data: bool = False  # a changed data set is refused
    otherwise: str = "leave --same_data out"  # what to do where it should have changed
    resume: Path | None = None  # a checkpoint of a run elsewhere, to go on from where the folder has none
    mirror: str = ""  # URL of a copy to keep; a training that is a part of another stage has none
    pause_after: int | None = None  # the epoch after which it ends, though its schedule goes on; it can go on later
    computed: Callable[[nn.Module], nn.Module] = phases.as_it_is  # see Phases


def train(spec: Spec, run: Run, demands: Demands = Demands()) -> Summary:
    """Train the spec's network, going on where an earlier run in the folder stopped; the summary is train.json.

    Raises:
        TaoLiteError: the data, the weights, the folder or the spec do not allow it.
        Interrupted: SIGINT or SIGTERM came; a checkpoint was saved.
    """
    mirror = Mirror(run, demands.mirror, spec.experiment.dataset_config.store_timeout_seconds)
    with run.hold(), stop_request() as request, mirror:
        if run.is_main:
            _say_differences(spec.experiment)
        spec = replace(spec, experiment=compat.effective(spec.experiment))
        preparation.draw_sample(spec.experiment, run)
        if not demands.is_fresh:
            mirror.fetch()
        run.world.barrier()
        training = _prepare(spec, run, request, demands, mirror)
        training.pause_after = demands.pause_after
        if found := training.found_over():
            return found
        if run.is_main:
            _claim(training, demands)
        return training.run_epochs()


def _prepare(spec: Spec, run: Run, request: StopRequest, demands: Demands, mirror: Mirror) -> Training:
    """All that the epochs work with, at the place where the run stands: first it is built, then it is changed."""
    experiment = spec.experiment
    train_loader, val_loader = preparation.loaders(experiment, run)
    names, resumed = train_loader.class_names, None
    if not demands.is_fresh:
        resumed = restart.resume_point(run, experiment, names, demands.resume)
    data = train_loader.data_set, val_loader.data_set
    agreement.refuse_different(spec, data, resumed, run.world)
    prints = Prints.later(experiment, *data) if run.is_main else None
    is_begun_anew, threads = False, None
    if resumed:
        is_begun_anew = _is_begun_anew(resumed, prints, run, experiment.train_config, demands)
        train_loader.sampler = place.taken_up(train_loader.sampler, resumed)
        # Several processes had fewer each.
        threads = resumed.training.get("threads") if place.num_processes(resumed) < 2 else None
    # It turns TensorFloat-32 on or off for the whole process.
    precision = Precision.of(experiment.train_config, run.device)
    network = _network(experiment, names, resumed, run)
    preparation.refuse_fixed_size(network, train_loader, experiment.model_config.arch)
    recipe = preparation.recipe(experiment, network, train_loader, run, precision=precision)

    # The recipe's average is a copy in float32, which the network need not remain.
    precision.store(network)
    trial.set_threads(network, experiment, precision, run, threads)
    progress = _restore(resumed, network, recipe, run) if resumed else Progress()
    if is_begun_anew:
        progress.stats = EpochStats()
    progress.stats.batches = train_loader.sampler.number(progress.stats.done)

    training = Training(
        spec=spec,
        run=run,
        phases=Phases(
            experiment=experiment,
            run=run,
            network=network,
            recipe=recipe,
            train=train_loader,
            val=val_loader,
            computed=demands.computed,
        ),
        progress=progress,
        request=request,
        saver=Saver(run, experiment.model_config.arch, mirror),
        prints=prints,
    )
    if run.is_main:
        if resumed and training.config.checkpoint.init_epoch <= 1:
            restart.mend_links(run, experiment.model_config.arch, progress)
        _announce(training, is_resumed=resumed is not None)
    return training


def _is_begun_anew(
    resumed: Checkpoint, prints: Future[Prints] | None, run: Run, config: pb.TrainConfig, demands: Demands
) -> bool:
    """Whether what is done of the epoch is of no use; prints are those of the main process."""
    is_probe = config.linear_probe and phases.holds(config, resumed.epoch)
    is_lost = is_probe and place.is_lost(resumed, run.world.world_size)
    # The processes have to go the same way.
    refusal = demands.otherwise if demands.same_data else ""
    return run.world.any(is_lost or (prints is not None and prints.result().compare(resumed, run.results, refusal)))


def _claim(training: Training, demands: Demands) -> None:
    """Make the folder this run's, once nothing more can refuse it."""
    run, class_names = training.run, training.phases.train.class_names
    if demands.is_fresh:
        restart.set_aside(run)
    if training.config.checkpoint.init_epoch > 1:
        restart.go_back(run, training.spec.experiment.model_config.arch, training.progress)
    writing.write(run.spec, training.spec.text())
    writing.write_json(run.classmap, {name: index for index, name in enumerate(class_names)})
    if training.phases.train.tasks:
        writing.write_json(run.class_mapping, tasks.class_map(training.phases.train.tasks))


def _network(experiment: pb.Experiment, class_names: Sequence[str], resumed: Checkpoint | None, run: Run) -> nn.Module:
    """The network on its device, with the checkpoint's weights or those of a start; what never trains is frozen."""
    config = experiment.train_config
    torch.manual_seed(config.random_seed)
    network = checkpoints.network(resumed) if resumed else pretrained.network(experiment, class_names)
    on_device(network, run.device)
    # The optimizer has to know every weight that will ever train.
    phases.apply(experiment, network, is_frozen=not config.unfreeze_at_epoch)
    return network


def _restore(resumed: Checkpoint, network: nn.Module, recipe: Recipe, run: Run) -> Progress:
    """Give network and recipe what the checkpoint holds of them; the progress that it holds."""
    if recipe.average:
        # The checkpoint's network is the average; without an average in the run before, it starts at the weights.
        recipe.average.network.load_state_dict(resumed.network)
        network.load_state_dict(resumed.training.get("network", resumed.network))
    optim.load_state(recipe.optimizer, resumed.training["optimizer"])
    recipe.precision.load_state_dict(resumed.training["precision"])
    progress = Progress.of(resumed.training["progress"])
    progress.stats.done = place.done(resumed)
    if not run.is_main:
        # The sums saved are those of all processes: the main one goes on with them, the others start at 0.
        progress.stats.loss_sum, progress.stats.correct, progress.stats.images = 0.0, 0, 0
    return progress


def _classes(data: Loader) -> str:
    of_tasks = f"{len(data.tasks)} tasks with " if data.tasks else ""
    return f"{of_tasks}{len(data.class_names)} classes ({', '.join(data.class_names[:20])})"


def _say_differences(experiment: pb.Experiment) -> None:
    """Log where the two modes of compat differ for this spec, and where TAO_EXACT is not TAO."""
    lines = compat.differences(experiment)
    _log.info("compat is %s, which matters in %d places", pb.Compat.Mode.Name(experiment.compat), len(lines))
    for line in lines:
        _log.info("%s", line)
    for line in compat.not_reproduced(experiment) if compat.is_exact(experiment) else ():
        _log.info("not as in TAO: %s", line)


def _announce(training: Training, *, is_resumed: bool) -> None:
    """Say what is about to happen: data, network, learning rate."""
    config, data = training.config, training.phases.train
    num_parameters = sum(parameter.numel() for parameter in training.phases.network.parameters())
    console.line(
        f"{'Resuming' if is_resumed else 'Training'} {training.spec.experiment.model_config.arch} with "
        f"{num_parameters:,} parameters in {training.phases.recipe.precision.name} on {training.run.device}: "
        f"{data.num_examples} training and {training.phases.val.num_examples} validation images of "
        f"{_classes(data)}"
    )
    if data.growth:
        sizes = ", ".join(f"{height}x{width}" for height, width in data.growth.sizes())
        _log.info("training images grow with the epochs: %s", sizes)
    rate = preparation.learning_rate(training.spec.experiment, data)
    if left_out := data.num_examples - data.sampler.num_dealt:
        _log.info("%d training images are left out of each epoch, others each time: too few for a batch", left_out)
    rows = [(epoch, f"{value:.3g}") for epoch, value in schedule.table(rate, config.n_epochs)]
    console.table("Learning rate", ("epochs done", "learning rate"), rows)
