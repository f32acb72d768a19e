"""What is left to say when a training is over: train.json, and where to look."""

from contextlib import suppress
from typing import Any

import torch

from tao_lite.data import left_out
from tao_lite.errors import RunError
from tao_lite.files import reading
from tao_lite.machine import energy, usage
from tao_lite.metrics.best import TOP1, Metric
from tao_lite.monitor import console
from tao_lite.run import Run, Summary
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.train.phases import Phases
from tao_lite.stages.train.progress import Progress
from tao_lite.training.validation import best_metric


def summary(progress: Progress, phases: Phases, joules_before: float | None) -> Summary:
    """The content of train.json; joules_before is None where the energy of the run is not known as a whole."""
    run, precision, metric = phases.run, phases.recipe.precision, best_metric(phases.experiment.train_config)
    joules = energy.joules(run.device)
    return {
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "best_metric": metric.name,
        **{f"val_{name}": value for name, value in best(progress, metric).items()},
        "train_loss": progress.best_train_loss,
        "images_per_second": progress.images / max(progress.train_seconds, 1e-9),
        "data_wait_fraction": progress.wait_seconds / max(progress.train_seconds, 1e-9),
        "peak_memory_bytes": usage.peak_bytes(run.device),
        "duration_seconds": progress.total_seconds,
        "epoch_train_seconds": progress.epoch_train_seconds,
        "energy_joules": None if joules is None or joules_before is None else joules - joules_before,
        "precision": precision.name,
        **precision.summary(),
        "threads": torch.get_num_threads(),
        "num_parameters": sum(parameter.numel() for parameter in phases.network.parameters()),
        "model_path": str(run.best),
        "left_out": {"train": phases.train.report.values(), "val": phases.val.report.values()},
    }


def best(progress: Progress, metric: Metric) -> dict[str, float]:
    """Accuracy and loss of the best epoch, and what it was chosen by where that is neither."""
    extra = {metric.key: progress.best(metric)} if metric.extra else {}
    return {"accuracy": progress.best_accuracy, "loss": progress.best_loss, **extra}


def read(progress: Progress, run: Run) -> Summary | None:
    """The train.json in the folder, if it is of a training that got exactly so far.

    Raises:
        ReadError: the system can't read it now.
    """
    with suppress(RunError):
        found = reading.read_json(run.summary("train"), RunError)
        # Seconds tell a training from another one in the same folder with as many epochs.
        expected = {"epochs": progress.epoch, "duration_seconds": progress.total_seconds}
        if isinstance(found, dict) and expected.items() <= found.items():
            return found
    return None


def say_end(progress: Progress, run: Run, config: pb.TrainConfig, summary: Summary) -> None:
    """Tell the user the best epoch, what was left out of the data, and where the files are."""
    metric = best_metric(config)
    if progress.is_stale(config):
        moved = "fallen" if metric.is_lower_better else "risen"
        console.line(f"Stopped early: validation {metric.words} has not {moved} for {progress.stale_epochs} epochs")
    elif progress.epoch < config.n_epochs:
        console.line(f"Paused after epoch {progress.epoch} of {config.n_epochs}, from where it can go on")
    chosen = "" if metric == TOP1 else f"{metric.words} {progress.best(metric):.4f}, "
    console.line(
        f"Best epoch {progress.best_epoch} of {progress.epoch}: validation {chosen}top-1 {progress.best_accuracy:.4f}"
    )
    # A run that was over before this was kept has none.
    values: Any = summary.get("left_out", {})
    for line in left_out.lines(values):
        console.line(line)
    console.line(f"Results in {run.results}, the best network in {run.best}")
    console.line(f"Curves: tensorboard --logdir {run.events} (or make tensorboard RESULTS={run.results})")
