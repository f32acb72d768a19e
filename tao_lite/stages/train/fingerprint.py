"""The fingerprint of a data set: what a checkpoint keeps of it, and what has changed since.

A number of 8 bytes for each example: 5 are a hash of its name, 3 one of its size and weight. The name is the path
below the root without the folder of its class, and the box; numbers are sorted within each class. So a picture that
became a member of another class, or another picture of the same name, is told from one that is new. What a setting
does to the examples shows in them, and pictures are not read: one of the same name and size passes for the same. Of
1.28 million examples the numbers take 10 MB in a checkpoint, and less time than listing the folders.
"""

import hashlib
import itertools
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tao_lite.checkpoint import Checkpoint
from tao_lite.data import asked
from tao_lite.data.dataset import DataSet
from tao_lite.data.examples import Examples
from tao_lite.errors import RunError
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.paths import data_folder

_log = logging.getLogger(__name__)

_Numbers = npt.NDArray[np.uint64]

_SIZE_BITS = np.uint64(24)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: sizes that are near each other get far apart
_NUM_THREADS = 16  # a file system over a network answers many at once
_NUM_PER_TASK = 1024


@dataclass(frozen=True)
class Fingerprint:
    """The numbers of the examples of each class, sorted."""

    classes: Sequence[_Numbers]

    @classmethod
    def of(cls, data: DataSet, root: Path) -> "Fingerprint":
        """That of a data set, whose files are below the root or, if that is a file, beside it."""
        numbers = _hashes(names(data, root)) << _SIZE_BITS
        examples = Examples.of(data.examples)
        sizes = _sizes(examples) ^ _weights(examples)
        numbers |= (sizes * _SPREAD) >> (np.uint64(64) - _SIZE_BITS)
        labels = data.labels()
        return cls([np.sort(numbers[labels == index]) for index in range(len(data.label_names))])

    def to_dict(self) -> dict[str, Any]:
        """Plain values from which `from_dict` makes the same again."""
        joined = np.concatenate([*self.classes, np.empty(0, np.uint64)])
        return {"counts": [len(one) for one in self.classes], "hashes": torch.from_numpy(joined.view(np.int64))}

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> "Fingerprint":
        numbers = value["hashes"].numpy().view(np.uint64)
        return Fingerprint(np.split(numbers, np.cumsum(value["counts"])[:-1]))

    def __or__(self, other: "Fingerprint") -> "Fingerprint":
        """That of both data sets together."""
        pairs = zip(self.classes, other.classes, strict=True)
        return Fingerprint([np.sort(np.concatenate(pair)) for pair in pairs])


@dataclass(frozen=True)
class Changes:
    """How many examples differ between two fingerprints."""

    added: int
    removed: int
    moved: int  # to another class
    changed: int  # of another size or weight

    @classmethod
    def between(cls, before: Fingerprint, now: Fingerprint) -> "Changes":
        """Of fingerprints with the same classes."""
        gone, new, changed = [], [], 0
        for old, found in zip(before.classes, now.classes, strict=True):
            lost, arrived = np.setdiff1d(old, found), np.setdiff1d(found, old)
            same_name = np.intersect1d(lost >> _SIZE_BITS, arrived >> _SIZE_BITS)
            changed += len(same_name)
            gone.append(lost[~np.isin(lost >> _SIZE_BITS, same_name)])
            new.append(arrived[~np.isin(arrived >> _SIZE_BITS, same_name)])
        left, come = np.concatenate(gone), np.concatenate(new)
        moved = len(np.intersect1d(left, come))
        return cls(len(come) - moved, len(left) - moved, moved, changed)

    def __bool__(self) -> bool:
        return any(vars(self).values())

    def __str__(self) -> str:
        return (
            f"{self.added} examples were added, {self.removed} removed, {self.moved} moved to another class, "
            f"{self.changed} changed"
        )


@dataclass(frozen=True)
class Prints:
    """The fingerprints of what is trained and validated on."""

    train: Fingerprint
    val: Fingerprint

    @classmethod
    def of(cls, experiment: pb.Experiment, train: DataSet, val: DataSet) -> "Prints":
        return cls(*map(Fingerprint.of, (train, val), roots(experiment)))

    @classmethod
    def later(cls, experiment: pb.Experiment, train: DataSet, val: DataSet) -> "Future[Prints]":
        """As `of`, by a thread: of a million files it takes longer than all else before the first step."""
        pool = ThreadPoolExecutor(1, thread_name_prefix="prints")
        found = pool.submit(cls.of, experiment, train, val)
        pool.shutdown(wait=False)
        return found

    def to_dict(self) -> dict[str, Any]:
        """What `payload` calls data."""
        return {"train": self.train.to_dict(), "val": self.val.to_dict()}

    def compare(self, found: Checkpoint, results: Path, otherwise: str = "") -> bool:
        """Say what has changed since the checkpoint; whether its epoch, begun on other images, has to begin anew.

        Raises:
            RunError: something has changed, and nothing may: `otherwise` says what to do where it should have.
        """
        kept = found.training.get("data")
        if kept is None:
            if otherwise:
                raise RunError(f"{results}: was written before data sets had fingerprints; {otherwise}")
            return False
        before = Prints(*(Fingerprint.from_dict(kept[name]) for name in ("train", "val")))
        changes = Changes.between(before.train | before.val, self.train | self.val)
        if changes and otherwise:
            raise RunError(
                f"{results}: the data set is not the one of the run before: {changes}; bring it back, or {otherwise}"
            )
        if changes:
            _log.warning("the data set is not the one of the run before: %s", changes)
        is_begun_anew = bool(found.batch and Changes.between(before.train, self.train))
        if is_begun_anew:
            _log.warning(
                "epoch %d is begun anew: its first %d batches were of other training images",
                found.epoch + 1,
                found.batch,
            )
        return is_begun_anew


def roots(experiment: pb.Experiment) -> tuple[Path, Path]:
    """Where what is trained and what is validated on lies."""
    config = experiment.train_config
    paths = config.train_dataset_path, config.val_dataset_path or config.train_dataset_path
    return asked.root_of(paths[0]), asked.root_of(paths[1])


def names(data: DataSet, root: Path) -> Iterator[str]:
    """What the examples are called below the root or, if that is a file, beside it."""
    above = f"{root if root.is_dir() else data_folder(root)}/"
    examples = Examples.of(data.examples)
    folders = (
        before or label for before, label in zip(examples.each("annotated"), examples.each("label"), strict=True)
    )
    for path, folder, more in zip(examples.paths(), folders, _more(examples), strict=True):
        name = f"/{path.removeprefix(above)}".replace(f"/{folder}/", "/", 1)
        yield "\0".join((name, *more))


def _more(examples: Examples) -> Iterator[tuple[str, ...]]:
    """What tells examples of one path apart: box and labels of tasks."""
    boxes, labels = examples.numbers("box"), examples.labels()
    if boxes is None and labels is None:
        return itertools.repeat((str(None),), len(examples))
    return ((str(one.box), *one.labels) for one in examples)


def _hashes(names: Iterable[str]) -> _Numbers:
    """40 bits each."""
    digests = b"".join(
        hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest() for name in names
    )
    return np.frombuffer(digests, np.dtype("<u8")).astype(np.uint64) >> _SIZE_BITS


def _weights(examples: Examples) -> _Numbers:
    """0 for a weight of 1."""
    weights = examples.numbers("weight")
    if weights is None:
        return np.zeros(len(examples), np.uint64)
    return np.ascontiguousarray(weights).view(np.uint64) ^ np.float64(1).view(np.uint64)


def _sizes(examples: Examples) -> _Numbers:
    """In bytes; 0 for what can't be asked."""
    places = np.arange(len(examples))
    parts = [examples.where(places[first : first + _NUM_PER_TASK]) for first in places[::_NUM_PER_TASK]]
    with ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="sizes") as pool:
        found = pool.map(lambda part: list(_sizes_of(part)), parts)
        sizes = np.array([size for part in found for size in part], np.uint64)
    spans = examples.numbers("span")
    return sizes if spans is None else np.where(spans[:, 0] < 0, sizes, spans[:, 1].astype(np.uint64))


def _sizes_of(examples: Examples) -> Iterator[int]:
    last_path, last = None, 0
    for path in examples.paths():
        if path != last_path:  # Objects of a frame follow each other.
            last_path, last = path, _size(path)
        yield last


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - twice as fast as Path.stat
    except OSError:
        return 0
