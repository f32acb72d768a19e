"""Which trial is trained on, and how far: what the pruners say of trials that wait after so many epochs.

HYPERBAND is successive halving without waiting for whole rungs. Source: Li et al., arXiv:1810.05934 (ASHA).
"""

from collections.abc import Sequence
from statistics import median

from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.tune.objectives import Objective, ranked
from tao_lite.stages.tune.record import Record

_LEAST_COMPARED = 5
"""MEDIAN lets trials go on until so many got as far."""


def of(config: pb.TuneConfig, n_epochs: int) -> tuple[int, ...]:
    """The epochs after which trials wait, rising; the last is their whole length."""
    first = config.min_epochs or max(1, n_epochs // 9)
    found, epoch = list[int](), first
    while epoch < n_epochs and config.pruner != pb.TunePruner.NONE:
        found.append(epoch)
        epoch = epoch + first if config.pruner == pb.TunePruner.MEDIAN else epoch * config.reduction_factor
    return (*found, n_epochs)


def next_to(rungs: Sequence[int], epoch: int) -> int:
    """The rung after so many epochs."""
    return next(rung for rung in rungs if rung > epoch)


def common(records: Sequence[Record]) -> int:
    """The first epoch of which values are known: all trials were trained so far."""
    return min((epoch for one in records for epoch in one.values), default=0)


def promoted(
    records: Sequence[Record], rungs: Sequence[int], config: pb.TuneConfig, objectives: Sequence[Objective]
) -> Record | None:
    """A waiting trial that is to be trained on: of those, one that is furthest."""
    for rung in reversed(rungs[:-1]):
        there = [one for one in records if rung in one.values and not one.is_baseline and not one.failure]
        for one in _chosen(there, rung, config, objectives):
            if one.is_waiting and one.epochs == rung:
                return one
    return None


def last_resort(records: Sequence[Record], objectives: Sequence[Objective]) -> Record | None:
    """Where no trial has come to its end and none will: the best of those that wait furthest."""
    waiting = [one for one in records if one.is_waiting]
    if not waiting or any(one.is_complete and not one.is_baseline for one in records):
        return None
    furthest = max(one.epochs for one in waiting)
    return ranked([one for one in waiting if one.epochs == furthest], furthest, objectives)[0]


def _chosen(
    there: Sequence[Record], rung: int, config: pb.TuneConfig, objectives: Sequence[Objective]
) -> Sequence[Record]:
    order = ranked(there, rung, objectives)
    if config.pruner == pb.TunePruner.HYPERBAND:
        return order[: len(order) // config.reduction_factor]
    if len(order) < _LEAST_COMPARED:
        return order
    places = {one.number: place for place, one in enumerate(order)}
    middle = median(places.values())
    return [one for one in order if places[one.number] <= middle]
