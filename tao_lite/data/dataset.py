"""Data sets: the examples that a spec names, divided into training and validation, with one list of class names."""

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tao_lite.data import depth, index, look_alikes
from tao_lite.data.asked import (
    EVALUATION,
    TRAIN,
    VALIDATION,
    format_of,
    options_of,
    report_of,
    root_of,
    validation_path,
)
from tao_lite.data.corrections import Corrections
from tao_lite.data.example import Example, Options
from tao_lite.data.examples import Examples
from tao_lite.data.folds import Fold
from tao_lite.data.formats import split_folders, table
from tao_lite.data.formats.class_names import read_classmap, refuse_unusable
from tao_lite.data.formats.table import FORMATS, detect, split_names
from tao_lite.data.formats.tfrecord import record_files
from tao_lite.data.grouping import grouped
from tao_lite.data.left_out import LeftOut
from tao_lite.data.remote import present
from tao_lite.errors import DataError
from tao_lite.files.places import url_of
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import tasks
from tao_lite.spec.paths import data_folder
from tao_lite.spec.tasks import Tasks

__all__ = [
    "DataSet",
    "divide",
    "evaluation",
    "held_out",
    "load",
    "read_classmap",
    "splits",
]

_FOR_THE_NETWORK = "; to teach a network another class, train with its checkpoint as train_config.pretrained_model_path"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataSet:
    """Examples, the classes of the network, and what is left out; a label's index is its position in class_names."""

    examples: Sequence[Example]
    class_names: tuple[str, ...]
    report: LeftOut = field(default_factory=LeftOut, compare=False, repr=False)
    tasks: Tasks = ()

    @property
    def label_names(self) -> tuple[str, ...]:
        """What `labels` numbers: the classes; with several tasks, one for all examples."""
        return ("",) if self.tasks else self.class_names

    def labels(self) -> npt.NDArray[np.int64]:
        """Index of each example's class among `label_names`."""
        return Examples.of(self.examples).by_label({name: index for index, name in enumerate(self.label_names)})

    def weights(self) -> npt.NDArray[np.float32] | None:
        """How much the loss of each example's label counts; they average 1. None where all count alike."""
        weights = Examples.of(self.examples).numbers("weight")
        if weights is None or not len(weights) or (weights == weights[0]).all():
            return None
        return np.asarray(weights / weights.mean(), np.float32)

    def targets(self) -> npt.NDArray[np.int64 | np.int8]:
        """What the network learns: `labels` or, of several tasks, int8 [N, outputs] as `tasks.mark` has them."""
        if not self.tasks:
            return self.labels()
        index_of = {name: index for index, name in enumerate(self.class_names)}
        examples = Examples.of(self.examples)
        labels = examples.labels() or [()]
        found = np.full((len(labels), len(self.class_names)), -1, np.int8)
        for row, one in zip(found, labels, strict=True):
            tasks.mark(row, self.tasks, one, index_of)
        return found[examples.ids("labels")] if examples.labels() else found.repeat(len(examples), axis=0)


def splits(experiment: pb.Experiment, class_names: Sequence[str] | None) -> tuple[DataSet, DataSet]:
    """Training and validation examples of the spec.

    Class names are those of the training data, in its own order, unless `class_names` gives it. Where nothing says
    which they are, the validation examples are a part of the training data: see `held_out`.

    Raises:
        DataError: a folder can't be read, classes don't match by name, or a side is empty.
    """
    train_path, val_path = experiment.train_config.train_dataset_path, validation_path(experiment)
    train_report, val_report = (report_of(experiment, field) for field in (TRAIN, VALIDATION))
    training = _examples(experiment, TRAIN, train_path, train_report)
    names = tuple(class_names or own_names(experiment, TRAIN, train_path, training))
    corrections = Corrections.of(experiment)
    training = corrections.applied(training, train_report, names)
    _compare_classes(TRAIN, training, names, "the class map")
    labels = sorted(training.class_names())
    several = tasks.of(experiment, names)
    _refuse_unfit(several, experiment.dataset_config.multitask, train_path)
    if not several and len(class_names or labels) < 2:
        raise DataError(
            f"{TRAIN}: {train_path} holds one class only ({labels[0]}); a classifier needs at least two"
            f"{_deeper(train_path)}"
        )
    if val_path:
        validation = _examples(experiment, VALIDATION, val_path, val_report)
        validation = corrections.applied(validation, val_report, names)
        # Of one data.yaml, they are different parts.
        if _same(train_path, val_path) and not set(training).isdisjoint(validation):
            _log.warning("%s is the training folder too: validation measured what was learned by heart", VALIDATION)
        corrections.verify()
    else:
        corrections.verify()
        training, validation = held_out(training, experiment.dataset_config)
    _compare_classes(VALIDATION, validation, names, "the training data")
    _log.info("%d examples for training, %d for validation; %d classes", len(training), len(validation), len(names))
    return (
        DataSet(training, names, train_report, several),
        DataSet(validation, names, val_report, several),
    )


def evaluation(experiment: pb.Experiment, class_names: Sequence[str] | None) -> DataSet:
    """The examples to evaluate: those of eval_dataset_path, else the validation examples of training.

    Where eval_dataset_path is the training folder and validation examples are held out of that, they are meant.
    `class_names` are the network's; None: those of the data.

    Raises:
        DataError: a folder can't be read, or holds classes that are not in `class_names`.
    """
    eval_path, train = experiment.eval_config.eval_dataset_path, experiment.train_config
    on_training_data = bool(eval_path and train.train_dataset_path) and _same(eval_path, train.train_dataset_path)
    on_training_data = on_training_data and not split_names(root_of(eval_path), format_of(experiment))
    if not train.val_dataset_path and (on_training_data or (not eval_path and train.train_dataset_path)):
        _log.info("evaluated the examples of %s that are held out for validation", TRAIN)
        return splits(experiment, class_names)[1]
    if on_training_data:
        _log.warning("%s is the training folder: evaluation measured what was learned by heart", EVALUATION)
    field = VALIDATION if train.val_dataset_path and not eval_path else EVALUATION
    report = report_of(experiment, field)
    examples = _examples(experiment, field, eval_path or train.val_dataset_path, report)
    names = tuple(class_names or own_names(experiment, field, eval_path or train.val_dataset_path, examples))
    if field == VALIDATION:
        examples = Corrections.of(experiment).applied(examples, report, names)
    _compare_classes(field, examples, names, "the network", _FOR_THE_NETWORK)
    return DataSet(examples, names, report, tasks.of(experiment, names))


def own_names(experiment: pb.Experiment, field: str, path: str, examples: Sequence[Example]) -> tuple[str, ...]:
    """The classes of the data set that this field names, in its own order where it has one; all that it says it has."""
    labels = Examples.of(examples).class_names()
    return table.class_names(root_of(path), format_of(experiment), options_of(experiment, field), labels)


def load(root: Path, kind: str, options: Options) -> Examples:
    """The examples of `root`, a folder or a file; `kind` is a name in FORMATS, or AUTO.

    Raises:
        DataError: it can't be read, or its format is not recognised; names `options.name`.
    """
    if url_of(root):
        present.make(root, options.remote, options.name)
    try:
        if root.is_dir() or not (root.is_file() or record_files(root)):
            next(root.iterdir(), None)
    except OSError as error:
        where = f"; the spec says {options.written}, which is sought from the current folder" if options.written else ""
        raise DataError(f"{options.name}: {root} can't be read ({error.strerror}){where}") from error
    if kind == "AUTO":
        kind = detect(root, options)
        _log.info("%s: recognised as %s", root, kind)
    above = f"{root if root.is_dir() else data_folder(root)}/"
    examples = index.examples(
        root, kind, options, lambda: grouped(Examples.of(FORMATS[kind](root, options), above), options.group_pattern)
    )
    refuse_unusable({} if examples.labels() else examples.last_paths())
    if options.full_scale:
        examples = examples.scaled(options.full_scale)
    if said := depth.remark(depth.sampled(examples), options.full_scale):
        _log.warning("%s: %s", options.name, said)
    if options.report.total:
        level = logging.WARNING if options.report.problems else logging.INFO
        _log.log(level, "%s: left out %d: %s", root, options.report.total, options.report)
    return examples


def held_out(examples: Sequence[Example], config: pb.DatasetConfig) -> tuple[Examples, Examples]:
    """Training and validation examples where nothing else says which they are: by the fold, else by val_split.

    Raises:
        DataError: as `divide` and `folds.dealt`.
    """
    if not config.HasField("fold"):
        return divide(examples, config.val_split)
    fold = config.fold
    return Fold(num_folds=fold.num_folds, number=fold.number, seed=fold.seed).divide(examples)


def divide(given: Sequence[Example], val_split: float) -> tuple[Examples, Examples]:
    """Training and validation examples, disjoint; no group is torn.

    A group's side depends on its name only, so it is the same in every run and stays when others are added. The
    exception: a class that would have no training example gets the one group of it that was nearest to training.

    Raises:
        DataError: one of them is empty.
    """
    examples = Examples.of(given)
    groups, numbers = examples.texts("group"), examples.ids("group")
    shares = np.fromiter(map(_share, groups), np.float64, len(groups))
    is_held_out = shares < val_split
    positions, classes, names = examples.classes()
    has_others = np.zeros(len(names), np.bool_)
    has_others[classes[~is_held_out[numbers[positions]]]] = True
    for one in sorted(np.unique(classes[~has_others[classes]]).tolist(), key=lambda number: names[number]):
        own = np.unique(numbers[positions[classes == one]])
        # Of another class that was without, it may have come to training.
        if is_held_out[own].all():
            is_held_out[max(own.tolist(), key=lambda group: (shares[group], groups[group]))] = False
    training, validation = examples.where(~is_held_out[numbers]), examples.where(is_held_out[numbers])
    for side, chosen in (("training", training), ("validation", validation)):
        if not chosen:
            raise DataError(
                f"dataset_config.val_split: {val_split:g} of {len(np.unique(numbers))} images leaves none for {side}; "
                f"change it, or set {VALIDATION}"
            )
    return training, validation


def _examples(experiment: pb.Experiment, field: str, path: str, report: LeftOut) -> Examples:
    if not path:
        raise DataError(f"{field} is not set; it must be a folder of images")
    examples = load(root_of(path), format_of(experiment), options_of(experiment, field, report))
    report.verify(examples.counts())
    return examples


def _same(path: str, other: str) -> bool:
    return os.path.realpath(root_of(path)) == os.path.realpath(root_of(other))


def _share(group: str) -> float:
    """A number in [0, 1) that depends on the name only, evenly spread over names."""
    digest = hashlib.blake2b(group.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _deeper(path: str) -> str:
    """Where the folders of the classes may be, if there is one folder around them."""
    try:
        found = split_folders.around(root_of(path))
    except OSError:  # a file, for instance
        found = None
    return f"; there are several folders in {found}: if those are the classes, give that" if found else ""


def _refuse_unfit(several: Tasks, config: pb.MultitaskConfig, path: str) -> None:
    """Refuse settings for tasks that the data doesn't have, and tasks that leave nothing to tell apart."""
    for name, named in (("task_weights", config.task_weights), ("class_weighting", config.class_weighting)):
        if several and (unknown := sorted(set(named) - {task.name for task in several})):
            names = ", ".join(task.name for task in several)
            raise DataError(f"dataset_config.multitask.{name}: names {unknown[0]}, but the tasks of {path} are {names}")
    for task in several:
        if len(task.class_names) < 2 and not task.is_multi_label:
            raise DataError(
                f"{path}:1: the task {task.name} has one class only ({task.class_names[0]}), and needs at least two; "
                "take the column out, or name the others in dataset_config.multitask.tasks"
            )


def _compare_classes(field: str, examples: Examples, names: Sequence[str], owner: str, remedy: str = "") -> None:
    """Compare the examples' labels with the class names: unknown ones are an error, missing ones a warning."""
    labels = examples.class_names()
    unknown, missing = sorted(labels.difference(names)), sorted(set(names) - labels)
    if unknown:
        first = next(example for example in examples if not set(example.classes).isdisjoint(unknown))
        raise DataError(
            f"{first.place or field}: holds classes that {owner} does not have: {', '.join(unknown)}; "
            f"has no examples of: {', '.join(missing) or 'none missing'}; names must match exactly"
            f"{look_alikes.difference(unknown, names)}{remedy}"
        )
    for pair in look_alikes.pairs(labels, labels):
        _log.warning("%s: %s; they are two classes", field, look_alikes.told_apart(*pair))
    if missing:
        _log.warning("%s: held no example of %s", field, ", ".join(missing))
