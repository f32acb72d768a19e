"""The data sets that a dataset command is about: those a spec names, or what is found at a path."""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tao_lite.data import asked, dataset
from tao_lite.data.corrections import Corrections
from tao_lite.data.example import Example, Options, Split
from tao_lite.data.formats import split_folders, table
from tao_lite.data.left_out import LeftOut
from tao_lite.errors import DataError
from tao_lite.spec import classification_pb2 as pb

NAMES = {asked.TRAIN: "train", asked.VALIDATION: "val", asked.EVALUATION: "test"}

Sides = Mapping[str, Sequence[Example]]
Reports = Mapping[str, LeftOut]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Source:
    """One data set: what it is called (train, val, test or data), where it is, its format and how it is read.

    `corrections` are those that the spec has for training and validation, one object for both.
    """

    name: str
    root: Path
    kind: str
    options: Options
    corrections: Corrections = field(default_factory=Corrections)

    def read(self) -> Sequence[Example]:
        """Its examples.

        Raises:
            DataError: it can't be read, or not be corrected as asked.
        """
        found = dataset.load(self.root, self.kind, self.options)
        if not self.corrections:
            return found
        labels = {example.label for example in found}
        names = table.class_names(self.root, self.kind, self.options, labels)
        return self.corrections.applied(found, self.options.report, names)


def of_spec(experiment: pb.Experiment, *, is_logged: bool = True) -> list[Source]:
    """The data sets that a spec names, each once. Problems in them are logged, unless is_logged is false.

    Raises:
        DataError: it names none, or a list of corrections that can't be used.
    """
    kind = pb.DatasetFormat.Kind.Name(experiment.dataset_config.format)
    sources: list[Source] = []
    corrections = Corrections.of(experiment)
    for name, path in asked.paths(experiment).items():
        report = asked.report_of(experiment, name, is_logged=is_logged)
        options = asked.options_of(experiment, name, report)
        own = corrections if name != asked.EVALUATION else Corrections()
        source = Source(name=NAMES[name], root=asked.root_of(path), kind=kind, options=options, corrections=own)
        is_divided = bool(table.split_names(source.root, kind))
        if not any(_is_same(source.root, other.root) and not is_divided for other in sources):
            sources.append(source)
    if not sources:
        raise DataError(f"{asked.TRAIN} is not set; it must be a folder of images")
    return sources


def of_path(root: Path, *, is_logged: bool = True) -> list[Source]:
    """What is at a path, its format recognised: the splits into which it, or a folder of folders, is divided, else one.

    Raises:
        DataError: what says the splits can't be read.
    """
    root = asked.root_of(str(root))

    def options(name: str, split: Split = "train") -> Options:
        report = asked.report_of(pb.Experiment(), name, is_logged=is_logged)
        return Options(report=report, name=name, split=split)

    if splits := table.split_names(root, "AUTO"):
        return [Source(name=split, root=root, kind="AUTO", options=options(split, split)) for split in splits]
    folders = split_folders.found_in(root) if root.is_dir() else []
    if folders:
        names = [split_folders.role(name) or name for name in folders]
        if len(set(names)) < len(names):
            names = folders
        return [
            Source(name=name, root=root / folder, kind="AUTO", options=options(name))
            for name, folder in zip(names, folders, strict=True)
        ]
    return [Source(name="data", root=root, kind="AUTO", options=options("the data set"))]


def _is_same(root: Path, other: Path) -> bool:
    return os.path.realpath(root) == os.path.realpath(other)


def verify(sources: Iterable[Source]) -> None:
    """Compare the corrections with what has been read of all of these data sets.

    Raises:
        DataError: as of Corrections.verify.
    """
    for corrections in {id(source.corrections): source.corrections for source in sources}.values():
        corrections.verify()


def reports(sources: Iterable[Source]) -> Reports:
    """What was left out of these data sets when they were read, by their names."""
    return {source.name: source.options.report for source in sources}


def sides(experiment: pb.Experiment, sources: Iterable[Source]) -> Sides:
    """The examples of training, validation and test as training and evaluation would have them; the spec's sources.

    Where one path is named twice, both have all of it, but for a test on the training data from which val_split takes
    the validation: that is the validation.

    Raises:
        DataError: a data set can't be read.
    """
    found: dict[str, Sequence[Example]] = {source.name: source.read() for source in sources}
    verify(sources)
    named = {NAMES[field]: os.path.realpath(asked.root_of(path)) for field, path in asked.paths(experiment).items()}
    for name in named.keys() - found.keys():
        first = next(other for other in found if named[other] == named[name])
        if name == "val" or (first == "train" and "val" in named):
            found[name] = found[first]
    if "train" in found and "val" not in found:
        train, val = dataset.held_out(found["train"], experiment.dataset_config)
        found = {**found, "train": train, "val": val}
    return {name: found[name] for name in ("train", "val", "test") if name in found}
