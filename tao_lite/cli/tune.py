"""The tune command."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tao_lite.cli.arguments import spec_file
from tao_lite.cli.options import common, compat, options
from tao_lite.cli.session import start

if TYPE_CHECKING:
    from tao_lite.run import Run, Summary
    from tao_lite.spec.load import Spec


@click.command()
@spec_file(required=True)
@click.option("--trials", type=click.IntRange(1), help="Trials of the search.  [default: the spec's, else 20]")
@click.option("--processes", type=click.IntRange(1), default=1, help="Trials at a time.", show_default=True)
@click.option("--hours", type=click.FloatRange(0, min_open=True), help="No training begins or goes on after so many.")
@click.option("--worker", type=int, default=0, hidden=True)
@compat
@common
def tune(spec_file: Path, processes: int, hours: float | None, worker: int, **rest: Any) -> int:
    """Search for better values of fields. The same command joins in from elsewhere, and goes on where it stopped."""
    fields = {"tune_config.trials": rest.pop("trials"), "compat": rest.pop("compat")}
    given = options(rest, fields)

    def stage(spec: "Spec", run: "Run") -> "Summary":
        from tao_lite.stages.tune import workers
        from tao_lite.stages.tune.tune import tune as tune_stage

        asked = workers.Asked(
            arguments=given.arguments,
            overrides=given.overrides,
            processes=processes,
            seconds=math.inf if hours is None else 3600 * hours,
            worker=worker,
        )
        return tune_stage(spec, run, asked)

    return start("tune", stage, given, spec_file=spec_file, model=None)
