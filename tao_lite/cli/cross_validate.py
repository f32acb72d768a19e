"""The cross-validate command."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tao_lite.cli.arguments import spec_file
from tao_lite.cli.options import common, compat, options
from tao_lite.cli.session import start

if TYPE_CHECKING:
    from tao_lite.run import Run, Summary
    from tao_lite.spec.load import Spec


@click.command("cross-validate")
@spec_file(required=True)
@click.option("--folds", type=click.IntRange(2), default=5, help="Parts of the training images.", show_default=True)
@compat
@common
def cross_validate(spec_file: Path, folds: int, **rest: Any) -> int:
    """Train once for each part of the data, without it, and predict all of it. Goes on where an earlier run stopped."""

    def stage(spec: "Spec", run: "Run") -> "Summary":
        from tao_lite.stages.cross_validate.cross_validate import cross_validate as cross_validate_stage

        return cross_validate_stage(spec, run, folds)

    return start(
        "cross-validate", stage, options(rest, {"compat": rest.pop("compat")}), spec_file=spec_file, model=None
    )
