"""What a pruning prints: the layers, the totals, one line for each thing measured."""

from collections.abc import Sequence
from pathlib import Path

from tao_lite.metrics.best import TOP1, Metric
from tao_lite.metrics.joint import Result
from tao_lite.monitor import console
from tao_lite.pruning.sizes import Comparison
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.prune import latency
from tao_lite.stages.prune.choice import Choice
from tao_lite.stages.prune.measure import Latency

_CRITERIA = {
    pb.PruneCriterion.MIN_WEIGHT: "weight norms, TAO's rule",
    pb.PruneCriterion.BN_SCALE: "scales of batch norms",
    pb.PruneCriterion.TAYLOR: "first-order change of the training loss",
    pb.PruneCriterion.RANDOM: "chance",
}


def show(changes: Comparison, choice: Choice, config: pb.PruneConfig) -> None:
    """Print the layers that compute, how they were judged, and the totals."""
    rows = [
        (
            change.name,
            change.channels_before,
            change.channels_after,
            change.parameters_before,
            change.parameters_after,
            change.macs_before,
            change.macs_after,
        )
        for change in changes.layers
        if change.macs_before
    ]
    columns = ("layer", "channels", "pruned", "parameters", "pruned", "MACs", "pruned")
    console.table(f"Layers at threshold {choice.threshold:.4g}", columns, rows)
    _show_choice(choice, config)
    console.line(
        f"Pruning ratio (pruned model / original model): {changes.parameters_after / changes.parameters_before:.4f}"
    )
    console.line(
        f"Parameters {changes.parameters_before:,} -> {changes.parameters_after:,}, "
        f"MACs {changes.macs_before:,} -> {changes.macs_after:,}"
    )


def show_latencies(latencies: Sequence[Latency]) -> None:
    """Print the median times of two networks, before and after."""
    for one in latencies:
        before, after = one.milliseconds
        console.line(
            f"Latency of one image on {one.device} ({one.threads} threads): {before:.2f} -> {after:.2f} ms, "
            f"{one.speedups[1]:.2f} times as fast"
        )


def show_accuracies(found: Sequence[Result], metric: Metric, why_not: str, when: str) -> None:
    """Print validation top-1 and the metric before and after, or why they were not measured."""
    if found:
        for one in dict.fromkeys((TOP1, metric)):
            before, after = map(one.of, found)
            console.line(f"Validation {one.words} {before:.4f} -> {after:.4f}, {when}")
    else:
        console.line(f"Accuracy was not measured: {why_not}")


def show_end(path: Path) -> None:
    """Print how to go on from the pruned checkpoint."""
    console.line(f"To retrain it: tao-lite train -e SPEC --set train_config.pretrained_model_path={path}")


def _show_choice(choice: Choice, config: pb.PruneConfig) -> None:
    ranking = "in each layer" if config.ranking == pb.PruneRanking.PER_LAYER else "in all layers together"
    console.line(f"Channels were judged by {_CRITERIA[config.criterion]}, ranked {ranking}")
    if choice.by_weights:
        console.line(f"No batch norm follows {', '.join(choice.by_weights)}: judged by weight norms")
    if choice.blocks:
        console.line(f"Blocks taken out as a whole: {', '.join(choice.blocks)}")
    if choice.target and choice.target[0] in latency.KINDS:
        return  # what was measured was told
    for share, value in choice.tried:
        console.line(f"Tried {share:.4f} of the parameters: validation {choice.metric.words} {value:.4f}")
