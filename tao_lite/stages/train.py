"""Train. Retraining is the same with a spec whose pretrained_model_path is a pruned checkpoint."""

import logging
from dataclasses import replace

import torch

from tao_lite import checkpoint as checkpoints
from tao_lite import compat, console, optim, schedule
from tao_lite.checkpoint import Checkpoint
from tao_lite.engine import Recipe
from tao_lite.models import architectures, freeze
from tao_lite.run import Run, Summary, write_atomically
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import Spec
from tao_lite.stages import preparation, pretrained, restart
from tao_lite.stages.restart import Progress
from tao_lite.stages.stop import StopRequest, stop_request
from tao_lite.stages.training import Training

_log = logging.getLogger(__name__)


def train(spec: Spec, run: Run) -> Summary:
    """Train the spec's network, going on where an earlier run in the folder stopped; the summary is train.json.

    Raises:
        TaoLiteError: the data, the weights, the folder or the spec do not allow it.
        Interrupted: SIGINT or SIGTERM came; a checkpoint was saved.
    """
    with run.hold(), stop_request() as request:
        if run.is_main:
            _say_differences(spec.experiment)
        spec = replace(spec, experiment=compat.effective(spec.experiment))
        preparation.draw_sample(spec.experiment, run)
        training = _prepare(spec, run, request)
        if run.is_main:
            write_atomically(run.spec, spec.text())
        return training.run_epochs()


def _prepare(spec: Spec, run: Run, request: StopRequest) -> Training:
    experiment, config, device = spec.experiment, spec.experiment.train_config, run.device
    train_loader, val_loader = preparation.loaders(experiment, run)
    class_names = train_loader.class_names
    resumed = restart.resume_point(run, experiment, class_names)
    torch.manual_seed(config.random_seed)
    network = checkpoints.network(resumed) if resumed else pretrained.network(experiment, class_names)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model = experiment.model_config
    frozen = freeze.freeze(
        network, architectures.blocks(model), model.freeze_blocks, model.freeze_bn, exact=compat.is_exact(experiment)
    )
    recipe = preparation.recipe(experiment, network, train_loader, run)
    training = Training(
        spec=spec,
        run=run,
        train_loader=train_loader,
        val_loader=val_loader,
        network=network,
        trained=preparation.wrapped(network, config, run),
        frozen=frozen,
        recipe=recipe,
        progress=_restored(resumed, recipe, run),
        request=request,
    )
    if run.is_main:
        _announce(training, is_resumed=resumed is not None)
    return training


def _restored(resumed: Checkpoint | None, recipe: Recipe, run: Run) -> Progress:
    if resumed is None:
        return Progress()
    optim.load_state(recipe.optimizer, resumed.training["optimizer"])
    recipe.precision.load_state_dict(resumed.training["precision"])
    progress = Progress.of(resumed.training["progress"])
    if not run.is_main:
        # The sums saved are those of all processes: the main one goes on with them, the others start at 0.
        progress.stats.loss_sum, progress.stats.correct, progress.stats.images = 0.0, 0, 0
    return progress


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
    config, data = training.config, training.train_loader
    num_parameters = sum(parameter.numel() for parameter in training.network.parameters())
    console.line(
        f"{'Resuming' if is_resumed else 'Training'} {training.spec.experiment.model_config.arch} with "
        f"{num_parameters:,} parameters in {training.recipe.precision.name} on {training.run.device}: "
        f"{data.num_examples} training and {training.val_loader.num_examples} validation images of "
        f"{len(data.class_names)} classes ({', '.join(data.class_names[:20])})"
    )
    rate = preparation.learning_rate(training.spec.experiment, data, training.run)
    rows = [(epoch, f"{value:.3g}") for epoch, value in schedule.table(rate, config.n_epochs)]
    console.table("Learning rate", ("epochs done", "learning rate"), rows)
