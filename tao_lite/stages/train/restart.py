"""Where a training run stands: saved after each epoch and when it is stopped, found again by the same command."""

import logging
import math
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import count, islice
from pathlib import Path

from tao_lite import checkpoint as checkpoints
from tao_lite.checkpoint import Checkpoint, DamagedError
from tao_lite.errors import CheckpointError, RunError
from tao_lite.files import reading, writing
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import resolved, tasks
from tao_lite.stages.train.progress import Progress
from tao_lite.training.validation import best_metric

_log = logging.getLogger(__name__)


def resume_point(
    run: Run, experiment: pb.Experiment, class_names: tuple[str, ...], elsewhere: Path | None = None
) -> Checkpoint | None:
    """The checkpoint to go on from, or nothing where the folder holds none.

    `elsewhere`, if given, is taken where the folder holds none; it is copied there.

    Raises:
        CheckpointError: init_epoch asks for a checkpoint that is not there, is damaged, or is not of that epoch; or
            one is of a newer version; or the one elsewhere can't be gone on from.
        ReadError: the system can't read one now.
        RunError: the folder belongs to another experiment, or all its checkpoints are damaged.
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
        newest = _newest(run, arch) or _saved_elsewhere(elsewhere)
        if not newest:
            return None
        path, found = newest
    _refuse_other_experiment(run, found, experiment, class_names)
    if path == elsewhere and run.is_main:
        _take_over(run, path, found)
    _log.info("Resumed from %s: %d epochs and %d batches were done", path, found.epoch, found.batch)
    return found


def _saved_elsewhere(path: Path | None) -> tuple[Path, Checkpoint] | None:
    if not path:
        return None
    found = checkpoints.load(path)
    if not found.training:
        raise CheckpointError(
            f"{path}: is not what a training saved to go on from; give train_config.pretrained_model_path its weights"
        )
    return path, found


def _take_over(run: Run, source: Path, found: Checkpoint) -> None:
    """Copy the checkpoint into the folder, by the name that it has there."""
    path = run.interrupted if found.batch else run.checkpoint(found.experiment.model_config.arch, found.epoch)
    with reading.open_regular(source, CheckpointError) as old, writing.new_file(path) as new:
        shutil.copyfileobj(old, new)
    if path != run.interrupted:
        _point(run.latest, path)


def go_back(run: Run, arch: str, progress: Progress) -> None:
    """Make the folder that of a run which has just done the epoch: what was saved later moves to `abandoned`."""
    numbered = [path for epoch, path in _own(run, arch) if epoch > progress.epoch]
    later = [path for path, _ in _points(run, numbered, [])]
    later += [run.interrupted] if run.interrupted.is_file() else []
    if later:
        path = run.checkpoint(arch, progress.epoch)
        _point(run.latest, path)
        if _target(run.best) in later:
            _point(run.best, path)
        run.abandoned.mkdir(exist_ok=True)
        for one in later:
            one.replace(run.abandoned / one.name)
        names = ", ".join(one.name for one in later)
        _log.warning("Went back to epoch %d: %s moved to %s, where no run looks", progress.epoch, names, run.abandoned)
    mend_links(run, arch, progress)


def set_aside(run: Run) -> None:
    """Move the weights of the run before, and what it says of its end, to where no run looks."""
    if not _names(run.weights):
        return
    number = next(number for number in count(1) if not os.path.lexists(run.set_aside(number)))
    aside = run.weights.rename(run.set_aside(number))
    with suppress(FileNotFoundError):
        run.summary("train").rename(aside / run.summary("train").name)
    writing.sync_folder(run.results)
    _log.warning("Begun anew: the weights of the run before moved to %s, where no run looks", aside)


def save(run: Run, arch: str, checkpoint: Checkpoint, keep_last: int, best_epoch: int) -> None:
    """Save after a whole epoch, point `latest` and `best` to the right files, and remove what is no longer kept.

    Raises:
        RunError: the disk refuses, or the folder is no longer this run's.
    """
    run.check_held()
    path = run.checkpoint(arch, checkpoint.epoch)
    checkpoints.save(path, checkpoint)
    _point(run.latest, path)
    _link_best(run, arch, checkpoint.epoch, best_epoch)
    run.interrupted.unlink(missing_ok=True)
    best = _target(run.best)
    done = [path for epoch, path in _own(run, arch) if epoch <= checkpoint.epoch and path != best]
    for old in done[:-keep_last]:
        old.unlink()


def mend_links(run: Run, arch: str, progress: Progress) -> None:
    """Point `latest` and `best` to what a run that got so far left there, unless they do."""
    newest = run.checkpoint(arch, progress.epoch)
    if newest.is_file():
        _point(run.latest, newest)
        _link_best(run, arch, progress.epoch, progress.best_epoch)


def _point(alias: Path, path: Path) -> None:
    if _target(alias) != path:
        writing.link(alias, path)


def _target(alias: Path) -> Path | None:
    """The file of the same folder that a link leads to."""
    try:
        return alias.parent / alias.readlink()
    except OSError:
        return None


def _link_best(run: Run, arch: str, epoch: int, best_epoch: int) -> None:
    """Point `best` to the best epoch; where that has no file, to the better of this one and what it points to."""
    best = run.checkpoint(arch, best_epoch)
    if not best.is_file():
        candidates = [run.checkpoint(arch, epoch), *filter(None, [_target(run.best)])]
        points = list(_points(run, candidates, []))
        if not points:
            return
        best = max(points, key=lambda one: _merit(one[1]))[0]
        _log.warning("epoch %d, the best, has no checkpoint; %s is %s", best_epoch, run.best, best.name)
    _point(run.best, best)


def _merit(checkpoint: Checkpoint) -> tuple[float, float]:
    metrics, metric = checkpoint.metrics, best_metric(checkpoint.experiment.train_config)
    value = metrics.get(f"val_{metric.key}")
    return -math.inf if value is None else metric.merit(value), -metrics.get("val_loss", math.inf)


def _newest(run: Run, arch: str) -> tuple[Path, Checkpoint] | None:
    """The checkpoint of this network that is furthest, else the newest of another, which is to be refused.

    Raises:
        RunError: there are some, and all are damaged.
    """
    damaged: list[Path] = []
    own = [path for _, path in _own(run, arch)]
    others = [path for _, path in _numbered(run) if path not in own]

    def first(paths: Iterable[Path]) -> list[tuple[Path, Checkpoint]]:
        return list(islice(_points(run, paths, damaged), 1))

    points = first([run.interrupted]) + first(reversed(own)) or first(reversed(others))
    if damaged and not points:
        raise RunError(
            f"{run.weights}: all checkpoints there are damaged ({', '.join(path.name for path in damaged)}), and none "
            "was trained over; bring copies of them back, or begin anew with --fresh, which moves them aside"
        )
    return max(points, key=lambda one: (one[1].epoch, one[1].batch), default=None)


def _own(run: Run, arch: str) -> list[tuple[int, Path]]:
    """Whole epochs and the files that a run of this network names after them, oldest first."""
    return [(epoch, path) for epoch, path in _numbered(run) if path == run.checkpoint(arch, epoch)]


def _numbered(run: Run) -> list[tuple[int, Path]]:
    """Files with a name like those of whole epochs, of any network, with their numbers; lowest first."""
    matches = (re.fullmatch(r".+_(\d{3,})\.pth", name) for name in _names(run.weights))
    return sorted((int(match[1]), run.weights / match[0]) for match in matches if match)


def _names(folder: Path) -> list[str]:
    """What is in a folder; nothing where there is none. `glob` would say so of one that can't be read now, too."""
    try:
        return reading.retried(folder, lambda: [path.name for path in folder.iterdir()])
    except OSError:
        return []


def _points(run: Run, paths: Iterable[Path], damaged: list[Path]) -> Iterator[tuple[Path, Checkpoint]]:
    """Those that a training saved under their names and that are whole; others are named in the log.

    Those that are damaged are put into the list.
    """
    for path in paths:
        if not path.is_file():
            continue
        try:
            found = checkpoints.load(path)
        except DamagedError as error:
            damaged.append(path)
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
    several = ("dataset_config.format: ", "dataset_config.multitask.tasks", "dataset_config.multitask.multi_label")
    is_used = tasks.is_used(found.experiment) or tasks.is_used(experiment)
    network = [change for change in changes if change.startswith(("model_config.", *(several if is_used else ())))]
    if network:
        raise RunError(f"{run.results}: holds a run with another network ({'; '.join(network)}); {elsewhere}")
    _refuse_other_metric(run, found, experiment)
    for change in changes:
        _log.warning("resumed with a changed setting: %s", change)


def _refuse_other_metric(run: Run, found: Checkpoint, experiment: pb.Experiment) -> None:
    """The epochs that are done left no other numbers, so that none of them could be the best by another metric."""
    before, now = (best_metric(one.train_config) for one in (found.experiment, experiment))
    if found.epoch and before != now:
        raise RunError(
            f"{run.results}: train_config.checkpoint.best_metric is {now.name}, and the {found.epoch} epochs that are "
            f"done were compared by {before.name}; set it to {before.name} again, choose another folder with -r, or "
            "begin anew with --fresh"
        )
