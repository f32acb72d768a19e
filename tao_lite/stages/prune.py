"""Prune a checkpoint by TAO's rule; retraining starts from what this writes."""

from dataclasses import asdict, replace
from pathlib import Path

from tao_lite import checkpoint as checkpoints
from tao_lite import console
from tao_lite.models import architectures
from tao_lite.pruning import surgery
from tao_lite.pruning.criteria import Rule
from tao_lite.run import Run, Summary, write_json
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import schema
from tao_lite.spec.load import Spec


def prune(spec: Spec, run: Run, *, dry_run: bool = False) -> Summary:
    """Prune prune_config.model_path, else the best checkpoint of the folder; the summary is prune.json.

    The pruned checkpoint is written to prune_config.output_path, else to weights/pruned.pth; with dry_run nothing is.

    Raises:
        TaoLiteError: the checkpoint can't be read, or the network or the rule does not allow it.
    """
    config = spec.experiment.prune_config
    source = Path(config.model_path or run.best)
    target = Path(config.output_path or run.pruned)
    found = checkpoints.load(source)
    network = checkpoints.network(found).eval()
    shape = architectures.input_shape(found.experiment.model_config)
    rule = _rule(config)
    if config.target_ratio:
        rule = replace(rule, threshold=surgery.threshold_for_ratio(network, shape, rule, config.target_ratio))
    smaller = surgery.cut(network, surgery.plan(network, shape, rule))
    changes = surgery.compare(network, smaller, shape)
    summary: dict[str, object] = {
        "pruning_ratio": changes.parameters_after / changes.parameters_before,
        "num_parameters": changes.parameters_after,
        "num_parameters_before": changes.parameters_before,
        "macs": changes.macs_after,
        "macs_before": changes.macs_before,
        "threshold": rule.threshold,
        "layers": [asdict(change) for change in changes.layers],
    }
    if run.is_main:
        _show(changes, rule)
    if run.is_main and not dry_run:
        checkpoints.save(target, replace(found, network=smaller.state_dict(), training={}, metrics={}))
        summary |= {"model_path": str(target), "bytes": target.stat().st_size}
        write_json(run.summary("prune"), summary)
        console.line(f"Wrote {target}, {target.stat().st_size / 1e6:.1f} MB")
        console.line(f"To retrain it: tao-lite train -e SPEC --set train_config.pretrained_model_path={target}")
    return summary


def _rule(config: pb.PruneConfig) -> Rule:
    return Rule(
        normalizer=config.normalizer,
        equalization_criterion=config.equalization_criterion,
        granularity=config.pruning_granularity,
        threshold=schema.as_written(config.pruning_threshold),
        min_num_filters=config.min_num_filters,
        excluded_layers=tuple(config.excluded_layers),
    )


def _show(changes: surgery.Comparison, rule: Rule) -> None:
    """Print the layers that compute, and the totals."""
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
    console.table(f"Layers at threshold {rule.threshold:.4g}", columns, rows)
    console.line(
        f"Pruning ratio (pruned model / original model): {changes.parameters_after / changes.parameters_before:.4f}"
    )
    console.line(
        f"Parameters {changes.parameters_before:,} -> {changes.parameters_after:,}, "
        f"MACs {changes.macs_before:,} -> {changes.macs_after:,}"
    )
