"""Class balance: how much an image's loss counts by its class, and choosing as many of each."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from tao_lite.data.dataset import DataSet
from tao_lite.data.example import Example
from tao_lite.data.examples import Examples
from tao_lite.errors import SpecError
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.bind import did_you_mean
from tao_lite.spec.schema import as_written

Kinds = Mapping[str, "pb.ClassWeighting.Kind.ValueType"]
"""By the names of tasks."""


BETA = 0.999  # of EFFECTIVE_NUMBER


def class_weights(config: pb.TrainConfig, data: DataSet, kinds: Kinds | None = None) -> tuple[float, ...] | None:
    """Weight of each class, in the order of the names; they average 1 over the examples. None where all are alike.

    With several tasks they average 1 over the examples of each; `kinds` are those of tasks that have one of their own.

    Raises:
        SpecError: a weight is given to a class that the data does not have, or is not above 0.
    """
    if data.tasks:
        return _of_tasks(config, kinds or {}, data)
    counts = Examples.of(data.examples).counts()
    if config.class_weights:
        given = {name: as_written(weight) for name, weight in config.class_weights.items()}
        weights = _scaled(_given(given, data.class_names), counts)
    elif config.class_weighting == pb.ClassWeighting.NONE:
        return None
    else:
        weights = weights_by_count(counts, config.class_weighting)
    return tuple(weights.get(name, 1.0) for name in data.class_names)


def _of_tasks(config: pb.TrainConfig, kinds: Kinds, data: DataSet) -> tuple[float, ...] | None:
    """As class_weights; classes of a task of several labels have 1."""
    counts = Counter(label for example in data.examples for label in example.classes)
    weights: dict[str, float] = {}
    for task in data.tasks:
        kind = kinds.get(task.name, config.class_weighting)
        if kind != pb.ClassWeighting.NONE and not task.is_multi_label:
            names = data.class_names[task.outputs]
            weights |= weights_by_count({name: counts[name] for name in names if counts[name]}, kind)
    return tuple(weights.get(name, 1.0) for name in data.class_names) if weights else None


def weights_by_count(counts: Mapping[str, int], kind: "pb.ClassWeighting.Kind.ValueType") -> dict[str, float]:
    """Weight of each class by how many examples it has, at least one; they average 1 over the examples."""
    if kind == pb.ClassWeighting.BALANCED:
        return _scaled({name: 1 / count for name, count in counts.items()}, counts)
    return _scaled({name: (1 - BETA) / (1 - BETA**count) for name, count in counts.items()}, counts)


def evenly(examples: Sequence[Example], count: int) -> Examples:
    """At most so many, of each class equally many as far as they go; always the same ones of the same examples."""
    all_of_them = Examples.of(examples)
    labels, ids = all_of_them.texts("label")[:], all_of_them.ids("label")
    seen = Counter[str]()
    ranked = []
    for position in np.random.default_rng(0).permutation(len(examples)).tolist():
        label = labels[ids[position]]
        ranked.append((seen[label], label, position))
        seen[label] += 1
    return all_of_them.where(np.array([position for _, _, position in sorted(ranked)[:count]], np.int64))


def _scaled(weights: Mapping[str, float], counts: Mapping[str, int]) -> dict[str, float]:
    mean = sum(weights[name] * count for name, count in counts.items()) / sum(counts.values())
    return {name: weight / mean for name, weight in weights.items()}


def _given(weights: Mapping[str, float], class_names: tuple[str, ...]) -> dict[str, float]:
    path = "train_config.class_weights"
    for name, weight in weights.items():
        if name not in class_names:
            classes = ", ".join(class_names)
            raise SpecError(f'{path}: found "{name}", the classes are {classes}{did_you_mean(name, class_names)}')
        if not 0 < weight < float("inf"):
            raise SpecError(f'{path}: found {weight:g} for "{name}", must be above 0')
    return {name: weights.get(name, 1.0) for name in class_names}
