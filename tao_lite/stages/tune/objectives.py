"""By what trials are judged: numbers, the way they go, and which of several trials is better."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tao_lite.errors import SpecError
from tao_lite.metrics.best import METRICS
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import Spec

if TYPE_CHECKING:
    from tao_lite.stages.tune.record import Record

MEASURED = {"LATENCY": "latency_ms", "BYTES": "bytes"}
"""What is measured of a network, and not in its validation: names in files."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """`key` is its name in files; `train_key` in train.json, for what validation says."""

    name: str
    key: str
    train_key: str = ""
    is_lower_better: bool = False

    def merit(self, value: float) -> float:
        """The value, turned so that higher is better."""
        return -value if self.is_lower_better else value


def of(spec: Spec) -> tuple[Objective, ...]:
    """The objectives of the search, the first of which decides between trials that are as good.

    Raises:
        SpecError: they are named twice, or no epoch can be the best by all of them.
    """
    names = [pb.TuneObjective.Kind.Name(one) for one in spec.experiment.tune_config.objective]
    metric = pb.BestMetric.Kind.Name(spec.experiment.train_config.checkpoint.best_metric)
    found = tuple(map(_objective, names or [metric]))
    if len(set(names)) < len(names):
        raise SpecError(f"{spec.path}: tune_config.objective: found {', '.join(names)}; name each once")
    if names and not found[0].train_key:
        raise SpecError(
            f"{spec.path}: tune_config.objective: found {names[0]} first, by which any network that is small enough "
            "would do; name a metric of the validation first, such as TOP1"
        )
    extras = [one.name for one in found if one.train_key and METRICS[one.name].extra]
    if any(name != found[0].name for name in extras):
        raise SpecError(
            f"{spec.path}: tune_config.objective: found {', '.join(one.name for one in found)}; the first chooses the "
            f"best epoch, and of that only TOP1 and LOSS are known besides; name {extras[-1]} first, or leave it out"
        )
    return found


def ranked(records: Iterable["Record"], epoch: int, objectives: Sequence[Objective]) -> list["Record"]:
    """The trials by their values after the epoch, the best first: those that none beats in all, then of the rest."""

    def merits(record: "Record") -> tuple[float, ...]:
        values = record.values[epoch]
        return tuple(one.merit(value) for one, value in zip(objectives, values, strict=True))

    left, found = {one.number: (merits(one), one) for one in records}, list["Record"]()
    while left:
        front = [(own, one) for own, one in left.values() if not any(_beats(other, own) for other, _ in left.values())]
        found += [one for _, one in sorted(front, key=lambda pair: (*(-part for part in pair[0]), pair[1].number))]
        for _, one in front:
            del left[one.number]
    return found


def front(records: Sequence["Record"], objectives: Sequence[Objective]) -> list["Record"]:
    """The trained trials that no other beats in all objectives, the best by the first objective first."""
    ends = {
        one.number: [mine.merit(value) for mine, value in zip(objectives, one.values[one.epochs], strict=True)]
        for one in records
    }
    best = [one for one in records if not any(_beats(ends[other.number], ends[one.number]) for other in records)]
    best.sort(key=lambda one: (*(-part for part in ends[one.number]), one.number))
    return best if len(objectives) > 1 else best[:1]


def _beats(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether a is as good in everything, and better in something."""
    return all(mine >= other for mine, other in zip(a, b, strict=True)) and tuple(a) != tuple(b)


def _objective(name: str) -> Objective:
    if name in MEASURED:
        return Objective(name=name, key=MEASURED[name], is_lower_better=True)
    metric = METRICS[name]
    return Objective(
        name=name, key=f"val_{metric.key}", train_key=f"val_{metric.key}", is_lower_better=metric.is_lower_better
    )
