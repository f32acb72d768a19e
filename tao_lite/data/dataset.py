"""Data sets: the examples that a spec names, divided into training and validation, with one list of class names."""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tao_lite.data import depth, look_alikes
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

    examples: tuple[Example, ...]
    class_names: tuple[str, ...]
    report: LeftOut = field(default_factory=LeftOut, compare=False, repr=False)
    tasks: Tasks = ()

    @property
    def label_names(self) -> tuple[str, ...]:
        """What `labels` numbers: the classes; with several tasks, one for all examples."""
        return ("",) if self.tasks else self.class_names

    def labels(self) -> npt.NDArray[np.int64]:
        """Index of each example's class among `label_names`."""
        index_of = {name: index for index, name in enumerate(self.label_names)}
        return np.array([index_of[example.label] for example in self.examples], np.int64)

    def weights(self) -> npt.NDArray[np.float32] | None:
        """How much the loss of each example's label counts; they average 1. None where all count alike."""
        weights = np.array([example.weight for example in self.examples])
        if not len(weights) or (weights == weights[0]).all():
            return None
        return np.asarray(weights / weights.mean(), np.float32)

    def targets(self) -> npt.NDArray[np.int64 | np.int8]:
        """What the network learns: `labels` or, of several tasks, int8 [N, outputs] as `tasks.mark` has them."""
        if not self.tasks:
            return self.labels()
        index_of = {name: index for index, name in enumerate(self.class_names)}
        found = np.full((len(self.examples), len(self.class_names)), -1, np.int8)
        for row, example in zip(found, self.examples, strict=True):
            tasks.mark(row, self.tasks, example.labels, index_of)
        return found


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
    labels = sorted({label for example in training for label in example.classes})
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
        DataSet(tuple(training), names, train_report, several),
        DataSet(tuple(validation), names, val_report, several),
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
    return DataSet(tuple(examples), names, report, tasks.of(experiment, names))


def own_names(experiment: pb.Experiment, field: str, path: str, examples: Collection[Example]) -> tuple[str, ...]:
    """The classes of the data set that this field names, in its own order where it has one; all that it says it has."""
    labels = {label for example in examples for label in example.classes}
    return table.class_names(root_of(path), format_of(experiment), options_of(experiment, field), labels)


def load(root: Path, kind: str, options: Options) -> list[Example]:
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
    examples = grouped(FORMATS[kind](root, options), options.group_pattern)
    refuse_unusable({example.label: example.path for example in examples if not example.labels})
    if options.full_scale:
        examples = [replace(example, full_scale=options.full_scale) for example in examples]
    if said := depth.remark(depth.sampled(examples), options.full_scale):
        _log.warning("%s: %s", options.name, said)
    if options.report.total:
        level = logging.WARNING if options.report.problems else logging.INFO
        _log.log(level, "%s: left out %d: %s", root, options.report.total, options.report)
    return examples


def held_out(examples: Collection[Example], config: pb.DatasetConfig) -> tuple[list[Example], list[Example]]:
    """Training and validation examples where nothing else says which they are: by the fold, else by val_split.

    Raises:
        DataError: as `divide` and `folds.dealt`.
    """
    if not config.HasField("fold"):
        return divide(examples, config.val_split)
    fold = config.fold
    return Fold(num_folds=fold.num_folds, number=fold.number, seed=fold.seed).divide(examples)


def divide(examples: Collection[Example], val_split: float) -> tuple[list[Example], list[Example]]:
    """Training and validation examples, disjoint; no group is torn.

    A group's side depends on its name only, so it is the same in every run and stays when others are added. The
    exception: a class that would have no training example gets the one group of it that was nearest to training.

    Raises:
        DataError: one of them is empty.
    """
    shares = {group: _share(group) for group in {example.group for example in examples}}
    held_out = {group for group, share in shares.items() if share < val_split}
    groups_of: dict[str, set[str]] = {}
    for example in examples:
        for label in example.classes:
            groups_of.setdefault(label, set()).add(example.group)
    for _, groups in sorted(groups_of.items()):
        if groups <= held_out:
            held_out.remove(max(groups, key=lambda group: (shares[group], group)))
    training = [example for example in examples if example.group not in held_out]
    validation = [example for example in examples if example.group in held_out]
    for side, chosen in (("training", training), ("validation", validation)):
        if not chosen:
            raise DataError(
                f"dataset_config.val_split: {val_split:g} of {len(shares)} images leaves none for {side}; "
                f"change it, or set {VALIDATION}"
            )
    return training, validation


def _examples(experiment: pb.Experiment, field: str, path: str, report: LeftOut) -> list[Example]:
    if not path:
        raise DataError(f"{field} is not set; it must be a folder of images")
    examples = load(root_of(path), format_of(experiment), options_of(experiment, field, report))
    report.verify(Counter(example.label for example in examples))
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


def _compare_classes(
    field: str, examples: Collection[Example], names: Sequence[str], owner: str, remedy: str = ""
) -> None:
    """Compare the examples' labels with the class names: unknown ones are an error, missing ones a warning."""
    labels = {label for example in examples for label in example.classes}
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
