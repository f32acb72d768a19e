"""Train. Retraining is the same with a spec whose pretrained_model_path is a pruned checkpoint."""

import logging
import math
import resource
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import torch
from torch import nn

from tao_lite import checkpoint as checkpoints
from tao_lite import compat, console, optim, schedule
from tao_lite.checkpoint import Checkpoint
from tao_lite.data.loader import Loader
from tao_lite.engine import Recipe, train_epoch
from tao_lite.errors import Interrupted, RunError
from tao_lite.metrics import Evaluation
from tao_lite.models import architectures, freeze
from tao_lite.monitor import EpochRow, Message, Monitor
from tao_lite.run import Run, Summary, write_atomically, write_json
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import Spec
from tao_lite.stages import preparation, pretrained, restart
from tao_lite.stages.evaluate import evaluate_network, penalised
from tao_lite.stages.restart import Progress
from tao_lite.stages.stop import StopRequest, stop_request

SAVE_ATTEMPTS = 3  # epochs in a row whose checkpoint may fail (a full disk may be cleared) before the run stops

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


@dataclass(kw_only=True)
class _Training:
    """All that the epochs work with."""

    spec: Spec
    run: Run
    train_loader: Loader
    val_loader: Loader
    network: nn.Module  # bare
    trained: nn.Module  # the same, compiled or wrapped for several processes
    frozen: freeze.Frozen
    recipe: Recipe
    progress: Progress
    request: StopRequest
    failed_saves: int = 0

    @property
    def config(self) -> pb.TrainConfig:
        return self.spec.experiment.train_config

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.train_loader) / self.recipe.accumulation)

    def run_epochs(self) -> Summary:
        progress, max_epochs = self.progress, self.config.n_epochs
        if progress.epoch >= max_epochs:
            console.line(f"{self.run.results} is trained already: {progress.epoch} of {max_epochs} epochs are done")
        resumed = {"resumed_epoch": progress.epoch, "resumed_step": self._step(progress.stats.batches)}
        with Monitor(self.run, max_epochs=max_epochs, **resumed) as monitor:
            monitor.text("spec", f"```\n{self.spec.text()}```")
            with console.Progress(is_main=self.run.is_main) as bar:
                while progress.epoch < max_epochs and not self._is_stale():
                    self._epoch(monitor, bar)
            monitor.status("RUNNING", Message.LOOP_COMPLETE)
            summary = self._summary()
            kpi = {"validation_loss": progress.best_loss, "validation_accuracy": progress.best_accuracy}
            monitor.status("RUNNING", Message.EVALUATED, kpi)
            monitor.status("SUCCESS", Message.FINISHED)
        if self.run.is_main:
            write_json(self.run.summary("train"), summary)
        return summary

    def _step(self, batches: int) -> int:
        """Optimizer steps since the start of the run, after that many batches of the epoch."""
        return self.progress.epoch * self.steps_per_epoch + math.ceil(batches / self.recipe.accumulation)

    def _is_stale(self) -> bool:
        config = self.config.early_stopping
        stale = self.config.HasField("early_stopping") and self.progress.stale_epochs >= config.patience
        if stale:
            _log.info("Stopped early: validation accuracy has not risen for %d epochs", self.progress.stale_epochs)
        return stale

    def _epoch(self, monitor: Monitor, bar: console.Progress) -> None:
        """One epoch or the rest of it, its validation and its checkpoint."""
        progress, started = self.progress, time.perf_counter()
        done, first_step, stopped = progress.stats.batches, self._step(0), False
        bar.begin(f"Epoch {progress.epoch + 1}/{self.config.n_epochs}", len(self.train_loader), done)

        def report(step: int, values: Mapping[str, float]) -> None:
            bar.advance((step + 1 - first_step) * self.recipe.accumulation)
            bar.show(loss=values["loss"], accuracy=values["top1"], images_per_second=values["images_per_second"])
            monitor.log(step + 1, {_TAGS[name]: value for name, value in values.items() if name in _TAGS})

        def stop() -> bool:
            nonlocal stopped
            stopped = self.request.agreed(self.run.world)
            return stopped

        freeze.train_mode(self.network, self.frozen)
        train_epoch(
            self.trained,
            self.train_loader.epoch(progress.epoch, start=done),
            self.recipe,
            stats=progress.stats,
            first_step=first_step,
            report=report,
            stop=stop,
        )
        # By the vote, not by the signal: that may not have come to this process yet.
        if stopped and progress.stats.batches < len(self.train_loader):
            self._stop(started)
        result = self._validate(bar, started)
        self._finish_epoch(result, monitor, bar, time.perf_counter() - started)

    def _validate(self, bar: console.Progress, started: float) -> Evaluation:
        bar.begin(f"Validation {self.progress.epoch + 1}", len(self.val_loader))
        self.run.world.share(self.network.buffers())

        def each_batch(done: int) -> None:
            bar.advance(done)
            # Several processes would have to agree, and each has its own number of batches here.
            if self.request.signal_number and self.run.world.world_size == 1:
                self._stop(started)

        result = evaluate_network(
            self.network,
            self.val_loader,
            k=self.spec.experiment.eval_config.top_k,
            preprocess=self.recipe.preprocess,
            precision=self.recipe.precision,
            world=self.run.world,
            each_batch=each_batch,
        )
        return penalised(result, self.recipe.penalty)

    def _finish_epoch(self, result: Evaluation, monitor: Monitor, bar: console.Progress, seconds: float) -> None:
        self._sum_over_processes()
        progress, stats = self.progress, self.progress.stats
        is_best = progress.validated(result.top1, result.loss, self.config.early_stopping.min_delta)
        progress.total_seconds += seconds
        row = EpochRow(
            epoch=progress.epoch,
            step=self._step(0),
            train_loss=stats.loss,
            train_accuracy=stats.accuracy,
            val_loss=result.loss,
            val_accuracy=result.top1,
            learning_rate=float(self.recipe.optimizer.param_groups[0]["lr"]),
            seconds=seconds,
        )
        monitor.epoch(row)
        monitor.log(row.step, {"val/top_k": result.top_k, "images_per_second": stats.images / stats.seconds})
        if self.config.visualizer.weight_histograms:
            monitor.histogram(row.step, self.network)
        bar.end(console.epoch_line(row, self.config.n_epochs))
        is_last = progress.epoch == self.config.n_epochs or self._is_stale()
        if is_best or is_last or progress.epoch % self.config.checkpoint.every_n_epochs == 0:
            self._save({"val_accuracy": result.top1, "val_loss": result.loss, "train_loss": stats.loss}, is_last)

    def _save(self, metrics: Mapping[str, float], is_last: bool) -> None:
        """Save the epoch's checkpoint. A full disk is reported, and ends the run only if it stays full."""
        if not self.run.is_main:
            return
        try:
            keep = self.config.checkpoint.keep_last
            restart.save(self.run, self._checkpoint(metrics), keep, self.progress.best_epoch)
            self.failed_saves = 0
        except RunError as error:
            self.failed_saves += 1
            if is_last or self.failed_saves >= SAVE_ATTEMPTS:
                raise
            _log.error("%s; the last checkpoint stays, the training goes on", error)

    def _sum_over_processes(self) -> None:
        """Make the epoch's sums those of all processes: each has trained on images of its own."""
        stats = self.progress.stats
        sums = torch.tensor([stats.loss_sum, stats.correct, stats.images], dtype=torch.float64, device=self.run.device)
        stats.loss_sum, correct, images = self.run.world.sum_(sums).tolist()
        stats.correct, stats.images = int(correct), int(images)

    def _stop(self, started: float) -> None:
        """Save inside the epoch and end the run."""
        self._sum_over_processes()
        self.progress.total_seconds += time.perf_counter() - started
        if self.run.is_main:
            checkpoints.save(self.run.interrupted, self._checkpoint({}))
        raise Interrupted(
            self.request.signal_number or signal.SIGTERM,
            f"stopped in epoch {self.progress.epoch + 1}, saved in {self.run.weights}; the same command goes on there",
        )

    def _checkpoint(self, metrics: Mapping[str, float]) -> Checkpoint:
        return Checkpoint(
            spec=self.spec.text(),
            class_names=self.train_loader.class_names,
            preprocess=self.recipe.preprocess.to_dict(),
            network=self.network.state_dict(),
            epoch=self.progress.epoch,
            batch=self.progress.stats.batches,
            metrics=dict(metrics),
            training={
                "optimizer": self.recipe.optimizer.state_dict(),
                "precision": self.recipe.precision.state_dict(),
                "progress": asdict(self.progress),
            },
        )

    def _summary(self) -> Summary:
        progress = self.progress
        best = checkpoints.load(self.run.best) if self.run.is_main else self._checkpoint({})
        return {
            "epochs": progress.epoch,
            "best_epoch": progress.best_epoch,
            "val_accuracy": progress.best_accuracy,
            "val_loss": progress.best_loss,
            "train_loss": best.metrics.get("train_loss"),
            "images_per_second": progress.images / max(progress.train_seconds, 1e-9),
            "data_wait_fraction": progress.wait_seconds / max(progress.train_seconds, 1e-9),
            "peak_memory_bytes": _peak_memory_bytes(self.run.device),
            "duration_seconds": progress.total_seconds,
            "precision": self.recipe.precision.name,
            "num_parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "model_path": str(self.run.best),
        }


_TAGS = {
    "loss": "batch/loss",
    "top1": "batch/top1",
    "loss_scale": "amp/loss_scale",
    "skipped_steps": "amp/skipped_steps",
    "overflows": "amp/overflows",
    "gradient_norm": "gradient_norm",
}


def _prepare(spec: Spec, run: Run, request: StopRequest) -> _Training:
    experiment, config, device = spec.experiment, spec.experiment.train_config, run.device
    train_loader, val_loader = preparation.loaders(experiment, run)
    class_names = train_loader.class_names
    resumed = restart.resume_point(run, experiment, class_names)
    torch.manual_seed(config.random_seed)
    network = checkpoints.network(resumed) if resumed else pretrained.network(experiment, class_names)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model = experiment.model_config
    frozen = freeze.freeze(
        network, architectures.find(model), model.freeze_blocks, model.freeze_bn, exact=compat.is_exact(experiment)
    )
    recipe = preparation.recipe(experiment, network, train_loader, run)
    training = _Training(
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


def _announce(training: _Training, *, is_resumed: bool) -> None:
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
    for warning in schedule.warnings(rate):
        _log.warning("%s", warning)


def _peak_memory_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
