"""The train command."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tao_lite.cli.arguments import PATH, spec_file
from tao_lite.cli.options import common, compat, options
from tao_lite.cli.session import start
from tao_lite.machine import nodes

if TYPE_CHECKING:
    from tao_lite.run import Run, Summary
    from tao_lite.spec.load import Spec


@click.command()
@spec_file(required=True)
@click.option(
    "-c", "--classmap", type=PATH, help='File that fixes the order of classes: JSON {"class": index}, or .txt.'
)
@click.option("--init_epoch", type=click.IntRange(1), help="Epoch to go on with.  [default: after the newest saved]")
@click.option("--fresh", is_flag=True, help="Begin anew: the weights of the run in the folder are moved aside.")
@click.option("--resume", type=PATH, help="Checkpoint of a run elsewhere, to go on from where the folder has none.")
@click.option("--same_data", is_flag=True, help="Refuse to go on with a data set that has changed.")
@click.option("--use_amp", is_flag=True, help="FP16 with loss scaling, unless the spec sets train_config.precision.")
@click.option("--nnodes", default="1", metavar="N", help="Machines that train together, or the least and most: 2:4.")
@click.option("--rdzv_endpoint", metavar="HOST:PORT", help="Where they meet: one of them, and a free port there.")
@compat
@common
def train(spec_file: Path, classmap: Path | None, init_epoch: int | None, use_amp: bool, **rest: Any) -> int:
    """Train, or retrain a pruned network. Goes on where an earlier run in the results folder stopped."""
    is_fresh, same_data, resume = rest.pop("fresh"), rest.pop("same_data"), rest.pop("resume")
    if is_fresh and (same_data or init_epoch or resume):
        raise click.UsageError("--fresh begins anew: leave --init_epoch, --resume and --same_data out, which go on")

    def stage(spec: "Spec", run: "Run") -> "Summary":
        from tao_lite.spec import classification_pb2 as pb
        from tao_lite.stages.train.train import Demands
        from tao_lite.stages.train.train import train as train_stage

        if use_amp and not spec.experiment.train_config.HasField("precision"):
            spec.experiment.train_config.precision = pb.Precision.FP16
        mirror = spec.experiment.train_config.mirror
        demands = Demands(is_fresh=is_fresh, same_data=same_data, resume=resume, mirror=mirror)
        return train_stage(spec, run, demands)

    fields = {
        "dataset_config.classmap_path": classmap,
        "train_config.checkpoint.init_epoch": init_epoch,
        "compat": rest.pop("compat"),
    }
    rest["nodes"] = nodes.parse(*(rest.pop(name) for name in ("nnodes", "rdzv_endpoint")))
    return start("train", stage, options(rest, fields), spec_file=spec_file, model=None)
