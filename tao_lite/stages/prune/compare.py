"""All criteria on the same network and data, cut to the same size: accuracy before and after the same retraining."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from tao_lite.errors import DataError
from tao_lite.files import writing
from tao_lite.monitor import console
from tao_lite.pruning import sizes
from tao_lite.pruning.sizes import Comparison
from tao_lite.run import Run, Summary
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import Spec
from tao_lite.stages.prune import measure, retrain
from tao_lite.stages.prune.choice import Choice, choose, target_of, with_target
from tao_lite.stages.prune.measure import Latency
from tao_lite.stages.prune.prune import before_and_after, cut, decision, write
from tao_lite.stages.prune.subject import Subject, load_subject
from tao_lite.stages.train import again

# TAO's first: where no target is set, its threshold says how large the others may be. Chance needs no second ranking.
_CONTENDERS = (
    *((criterion, "GLOBAL") for criterion in ("MIN_WEIGHT", "BN_SCALE", "TAYLOR", "RANDOM")),
    *((criterion, "PER_LAYER") for criterion in ("MIN_WEIGHT", "BN_SCALE", "TAYLOR")),
)


@dataclass
class Contender:
    """One criterion with one ranking, and what came of it."""

    subject: Subject
    choice: Choice
    smaller: nn.Module
    changes: Comparison
    top1: float
    retrained: float | None = None

    @property
    def names(self) -> tuple[str, str]:
        config = self.subject.config
        return pb.PruneCriterion.Kind.Name(config.criterion), pb.PruneRanking.Kind.Name(config.ranking)


def compare(spec: Spec, run: Run) -> Summary:
    """Prune by every criterion, and retrain those of the spec's ranking for prune_config.retrain_epochs.

    The summary is compare.json; retrainings are in the folder compare, and are not repeated.

    Raises:
        TaoLiteError: as `prune` and `train`; and for images that can't be read.
        Interrupted: as `train`; the same command goes on there.
    """
    subject = load_subject(spec, run)
    target = target_of(subject.config)
    before = subject.top1(subject.network, "Validation before pruning")
    contenders = _contenders(subject, target)
    _retrain(spec, subject, contenders)
    networks = [subject.network, *(one.smaller for one in contenders)]
    times = measure.latencies(networks, subject.shape, run.device) if run.is_main else []
    summary = {
        "val_accuracy_before": before,
        "retrain_epochs": subject.config.retrain_epochs,
        "contenders": [_facts(one) for one in contenders],
        "latency": [one.as_dict() for one in times],
    }
    if run.is_main:
        _show(subject, before, contenders, times)
        writing.write_json(run.summary("compare"), summary)
    return summary


def _contenders(subject: Subject, target: tuple[str, float] | None) -> list[Contender]:
    found = list[Contender]()
    for criterion, ranking in _CONTENDERS:
        config = pb.PruneConfig()
        config.CopyFrom(subject.config)
        config.criterion = pb.PruneCriterion.Kind.Value(criterion)
        config.ranking = pb.PruneRanking.Kind.Value(ranking)
        if criterion != "MIN_WEIGHT":
            config.ClearField("normalizer")  # it is meant for norms of weights
        if target is None and found:
            changes = found[0].changes
            config = with_target(config, "target_ratio", changes.parameters_after / changes.parameters_before)
        try:
            found.append(_contender(subject.with_config(config)))
        except DataError as error:
            if subject.run.is_main:
                console.line(f"{criterion} was left out: {error}")
    return found


def _contender(subject: Subject) -> Contender:
    choice = choose(subject)
    smaller = cut(subject, choice)
    changes = sizes.compare(subject.network, smaller, subject.shape)
    return Contender(subject, choice, smaller, changes, subject.top1(smaller))


def _retrain(spec: Spec, subject: Subject, contenders: Sequence[Contender]) -> None:
    training = retrain.spec_of(spec, subject, subject.config.retrain_epochs)
    for one in contenders:
        if one.subject.config.ranking != subject.config.ranking and one.names[0] != "RANDOM":
            continue
        run = replace(subject.run, results=subject.run.comparison(one.names[0].lower()))
        retrain.claim(run, one.subject.config, subject.source)
        if not again.is_there(run.pruned, run):
            write(one.subject, one.smaller, run.pruned)
        one.retrained = float(str(again.retrain(training, run, run.pruned)["val_accuracy"]))


def _facts(one: Contender) -> dict[str, object]:
    found = {**decision(one.subject.config, one.choice), **before_and_after(one.changes)}
    del found["layers"]
    return {**found, "val_accuracy": one.top1, "val_accuracy_retrained": one.retrained}


def _show(subject: Subject, before: float, contenders: Sequence[Contender], times: Sequence[Latency]) -> None:
    cpu = times[0]
    changes = contenders[0].changes
    first = ("not pruned", "", changes.parameters_before, changes.macs_before, cpu.milliseconds[0], 1.0, before, "")
    rows = [
        (*_figures(one), cpu.milliseconds[place], cpu.speedups[place], one.top1, _or_blank(one.retrained))
        for place, one in enumerate(contenders, start=1)
    ]
    columns = ("criterion", "ranking", "parameters", "MACs", "ms", "times as fast", "top-1 pruned", "top-1 retrained")
    console.table(
        f"Criteria on {subject.source}; ms of one image on {cpu.threads} threads of the CPU", columns, [first, *rows]
    )


def _figures(one: Contender) -> tuple[object, ...]:
    return (*one.names, one.changes.parameters_after, one.changes.macs_after)


def _or_blank(value: float | None) -> object:
    return "" if value is None else value
