"""Where a training run stands: saved after each epoch and when it is stopped, found again by the same command."""

import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tao_lite import checkpoint as checkpoints
from tao_lite.checkpoint import Checkpoint
from tao_lite.errors import CheckpointError, RunError
from tao_lite.files import writing
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import resolved
from tao_lite.training.interval import EpochStats

_log = logging.getLogger(__name__)


@dataclass
class Progress:
    """What a run has done: whole epochs, the epoch begun, the best epoch, and time spent."""

    epoch: int = 0
    stats: EpochStats = field(default_factory=EpochStats)
    best_epoch: int = 0
    best_accuracy: float = -1.0
    best_loss: float = 0.0
    best_train_loss: float | None = None  # None too where the run was begun before this was kept
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
            self.best_train_loss = stats.loss
        return is_best


def resume_point(run: Run, experiment: pb.Experiment, class_names: tuple[str, ...]) -> Checkpoint | None:
    """The checkpoint to go on from, or nothing where the folder holds none.

    Raises:
        CheckpointError: init_epoch asks for a checkpoint that is not there, is damaged, or is not of that epoch.
        RunError: the folder belongs to another experiment.
    """
    arch, init_epoch = experiment.model_config.arch, experiment.train_config.checkpoint.init_epoch
    if init_epoch == 1 and _numbered(run):
        raise RunError(f"init_epoch 1 starts anew, but {run.weights} is not empty; choose another folder with -r")
    if init_epoch > 1:
        path = run.checkpoint(arch, init_epoch - 1)
        found = checkpoints.load(path)
        if not found.training or found.epoch != init_epoch - 1:
            raise CheckpointError(
                f"{path}: is not what a training saved after epoch {init_epoch - 1}; with init_epoch 0 the run goes on "
                "from its newest checkpoint"
            )
    else:
        newest = _newest(run, arch)
        if not newest:
            return None
        path, found = newest
    _refuse_other_experiment(run, found, experiment, class_names)
    _log.info("Resumed from %s: %d epochs and %d batches were done", path, found.epoch, found.batch)
    return found


def go_back(run: Run, arch: str, progress: Progress) -> None:
    """Make the folder that of a run which has just done the epoch: what was saved later moves to `abandoned`."""
    later = [path for path, _ in _points(run, [path for epoch, path in _own(run, arch) if epoch > progress.epoch])]
    later += [run.interrupted] if run.interrupted.is_file() else []
    if not later:
        return
    path = run.checkpoint(arch, progress.epoch)
    writing.link(run.latest, path)
    if run.best.resolve() in [one.resolve() for one in later]:
        writing.link(run.best, path)
    run.abandoned.mkdir(exist_ok=True)
    for one in later:
        one.replace(run.abandoned / one.name)
    names = ", ".join(one.name for one in later)
    _log.warning("Went back to epoch %d: %s moved to %s, where no run looks", progress.epoch, names, run.abandoned)
    _link_best(run, arch, checkpoints.load(path), progress.best_epoch)


def save(run: Run, arch: str, checkpoint: Checkpoint, keep_last: int, best_epoch: int) -> None:
    """Save after a whole epoch, point `latest` and `best` to the right files, and remove what is no longer kept."""
    path = run.checkpoint(arch, checkpoint.epoch)
    checkpoints.save(path, checkpoint)
    writing.link(run.latest, path)
    _link_best(run, arch, checkpoint, best_epoch)
    run.interrupted.unlink(missing_ok=True)
    best = run.best.resolve()
    done = [path for epoch, path in _own(run, arch) if epoch <= checkpoint.epoch and path.resolve() != best]
    for old in done[:-keep_last]:
        old.unlink()


def _link_best(run: Run, arch: str, checkpoint: Checkpoint, best_epoch: int) -> None:
    """Point `best` to the best epoch; where that has no file, to the better of the given one and what it points to."""
    best = run.checkpoint(arch, best_epoch)
    if not best.is_file():
        given = run.checkpoint(arch, checkpoint.epoch)
        points = [(given, checkpoint), *_points(run, [run.best.resolve()])]
        best = max(points, key=lambda one: _merit(one[1]))[0]
        _log.warning("epoch %d, the best, has no checkpoint; %s is %s", best_epoch, run.best, best.name)
    if best.resolve() != run.best.resolve():
        writing.link(run.best, best)


def _merit(checkpoint: Checkpoint) -> tuple[float, float]:
    metrics = checkpoint.metrics
    return metrics.get("val_accuracy", -1.0), -metrics.get("val_loss", math.inf)


def _newest(run: Run, arch: str) -> tuple[Path, Checkpoint] | None:
    """The checkpoint of this network that is furthest, else the newest of another, which is to be refused."""
    own = [path for _, path in _own(run, arch)]
    others = [path for _, path in _numbered(run) if path not in own]
    points = [*islice(_points(run, [run.interrupted]), 1), *islice(_points(run, reversed(own)), 1)]
    return max(
        points or islice(_points(run, reversed(others)), 1),
        key=lambda one: (one[1].epoch, one[1].batch),
        default=None,
    )


def _own(run: Run, arch: str) -> list[tuple[int, Path]]:
    """Whole epochs and the files that a run of this network names after them, oldest first."""
    return [(epoch, path) for epoch, path in _numbered(run) if path == run.checkpoint(arch, epoch)]


def _numbered(run: Run) -> list[tuple[int, Path]]:
    """Files with a name like those of whole epochs, of any network, with their numbers; lowest first."""
    matches = ((re.fullmatch(r".+_(\d{3,})\.pth", path.name), path) for path in run.weights.glob("*.pth"))
    return sorted((int(match[1]), path) for match, path in matches if match)


def _points(run: Run, paths: Iterable[Path]) -> Iterator[tuple[Path, Checkpoint]]:
    """Those that a training saved under their names and that can be loaded; others are named in the log."""
    for path in paths:
        if not path.is_file():
            continue
        try:
            found = checkpoints.load(path)
        except CheckpointError as error:
            _log.warning("%s; passed over", error)
            continue
        names = run.interrupted.name, run.checkpoint(found.experiment.model_config.arch, found.epoch).name
        if found.training and path.name in names:
            yield path, found
        else:
            _log.info("%s is not what a training saved under this name; passed over", path)


def _refuse_other_experiment(
    run: Run, found: Checkpoint, experiment: pb.Experiment, class_names: tuple[str, ...]
) -> None:
    """A changed network or class list can't go on; other changes are named and allowed."""
    elsewhere = "choose another folder with -r, or delete this one to start again"
    if found.class_names != class_names:
        raise RunError(
            f"{run.results}: was trained on the classes {', '.join(found.class_names)}; now they are "
            f"{', '.join(class_names)}; {elsewhere}; to start from its weights, set train_config.pretrained_model_path "
            f"to {run.best} there"
        )
    changes = [
        "{}: {} -> {}".format(path, *(value.strip('"') for value in values))
        for path, *values in resolved.differences(found.experiment, experiment)
    ]
    network = [change for change in changes if change.startswith("model_config.")]
    if network:
        raise RunError(f"{run.results}: holds a run with another network ({'; '.join(network)}); {elsewhere}")
    for change in changes:
        _log.warning("resumed with a changed setting: %s", change)
