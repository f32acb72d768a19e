"""Prune a checkpoint, measure what it cost, and write it; retraining starts from what this writes."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from torch import nn

from tao_lite import checkpoint as checkpoints
from tao_lite.files import writing
from tao_lite.metrics.best import TOP1, Metric
from tao_lite.metrics.joint import Result
from tao_lite.monitor import console
from tao_lite.pruning import blocks, sizes, surgery
from tao_lite.pruning.sizes import Comparison
from tao_lite.run import Run, Summary
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import Spec
from tao_lite.stages.prune import latency, text
from tao_lite.stages.prune.choice import Choice, choose
from tao_lite.stages.prune.measure import accuracies, latencies
from tao_lite.stages.prune.subject import Subject, load_subject


def prune(spec: Spec, run: Run, *, dry_run: bool = False, measure: bool = True) -> Summary:
    """Prune prune_config.model_path, else the best checkpoint of the folder; the summary is prune.json.

    The pruned checkpoint is written to prune_config.output_path, else to weights/pruned.pth; with dry_run nothing is.
    Accuracy and latency are measured unless told else; images that can't be read are no error then.

    Raises:
        TaoLiteError: the checkpoint can't be read, or the network or a setting does not allow it.
    """
    subject = load_subject(spec, run)
    choice = choose(subject)
    smaller = cut(subject, choice)
    changes = sizes.compare(subject.network, smaller, subject.shape)
    summary = {**decision(subject.config, choice), **before_and_after(changes)}
    if run.is_main:
        text.show(changes, choice, subject.config)
        if choice.target and choice.target[0] in latency.KINDS:
            summary["latency_target"] = latency.judge(subject, smaller, choice.target)
    if not dry_run:
        summary |= write(subject, smaller)
    if measure:
        summary |= measured(subject, smaller)
    if run.is_main and not dry_run:
        writing.write_json(run.summary("prune"), summary)
        text.show_end(Path(str(summary["model_path"])))
    return summary


def cut(subject: Subject, choice: Choice) -> nn.Module:
    """The pruned network, compared with the masked one on random images.

    Raises:
        PruneError: they differ, or the pruned one can't compute.
    """
    rest = blocks.without(subject.network, choice.blocks)
    smaller = surgery.cut(rest, choice.plan)
    surgery.check(rest, choice.plan, smaller, subject.shape)
    return smaller


def write(subject: Subject, smaller: nn.Module, target: Path | None = None) -> dict[str, object]:
    """Save the pruned checkpoint, whole or not at all; its path and size in bytes.

    Raises:
        RunError: the disk refuses.
    """
    target = target or Path(subject.config.output_path or subject.run.pruned)
    if subject.run.is_main:
        pruned = replace(subject.found, network=smaller.state_dict(), training={}, metrics={}, reject={})
        checkpoints.save(target, pruned)
        console.line(f"Wrote {target}, {target.stat().st_size / 1e6:.1f} MB")
    subject.run.world.barrier()
    return {"model_path": str(target), "bytes": target.stat().st_size}


def measured(subject: Subject, smaller: nn.Module, when: str = "before retraining") -> dict[str, object]:
    """Latency and validation before and after, printed; the reason where accuracy can't be measured."""
    networks = (subject.network, smaller)
    times = latencies(networks, subject.shape, subject.run.device) if subject.run.is_main else []
    found, why_not = accuracies(subject, networks)
    if subject.run.is_main:
        text.show_latencies(times)
        text.show_accuracies(found, subject.metric, why_not, when)
    return {
        **_values(TOP1, found),
        **_values(subject.metric, found),
        **({"accuracy_not_measured": why_not} if why_not else {}),
        "latency": [one.as_dict() for one in times],
    }


def _values(metric: Metric, found: Sequence[Result]) -> dict[str, float | None]:
    before, after = map(metric.of, found) if found else (None, None)
    return {f"val_{metric.key}_before": before, f"val_{metric.key}": after}


def decision(config: pb.PruneConfig, choice: Choice) -> dict[str, object]:
    """What was asked for and what came of it, for a summary."""
    is_time = choice.target and choice.target[0] in latency.KINDS
    name = "latency" if is_time else f"val_{choice.metric.key}"
    tried = [{"ratio": share, name: value} for share, value in choice.tried]
    return {
        "criterion": pb.PruneCriterion.Kind.Name(config.criterion),
        "ranking": pb.PruneRanking.Kind.Name(config.ranking),
        "target": dict([choice.target]) if choice.target else {},
        "threshold": choice.threshold,
        **({"tried": tried} if tried else {}),
        **({"blocks": list(choice.blocks)} if choice.blocks else {}),
        **({"judged_by_weights": list(choice.by_weights)} if choice.by_weights else {}),
    }


def before_and_after(changes: Comparison) -> dict[str, object]:
    """Parameters and MACs before and after, for a summary."""
    return {
        "pruning_ratio": changes.parameters_after / changes.parameters_before,
        "num_parameters": changes.parameters_after,
        "num_parameters_before": changes.parameters_before,
        "macs": changes.macs_after,
        "macs_before": changes.macs_before,
        "layers": [asdict(change) for change in changes.layers],
    }
