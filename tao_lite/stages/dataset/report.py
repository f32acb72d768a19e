"""A data set in one pass over its pictures: counts, problems, copies, imbalance, and what to do about them."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tao_lite.data.balance import class_weights, weights_by_count
from tao_lite.data.dataset import DataSet
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.dataset import advice, stats
from tao_lite.stages.dataset.check import input_size, labels
from tao_lite.stages.dataset.duplicates import Entry, Fingerprints, duplicates, leakage
from tao_lite.stages.dataset.pictures import Observation, Picture, depths, doubtful, pictures
from tao_lite.stages.dataset.sources import Reports, Sides

_WEIGHTINGS = {"BALANCED": pb.ClassWeighting.BALANCED, "EFFECTIVE_NUMBER": pb.ClassWeighting.EFFECTIVE_NUMBER}


def report(sides: Sides, reports: Reports | None = None, experiment: pb.Experiment | None = None) -> dict[str, Any]:
    """Plain values, ready for JSON; `reports` is what was left out when the sides were read.

    class_names: sorted. splits: as of dataset_stats.of_split, by name. left_out: as of LeftOut.values, by data set.
    problems: what the check finds, each with severity, kind, place and text, errors first. duplicates: exact and near,
    see dataset_duplicates. leakage: for each split but train, the exact and near copies of training examples.
    imbalance: of train, see _imbalance; None without examples. advice: sentences.

    Raises:
        SpecError: a class weight of the spec is wrong.
    """
    entries = [Entry(name, example) for name, side in sides.items() for example in side]
    observations, sizes, prints = _looked_at(entries, input_size(experiment))
    reports = reports or {}
    broken = {entry.example.path for entry, size in zip(entries, sizes, strict=True) if size is None}
    observations |= set(labels(sides, reports, broken))
    class_names = sorted({label for entry in entries for label in entry.example.classes})
    splits = {}
    rest = iter(sizes)
    for name, side in sides.items():
        splits[name] = stats.of_split(side, class_names, [next(rest) for _ in side])
    found = duplicates(entries, prints)
    values = {
        "class_names": class_names,
        "splits": splits,
        "left_out": {name: report.values() for name, report in reports.items()},
        "problems": [dataclasses.asdict(observation) for observation in sorted(observations)],
        "duplicates": found,
        "leakage": leakage(found, list(sides)),
        "imbalance": _imbalance(sides, splits, experiment),
    }
    return {**values, "advice": advice.advice(values, experiment)}


def _looked_at(
    entries: list[Entry], input_size: tuple[int, int] | None
) -> tuple[set[Observation], list[tuple[int, int] | None], Fingerprints]:
    """Observations in the pictures; of each entry the size, None if its picture is broken, and what is compared."""
    frames: dict[Path, list[int]] = {}
    for index, entry in enumerate(entries):
        frames.setdefault(entry.example.path, []).append(index)
    examples = [[entries[index].example for index in indices] for indices in frames.values()]
    observations: set[Observation] = set()
    deep: dict[str, list[Picture]] = {}
    looked_at: list[Picture] = []
    sizes: list[tuple[int, int] | None] = [None] * len(entries)
    prints = Fingerprints(len(entries))
    for indices, cut, picture in zip(
        frames.values(), examples, pictures(examples, with_fingerprints=True), strict=True
    ):
        observations.update(picture.observations)
        looked_at.append(dataclasses.replace(picture, fingerprints=()))
        deep.setdefault(entries[indices[0]].split, []).append(looked_at[-1])
        prints.put(indices, cut, picture)
        for index, example in zip(indices, cut, strict=True):
            left, top, right, bottom = example.box or (0, 0, *(picture.size or (0, 0)))
            sizes[index] = (right - left, bottom - top) if picture.size else None
    full_scale = entries[0].example.full_scale if entries else 0
    for name, found in deep.items():
        observations.update(depths(found, full_scale, name))
    observations.update(doubtful(examples, looked_at, input_size))
    return observations, sizes, prints


def _imbalance(
    sides: Sides, splits: Mapping[str, Mapping[str, Any]], experiment: pb.Experiment | None
) -> dict[str, Any] | None:
    """Of the training examples, or the only ones: the largest and the smallest class, their ratio and class weights.

    weights: by the name of each class_weighting, class to weight. spec: class_weighting, sampler and weights in use,
    where class_weighting may be GIVEN (class_weights is set) and weights None (all are 1); None without a spec.
    """
    split = "train" if "train" in splits else next(iter(splits))
    counts = {name: count for name, count in splits[split]["classes"].items() if count}
    # The classes of several tasks don't compare.
    if not counts or any(example.labels for example in sides[split]):
        return None
    largest, smallest = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    return {
        "split": split,
        "largest": largest,
        "smallest": smallest,
        "ratio": counts[largest] / counts[smallest],
        "weights": {name: weights_by_count(counts, kind) for name, kind in _WEIGHTINGS.items()},
        "spec": _in_use(experiment.train_config, DataSet(tuple(sides[split]), tuple(counts))) if experiment else None,
    }


def _in_use(train: pb.TrainConfig, data: DataSet) -> dict[str, Any]:
    kind = "GIVEN" if train.class_weights else pb.ClassWeighting.Kind.Name(train.class_weighting)
    weights = class_weights(train, data)
    return {
        "class_weighting": kind,
        "sampler": pb.Sampler.Kind.Name(train.sampler),
        "weights": dict(zip(data.class_names, weights, strict=True)) if weights else None,
    }
