"""Where a training run stands: saved after each epoch and when it is stopped, found again by the same command."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from tao_lite import checkpoint as checkpoints
from tao_lite.checkpoint import Checkpoint
from tao_lite.engine import EpochStats
from tao_lite.errors import CheckpointError, RunError
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import schema
from tao_lite.spec.bind import join

_log = logging.getLogger(__name__)


@dataclass
class Progress:
    """What a run has done: whole epochs, the epoch begun, the best epoch, and time spent."""

    epoch: int = 0
    stats: EpochStats = field(default_factory=EpochStats)
    best_epoch: int = 0
    best_accuracy: float = -1.0
    best_loss: float = 0.0
    reference_accuracy: float = -1.0  # what early stopping measures the next epochs against
    stale_epochs: int = 0
    images: int = 0
    train_seconds: float = 0.0
    wait_seconds: float = 0.0
    total_seconds: float = 0.0
    epoch_train_seconds: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Progress":
        """Progress from what `asdict` gave."""
        return cls(**{**values, "stats": EpochStats(**values["stats"])})

    def validated(self, accuracy: float, loss: float, min_delta: float) -> bool:
        """Take in the validation after a whole epoch; whether it is the best so far."""
        stats, self.stats = self.stats, EpochStats()
        self.epoch += 1
        self.images += stats.images
        self.train_seconds += stats.seconds
        self.epoch_train_seconds.append(stats.seconds)
        self.wait_seconds += stats.wait_seconds
        if accuracy > self.reference_accuracy + min_delta:
            self.reference_accuracy, self.stale_epochs = accuracy, 0
        else:
            self.stale_epochs += 1
        is_best = (accuracy, -loss) > (self.best_accuracy, -self.best_loss)
        if is_best:
            self.best_epoch, self.best_accuracy, self.best_loss = self.epoch, accuracy, loss
        return is_best


def resume_point(run: Run, experiment: pb.Experiment, class_names: tuple[str, ...]) -> Checkpoint | None:
    """The checkpoint to go on from, or nothing where the folder holds none.

    Raises:
        CheckpointError: init_epoch asks for a checkpoint that is not there or is damaged.
        RunError: the folder belongs to another experiment.
    """
    init_epoch = experiment.train_config.checkpoint.init_epoch
    epochs = _epoch_checkpoints(run)
    if init_epoch == 1 and epochs:
        raise RunError(f"init_epoch 1 starts anew, but {run.weights} is not empty; choose another folder with -r")
    if init_epoch > 1:
        path = run.checkpoint(experiment.model_config.arch, init_epoch - 1)
        found = checkpoints.load(path)
    else:
        newest = [*_first_intact([run.interrupted]), *_first_intact(reversed(epochs))]
        if not newest:
            return None
        path, found = max(newest, key=lambda one: (one[1].epoch, one[1].batch))
    _refuse_other_experiment(run, found, experiment, class_names)
    _log.info("Resumed from %s: %d epochs and %d batches were done", path, found.epoch, found.batch)
    return found


def save(run: Run, checkpoint: Checkpoint, keep_last: int, best_epoch: int) -> None:
    """Save after a whole epoch, point `latest` and `best` to the right files, and remove what is no longer kept."""
    arch = checkpoint.experiment.model_config.arch
    path = run.checkpoint(arch, checkpoint.epoch)
    checkpoints.save(path, checkpoint)
    checkpoints.link(run.latest, path)
    best = run.checkpoint(arch, best_epoch)
    if best.is_file():
        checkpoints.link(run.best, best)
    run.interrupted.unlink(missing_ok=True)
    for old in [path for path in _epoch_checkpoints(run) if path != best][:-keep_last]:
        old.unlink()


def _epoch_checkpoints(run: Run) -> list[Path]:
    """The checkpoints of whole epochs, oldest first."""
    numbered = ((re.fullmatch(r".+_(\d{3,})\.pth", path.name), path) for path in run.weights.glob("*.pth"))
    return [path for _, path in sorted((int(match[1]), path) for match, path in numbered if match)]


def _first_intact(paths: Iterable[Path]) -> Iterator[tuple[Path, Checkpoint]]:
    """The first checkpoint that can be loaded, if any; damaged ones are named in the log."""
    for path in paths:
        if not path.is_file():
            continue
        try:
            yield path, checkpoints.load(path)
        except CheckpointError as error:
            _log.warning("%s; passed over", error)
        else:
            return


def _refuse_other_experiment(
    run: Run, found: Checkpoint, experiment: pb.Experiment, class_names: tuple[str, ...]
) -> None:
    """A changed network or class list can't go on; other changes are named and allowed."""
    elsewhere = "choose another folder with -r, or delete this one to start again"
    if found.class_names != class_names:
        raise RunError(
            f"{run.results}: was trained on the classes {', '.join(found.class_names)}; now they are "
            f"{', '.join(class_names)}; {elsewhere}"
        )
    changes = list(_differences(found.experiment, experiment, ""))
    network = [change for change in changes if change.startswith("model_config.")]
    if network:
        raise RunError(f"{run.results}: holds a run with another network ({'; '.join(network)}); {elsewhere}")
    for change in changes:
        _log.warning("resumed with a changed setting: %s", change)


def _differences(old: Message, new: Message, path: str) -> Iterator[str]:
    for name, field_ in schema.fields(new).items():
        before, after = getattr(old, name), getattr(new, name)
        if schema.block_type(field_):
            yield from _differences(before, after, join(path, name))
        elif before != after:
            yield f"{join(path, name)}: {before} -> {after}"
