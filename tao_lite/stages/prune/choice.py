"""From prune_config to what goes: the criterion, the ranking, and the threshold that reaches the target."""

from dataclasses import dataclass, replace

import torch
from torch import nn

from tao_lite.errors import SpecError
from tao_lite.metrics.best import TOP1, Metric
from tao_lite.pruning import blocks, importance, plans, sizes, surgery, targets, taylor
from tao_lite.pruning.criteria import Rule
from tao_lite.pruning.importance import Judge
from tao_lite.pruning.plans import Plan, Scored
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import schema, tasks
from tao_lite.stages.prune import latency
from tao_lite.stages.prune.subject import Subject
from tao_lite.training import objective

TARGETS = ("target_ratio", "target_macs", "target_latency", "max_accuracy_drop")


@dataclass(frozen=True)
class Choice:
    """What stays and how that was decided; `tried` holds share of the parameters and the metric's validation."""

    plan: Plan
    threshold: float
    target: tuple[str, float] | None
    tried: tuple[tuple[float, float], ...] = ()
    by_weights: tuple[str, ...] = ()  # layers that BN_SCALE had to judge by their weights
    metric: Metric = TOP1
    blocks: tuple[str, ...] = ()  # residual blocks that go as a whole; the plan is of the network without them


def choose(subject: Subject) -> Choice:
    """What the subject's prune_config takes away.

    Raises:
        SpecError: settings that contradict each other.
        PruneError: the network or the target does not allow it.
        DataError: images are needed and can't be read.
    """
    config, target = subject.config, target_of(subject.config)
    gone = _blocks(subject)
    rest = subject.without(gone)
    scored = score(rest)
    tried: tuple[tuple[float, float], ...] = ()
    threshold = scored.rule.threshold
    if gone and not target and not config.HasField("pruning_threshold"):
        threshold = 0.0
    match target:
        case ("target_ratio", ratio):
            threshold = targets.for_parameters(scored, ratio * _times_larger(subject, rest)[0])
        case ("target_macs", ratio):
            threshold = targets.for_macs(scored, ratio * _times_larger(subject, rest)[1])
        case (latency.SHARE | latency.MILLISECONDS, _):
            found = latency.search(subject, scored, target)
            threshold, tried = found.threshold, found.tried
        case ("max_accuracy_drop", drop):
            found = _for_accuracy(subject, scored, drop)
            threshold, tried = found.threshold, found.tried
    judged = _judged_by_weights(scored) if config.criterion == pb.PruneCriterion.BN_SCALE else ()
    return Choice(scored.plan(threshold), threshold, target, tried, judged, subject.metric, gone)


def score(subject: Subject) -> Scored:
    """The subject's groups with the scores of their channels, by the criterion of its prune_config.

    Raises:
        PruneError: the network or a setting does not allow it.
        DataError: the criterion needs images that can't be read.
    """
    return plans.score(subject.network, subject.shape, rule(subject.config, subject.run.device), judge(subject))


def rule(config: pb.PruneConfig, device: torch.device | None = None) -> Rule:
    """The settings of the rule, as written in the spec; with a target_latency, for what computes on the device.

    Unless the spec says else, only norms of weights are normalised. Changes of the loss and scales of batch norms are
    in one unit in all layers: dividing each layer by its largest would throw away which layers matter.
    """
    is_normalised = config.criterion == pb.PruneCriterion.MIN_WEIGHT or config.HasField("normalizer")
    return Rule(
        normalizer=config.normalizer if is_normalised else "off",
        equalization_criterion=config.equalization_criterion,
        granularity=latency.granularity(config, device),
        threshold=schema.as_written(config.pruning_threshold),
        min_num_filters=config.min_num_filters,
        excluded_layers=tuple(config.excluded_layers),
        ranking=pb.PruneRanking.Kind.Name(config.ranking),
    )


def judge(subject: Subject) -> Judge:
    """The judge that the criterion names."""
    match subject.config.criterion:
        case pb.PruneCriterion.BN_SCALE:
            return importance.by_batch_norms(subject.network)
        case pb.PruneCriterion.TAYLOR:
            batches = subject.training_batches(subject.config.criterion_batches)
            several = tasks.of(subject.experiment, subject.found.class_names)
            return taylor.by_loss(subject.network, batches, objective.make(several).losses)
        case pb.PruneCriterion.RANDOM:
            return importance.by_chance(subject.experiment.train_config.random_seed)
        case _:
            return importance.by_weights(subject.network)


def target_of(config: pb.PruneConfig) -> tuple[str, float] | None:
    """Name and value of the target that is set; None for a threshold.

    Raises:
        SpecError: two are set, or none where one is needed.
    """
    given = [_value(config, name) for name in TARGETS if getattr(config, name)]
    if len(given) > 1:
        found = " and ".join(f"{name} ({value:g})" for name, value in given)
        raise SpecError(f"prune_config sets {found}; only one can be met, so set the others to 0, which is off")
    if not given and not config.blocks:
        _refuse_without_target(config)
    return given[0] if given else None


def with_target(config: pb.PruneConfig, name: str, value: float) -> pb.PruneConfig:
    """A copy with this target in the place of any other."""
    changed = pb.PruneConfig()
    changed.CopyFrom(config)
    for target in TARGETS:
        changed.ClearField(target)  # type: ignore[arg-type]
    setattr(changed, name, value)
    return changed


def _value(config: pb.PruneConfig, name: str) -> tuple[str, float]:
    value = getattr(config, name)
    return latency.target(value) if isinstance(value, str) else (name, schema.as_written(value))


def _refuse_without_target(config: pb.PruneConfig) -> None:
    criterion, names = pb.PruneCriterion.Kind.Name(config.criterion), f"{', '.join(TARGETS[:-1])} or {TARGETS[-1]}"
    if config.ranking == pb.PruneRanking.PER_LAYER:
        raise SpecError(
            f"prune_config.ranking is PER_LAYER, which cuts the same share of every layer; say how much with {names}"
        )
    if config.criterion != pb.PruneCriterion.MIN_WEIGHT and not config.HasField("pruning_threshold"):
        raise SpecError(
            f"prune_config.criterion is {criterion}, whose scores TAO's thresholds do not fit; say how much to cut "
            f"with {names}"
        )


def _blocks(subject: Subject) -> tuple[str, ...]:
    """The residual blocks that go."""
    config = subject.config
    if not config.blocks:
        return ()
    return blocks.cheapest(
        subject.network,
        subject.shape,
        rule=rule(config),
        judge=judge(subject),
        count=config.blocks,
        is_summed=config.criterion == pb.PruneCriterion.TAYLOR,
    )


def _times_larger(subject: Subject, rest: Subject) -> tuple[float, float]:
    """How many times as many parameters and MACs the subject has as what its blocks leave: a target is of the whole."""
    changes = sizes.compare(subject.network, rest.network, subject.shape)
    return changes.parameters_before / changes.parameters_after, changes.macs_before / changes.macs_after


def _for_accuracy(subject: Subject, scored: Scored, drop: float) -> targets.Search:
    metric = subject.metric

    def merit(network: nn.Module, title: str) -> float:
        return metric.merit(metric.of(subject.evaluated(network, title)))

    def accuracy(plan: Plan) -> float:
        return merit(surgery.cut(scored.network, plan), "Validation of a try")

    before = merit(subject.network, "Validation before pruning")
    found = targets.for_accuracy(scored, before - drop, accuracy)
    tried = ((1.0, before), *found.tried)
    return replace(found, tried=tuple((share, metric.merit(one)) for share, one in tried))


def _judged_by_weights(scored: Scored) -> tuple[str, ...]:
    return tuple(importance.without_batch_norm(scored.network, [group for group, _ in scored.groups]))
