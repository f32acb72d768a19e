"""The prune command: how much goes, what goes, and its other modes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tao_lite.cli.arguments import PATH, spec_file
from tao_lite.cli.options import common, options
from tao_lite.cli.session import start

if TYPE_CHECKING:
    from tao_lite.run import Run, Summary
    from tao_lite.spec.load import Spec

# Options of prune that are fields of prune_config by the same name.
_PRUNE_FIELDS = (
    *("output_path", "normalizer", "equalization_criterion", "pruning_granularity", "pruning_threshold"),
    *("min_num_filters", "criterion", "criterion_batches", "ranking"),
    *("target_ratio", "target_macs", "target_latency", "max_accuracy_drop", "rounds", "retrain_epochs", "blocks"),
)
# How much is pruned: one of these decides, and one on the command line replaces all of the spec's.
_PRUNE_TARGETS = ("target_ratio", "target_macs", "target_latency", "max_accuracy_drop")


@click.command()
@spec_file(required=False)
@click.option("-m", "--model", type=PATH, help="Checkpoint.  [default: the best of the results folder]")
@click.option(
    "-o", "--output_file", "output_path", type=PATH, help="Default: weights/pruned.pth of the results folder."
)
@click.option(
    "-n", "--normalizer", help="Scale of a layer's scores: max, L2, off.  [default: max for MIN_WEIGHT, else off]"
)
@click.option(
    "-eq",
    "--equalization_criterion",
    help="How coupled layers agree: union, intersection, arithmetic_mean, geometric_mean.  [default: union]",
)
@click.option("-pg", "--pruning_granularity", type=int, help="Channel counts stay a multiple of this.  [default: 8]")
@click.option("-pth", "--pruning_threshold", type=float, help="Channels with scores up to this go.  [default: 0.1]")
@click.option("-nf", "--min_num_filters", type=int, help="Fewest channels of a layer.  [default: 16]")
@click.option("-el", "--excluded_layers", multiple=True, help="Layers that stay whole.")
@click.option(
    "--criterion",
    type=click.Choice(["MIN_WEIGHT", "BN_SCALE", "TAYLOR", "RANDOM"]),
    help="What a channel is judged by.  [default: MIN_WEIGHT, TAO's rule]",
)
@click.option("--criterion_batches", type=int, help="Training batches that TAYLOR looks at.  [default: 16]")
@click.option(
    "--ranking", type=click.Choice(["GLOBAL", "PER_LAYER"]), help="Between which channels.  [default: GLOBAL]"
)
@click.option("--target_ratio", type=float, help="Share of the parameters to keep, in place of a threshold.")
@click.option("--target_macs", type=float, help="Share of the multiply-accumulates to keep.")
@click.option("--target_latency", help="Time of one image to come to: a share of today's such as 0.5, or 2.5ms.")
@click.option(
    "--runtime",
    type=click.Choice(["torch", "onnxruntime", "openvino"]),
    help="What --target_latency is measured in.  [default: torch]",
)
@click.option("--max_accuracy_drop", type=float, help="Loss of validation top-1, or best_metric, to allow, 0 to 1.")
@click.option("--rounds", type=int, help="Reach the target in so many rounds, each followed by training.")
@click.option("--retrain_epochs", type=int, help="Epochs of training after each round, or of --compare.  [default: 3]")
@click.option("--blocks", type=int, help="Residual blocks to take out as a whole, those that cost least.")
@click.option("--sensitivity", is_flag=True, help="Measure what pruning each layer alone costs, prune nothing.")
@click.option("--compare", is_flag=True, help="Measure all criteria at that size, before and after retraining.")
@click.option("--dry_run", is_flag=True, help="Show what would go, write nothing.")
@click.option("--no_measure", is_flag=True, help="Do not measure accuracy and latency.")
@common
def prune(spec_file: Path | None, model: Path | None, **rest: Any) -> int:
    """Prune a checkpoint: by TAO's rule, or by another criterion and to a target."""
    flags = [name for name in ("sensitivity", "compare", "dry_run", "no_measure") if rest.pop(name)]
    if len(flags) > 1 and flags != ["dry_run", "no_measure"]:
        raise click.UsageError(f"{' and '.join(f'--{name}' for name in flags)} can't be combined")

    def stage(spec: "Spec", run: "Run") -> "Summary":
        if "sensitivity" in flags:
            from tao_lite.stages.prune.sensitivity import sensitivity

            return sensitivity(spec, run)
        if "compare" in flags:
            from tao_lite.stages.prune.compare import compare

            return compare(spec, run)
        if spec.experiment.prune_config.rounds and "dry_run" not in flags:
            from tao_lite.stages.prune.rounds import rounds

            return rounds(spec, run, measure="no_measure" not in flags)
        from tao_lite.stages.prune.prune import prune as prune_stage

        return prune_stage(spec, run, dry_run="dry_run" in flags, measure="no_measure" not in flags)

    given = {name: rest.pop(name) for name in _PRUNE_FIELDS}
    if any(given[name] is not None for name in (*_PRUNE_TARGETS, "pruning_threshold")):
        given |= {name: given[name] or ("" if name == "target_latency" else 0) for name in _PRUNE_TARGETS}
    given["runtime"] = (rest.pop("runtime") or "").upper() or None
    fields = {f"prune_config.{name}": value for name, value in given.items()}
    excluded = rest.pop("excluded_layers")
    if excluded:
        fields["prune_config.excluded_layers"] = f"[{', '.join(map(_quoted, excluded))}]"
    fields["prune_config.model_path"] = model
    return start("prune", stage, options(rest, fields), spec_file=spec_file, model=model)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
