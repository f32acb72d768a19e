"""The epochs of a training: train, validate, report, save, stop in order."""

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass

import torch

from tao_lite import checkpoint as checkpoints
from tao_lite.checkpoint import Checkpoint
from tao_lite.errors import DivergedError, Interrupted, RunError, SpecError
from tao_lite.files import writing
from tao_lite.machine import energy
from tao_lite.metrics.best import Metric
from tao_lite.metrics.joint import Result
from tao_lite.models import freeze
from tao_lite.monitor import console
from tao_lite.monitor.monitor import EpochRow, Message, Monitor
from tao_lite.run import Run, Summary
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import Spec
from tao_lite.stages.train import phases, watching
from tao_lite.stages.train import summary as training_summary
from tao_lite.stages.train.fingerprint import Prints
from tao_lite.stages.train.phases import Phase, Phases
from tao_lite.stages.train.progress import Progress
from tao_lite.stages.train.saver import Saver
from tao_lite.stages.train.watching import Watch
from tao_lite.training.interval import Interval
from tao_lite.training.loops import Recipe, train_epoch
from tao_lite.training.stop import StopRequest
from tao_lite.training.validation import best_metric, evaluate_network, penalised


@dataclass(kw_only=True)
class Training:
    """All that the epochs work with."""

    spec: Spec
    run: Run
    phases: Phases
    progress: Progress
    request: StopRequest
    saver: Saver
    prints: Future[Prints] | None  # of the main process
    pause_after: int | None = None  # an epoch
    phase: Phase | None = None  # of the epoch that runs

    @property
    def config(self) -> pb.TrainConfig:
        return self.spec.experiment.train_config

    @property
    def metric(self) -> Metric:
        """By which the best epoch is chosen."""
        return best_metric(self.config)

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.phases.train) / self._recipe.accumulation)

    @property
    def _recipe(self) -> Recipe:
        return self.phases.recipe

    def found_over(self) -> Summary | None:
        """The summary that the folder holds of this training; None while there is something to do or to write."""
        if not self._is_over:
            return None
        run, progress, max_epochs = self.run, self.progress, self.config.n_epochs
        if run.is_main:
            console.line(f"{run.results} is trained already: {progress.epoch} of {max_epochs} epochs are done")
        found = training_summary.read(progress, run)
        # The processes have to go the same way.
        if run.world.any(found is None) or found is None:
            return None
        if run.is_main:
            training_summary.say_end(progress, run, self.config, found)
        return found

    def run_epochs(self) -> Summary:
        progress, max_epochs = self.progress, self.config.n_epochs
        # Of a run that goes on, the energy is not known as a whole.
        joules = energy.joules(self.run.device) if self._step(progress.stats.batches) == 0 else None
        resumed = {"resumed_epoch": progress.epoch, "resumed_step": self._step(progress.stats.batches)}
        steps = {"step": resumed["resumed_step"], "num_steps": max_epochs * self.steps_per_epoch}
        with (
            Monitor(self.run, max_epochs=max_epochs, wish=watching.wish(self.spec), **resumed) as monitor,
            Watch(self.spec, self.phases, monitor, **steps) as watch,
        ):
            with self.saver, console.Progress(is_main=self.run.is_main) as bar:
                while not self._is_over:
                    self._epoch(watch, bar)
                self.saver.settle(is_last=True)
            monitor.status("RUNNING", Message.LOOP_COMPLETE)
            best = training_summary.best(progress, self.metric)
            watch.end(self._step(0), best)
            summary = training_summary.summary(progress, self.phases, joules)
            kpi = {f"validation_{name}": value for name, value in best.items()}
            monitor.status("RUNNING", Message.EVALUATED, kpi)
            monitor.status("SUCCESS", Message.FINISHED)
        if self.run.is_main:
            writing.write_json(self.run.summary("train"), summary)
            training_summary.say_end(progress, self.run, self.config, summary)
        return summary

    def _step(self, batches: int) -> int:
        """Optimizer steps since the start of the run, after that many batches of the epoch."""
        return self.progress.epoch * self.steps_per_epoch + math.ceil(batches / self._recipe.accumulation)

    @property
    def _is_over(self) -> bool:
        """Whether all epochs are done that are to be, or none was better than the best for long enough."""
        last = min(self.config.n_epochs, self.pause_after or self.config.n_epochs)
        return self.progress.epoch >= last or self.progress.is_stale(self.config)

    def _epoch(self, watch: Watch, bar: console.Progress) -> None:
        """One epoch or the rest of it, its validation and its checkpoint."""
        progress, started = self.progress, time.perf_counter()
        phase = self._begin_phase(bar, started)
        bar.begin(f"Epoch {progress.epoch + 1}/{self.config.n_epochs}", len(phase.train), progress.stats.batches)
        is_stopped = self._train(phase, watch, bar)
        # By the vote, not by the signal: that may not have come to this process yet.
        if is_stopped and progress.stats.batches < len(phase.train):
            self._stop(started)
        result = self._validate(phase, watch, bar, started)
        self._finish_epoch(result, watch, bar, time.perf_counter() - started)

    def _train(self, phase: Phase, watch: Watch, bar: console.Progress) -> bool:
        """Train on what is left of the epoch; whether the processes agreed to stop in it."""
        stats, interval = self.progress.stats, Interval(self.progress.stats, phase.recipe.precision)
        batches, is_stopped = phase.train.epoch(self.progress.epoch, stats.done), False
        freeze.train_mode(phase.network, phase.frozen)
        steps = train_epoch(phase.trained, batches, phase.recipe, interval, first_step=self._step(0))
        with closing(steps), _clear_errors():
            for batch in steps:
                watch.first_images(batch)
                if interval.is_due:
                    self._report(interval.fetch(), watch, bar)
                watch.step()
                if is_stopped := self.request.agreed(self.run.world, self._step(batch.number + 1)):
                    break
        self._report(interval.fetch(), watch, bar)
        return is_stopped

    def _report(self, numbers: Mapping[str, float], watch: Watch, bar: console.Progress) -> None:
        """Show the numbers of an interval, unless there was no step in it."""
        if numbers:
            bar.advance(self.progress.stats.batches)
            bar.show(loss=numbers["loss"], accuracy=numbers["top1"], images_per_second=numbers["images_per_second"])
            watch.interval(self._step(self.progress.stats.batches), numbers)

    def _begin_phase(self, bar: console.Progress, started: float) -> Phase:
        """The phase of the coming epoch: the one before it, unless frozen blocks are to train from now on."""
        epoch = self.progress.epoch
        if self.phase is None or self.phase.is_frozen != phases.holds(self.config, epoch):
            self.phase = None  # frees its hooks on the network before others are put there
            self.phase = self.phases.begin(epoch, bar, self._each_batch(bar, started))
        return self.phase

    def _each_batch(self, bar: console.Progress, started: float) -> Callable[[int], None]:
        """Show how many batches are done without training, and stop there where that was asked for."""

        def each_batch(done: int) -> None:
            bar.advance(done)
            # Several processes would have to agree, and each has its own number of batches here.
            if self.request.signal_number and self.run.world.world_size == 1:
                self._stop(started)

        return each_batch

    def _validate(self, phase: Phase, watch: Watch, bar: console.Progress, started: float) -> Result:
        bar.begin(f"Validation {self.progress.epoch + 1}", len(phase.val))
        for network in (self.phases.network, phase.validated):
            self.run.world.share(network.buffers())

        result = evaluate_network(
            phase.validated,
            phase.val,
            k=self.spec.experiment.eval_config.top_k,
            preprocess=phase.recipe.preprocess,
            precision=phase.recipe.precision,
            world=self.run.world,
            each_batch=self._each_batch(bar, started),
            watch=watch.validation(),
        )
        return penalised(result, phase.recipe.penalty)

    def _finish_epoch(self, result: Result, watch: Watch, bar: console.Progress, seconds: float) -> None:
        if not math.isfinite(result.loss):
            raise DivergedError(self._broken(f"the validation loss is {result.loss}"))
        self.run.check_held()
        self._sum_over_processes()
        progress, stats = self.progress, self.progress.stats
        is_best = progress.validated(result, self.metric, self.config.early_stopping.min_delta)
        progress.total_seconds += seconds
        row = EpochRow(
            epoch=progress.epoch,
            step=self._step(0),
            train_loss=stats.loss,
            train_accuracy=stats.accuracy,
            val_loss=result.loss,
            val_accuracy=result.top1,
            val_extra=self.metric.said(result),
            learning_rate=float(self._recipe.optimizer.param_groups[0]["lr"]),
            seconds=seconds,
        )
        watch.epoch(row, result)
        bar.end(console.epoch_line(row, self.config.n_epochs))
        if is_best or self._is_over or progress.epoch % self.config.checkpoint.every_n_epochs == 0:
            values = {"accuracy": result.top1, "loss": result.loss, **row.val_extra}
            metrics = {**{f"val_{name}": value for name, value in values.items()}, "train_loss": stats.loss}
            self.saver.save(self._checkpoint(metrics), self.config.checkpoint.keep_last, progress.best_epoch)

    def _sum_over_processes(self) -> None:
        """Make the epoch's sums those of all processes: each has trained on images of its own."""
        stats = self.progress.stats
        sums = torch.tensor([stats.loss_sum, stats.correct, stats.images], dtype=torch.float64, device=self.run.device)
        stats.loss_sum, correct, images = self.run.world.sum_(sums).tolist()
        # A whole number stays one: that is how checkpoints of one task hold it.
        stats.correct = correct if isinstance(stats.correct, float) else int(correct)
        stats.images = int(images)

    def _stop(self, started: float) -> None:
        """Save inside the epoch and end the run."""
        if not all(parameter.isfinite().all() for parameter in self.phases.network.parameters()):
            raise RunError(self._broken("a weight is no longer finite"))
        self.run.check_held()
        self._sum_over_processes()
        self.progress.total_seconds += time.perf_counter() - started
        self.saver.settle()
        if self.run.is_main:
            checkpoints.save(self.run.interrupted, self._checkpoint({}))
            self.saver.tell()
        # A process that ended sooner would have torchrun end the one that saves.
        self.run.world.barrier()
        raise Interrupted(
            self.request.signal_number or signal.SIGTERM,
            f"stopped in epoch {self.progress.epoch + 1}, saved in {self.run.weights}; the same command goes on there",
        )

    def _broken(self, what: str) -> str:
        """The message where the network is past use; it is not saved."""
        return (
            f"{what} in epoch {self.progress.epoch + 1}, which was not saved; lower the learning rate or set "
            f"train_config.max_grad_norm; the newest checkpoint in {self.run.weights} is the one before"
        )

    def _checkpoint(self, metrics: Mapping[str, float]) -> Checkpoint:
        recipe, network = self._recipe, self.phases.network.state_dict()
        # What is validated is what is saved as the network; where that is the average, the weights are kept beside it.
        averaged = {"network": network} if recipe.average else {}
        data = {"data": self.prints.result().to_dict()} if self.prints else {}
        sampler = self.phases.train.sampler
        order = {"window": sampler.window} if sampler.window else {}
        return Checkpoint(
            spec=self.spec.text(),
            class_names=self.phases.train.class_names,
            preprocess=self.phases.pipeline.to_dict(),
            network=recipe.average.network.state_dict() if recipe.average else network,
            epoch=self.progress.epoch,
            batch=self.progress.stats.batches,
            metrics=dict(metrics),
            training={
                "optimizer": recipe.optimizer.state_dict(),
                "precision": recipe.precision.state_dict(),
                "progress": self.progress.values(),
                "threads": torch.get_num_threads(),
                "processes": self.run.world.world_size,
                "begun_with": sampler.begun_with or self.run.world.world_size,
                **order,
                **data,
                **averaged,
            },
        )


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Say what batch norm's refusal of a single value asks for."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise SpecError(
            "train_config.batch_size_per_gpu: a batch of one image leaves batch norm one value for each channel, where "
            "maps have shrunk to 1x1; set it to 2 or more, with as many training images for each process, or set "
            "model_config.freeze_bn or a larger input_image_size"
        ) from error
