"""The evaluate command."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tao_lite.cli.arguments import PATH, spec_file
from tao_lite.cli.options import common, compat, network, options
from tao_lite.cli.session import start
from tao_lite.machine import distributed

if TYPE_CHECKING:
    from tao_lite.run import Run, Summary
    from tao_lite.spec.load import Spec


@click.command()
@spec_file(required=False)
@network
@click.option("-cm", "--classmap", type=PATH, help="Accepted for TAO's sake; a checkpoint knows its classes.")
@click.option("-i", "--image_dir", type=PATH, help="Images to evaluate.  [default: the spec's]")
@click.option("-b", "--batch_size", type=click.IntRange(1), help="Images per step.  [default: the spec's]")
@click.option("--knn", type=click.IntRange(1), help="The accuracy too that K nearest training images vote for.")
@click.option("--groups", is_flag=True, help="Find groups of images that it is weak in, by all that is known of them.")
@click.option(
    "--group_by", multiple=True, metavar="FILE:COLUMN", help="The same by a column of a CSV file that has one of paths."
)
@click.option("--outliers", type=PATH, help="Folder of images of no known class: how well they are told apart.")
@compat
@common
def evaluate(spec_file: Path | None, model: Path | None, classmap: Path | None, knn: int | None, **rest: Any) -> int:
    """Evaluate a checkpoint or a deployed network: top-1, top-k, scores per class, confusion matrix."""
    has_groups, tables = rest.pop("groups"), rest.pop("group_by")

    def stage(spec: "Spec", run: "Run") -> "Summary":
        if classmap and run.is_main:
            click.echo(f"-cm {classmap} is not needed: the checkpoint knows its classes", err=True)
        from tao_lite.stages.evaluate import Extras
        from tao_lite.stages.evaluate import evaluate as evaluate_stage
        from tao_lite.training.weak_groups import Wish

        wish = Wish(has_own=has_groups, tables=tables) if has_groups or tables else None
        return evaluate_stage(spec, run, Extras(knn=knn, groups=wish, outliers=outliers))

    outliers = rest.pop("outliers")
    fields = {
        "eval_config.model_path": model,
        "eval_config.eval_dataset_path": rest.pop("image_dir"),
        "eval_config.batch_size": rest.pop("batch_size"),
        "compat": rest.pop("compat"),
    }
    given = options(rest, fields)
    one_process = [name for name, value in (("--knn", knn), ("--outliers", outliers)) if value]
    if one_process and (given.count > 1 or distributed.launched()):
        raise click.UsageError(f"{one_process[0]} runs in one process; leave -np out, and --gpus above 1")
    return start("evaluate", stage, given, spec_file=spec_file, model=model)
