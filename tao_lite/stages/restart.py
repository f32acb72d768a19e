"""Where a training run stands: saved after each epoch and when it is stopped, found again by the same command."""

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from google.protobuf.message import Message

from tao_lite import checkpoint as checkpoints
from tao_lite.checkpoint import Checkpoint
from tao_lite.engine import EpochStats
from tao_lite.errors import RunError
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

    @classmethod
    def of(cls, values: dict[str, object]) -> "Progress":
        """Progress from what `asdict` gave."""
        stats = values["stats"]
        assert isinstance(stats, dict)
        return cls(**{**values, "stats": EpochStats(**stats)})  # type: ignore[arg-type]

    def validated(self, accuracy: float, loss: float, min_delta: float) -> bool:
        """Take in the validation after a whole epoch; whether it is the best so far."""
        stats, self.stats = self.stats, EpochStats()
        self.epoch += 1
        self.images += stats.images
        self.train_seconds += stats.seconds
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
    candidates = list(_candidates(run))
    if init_epoch == 1 and candidates:
        raise RunError(f"init_epoch 1 starts anew, but {run.weights} is not empty; choose another folder with -r")
    if init_epoch > 1:
        candidates = [run.checkpoint(experiment.model_config.arch, init_epoch - 1)]
        checkpoints.load(candidates[0])
    newest = checkpoints.newest(candidates)
    if newest is None:
        return None
    path, found = newest
    _refuse_other_experiment(run, found, experiment, class_names)
    _log.info("Resumed from %s: %d epochs and %d batches were done", path, found.epoch, found.batch)
    return found


def save(run: Run, checkpoint: Checkpoint, keep_last: int, best_epoch: int) -> Path:
    """Save after a whole epoch, point `latest` and `best` to the right files, and remove what is no longer kept."""
    arch = checkpoint.experiment.model_config.arch
    path = run.checkpoint(arch, checkpoint.epoch)
    checkpoints.save(path, checkpoint)
    checkpoints.link(run.latest, path)
    best = run.checkpoint(arch, best_epoch)
    if best.is_file():
        checkpoints.link(run.best, best)
    run.interrupted.unlink(missing_ok=True)
    epochs = sorted(path for path in _candidates(run) if path != best)
    for old in epochs[:-keep_last]:
        old.unlink()
    return path


def save_interrupted(run: Run, checkpoint: Checkpoint) -> Path:
    """Save inside an epoch."""
    checkpoints.save(run.interrupted, checkpoint)
    return run.interrupted


def state(progress: Progress) -> dict[str, object]:
    """The progress as plain data."""
    return asdict(progress)


def _candidates(run: Run) -> Iterator[Path]:
    for path in run.weights.glob("*.pth"):
        if not path.is_symlink() and not path.name.startswith("."):
            yield path


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
