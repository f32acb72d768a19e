"""The benchmark command: the same training in several precisions."""

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
@click.option(
    "--precisions",
    metavar="LIST",
    default="",
    help="FP32, TF32, BF16, FP16, or Apex's O0 to O3, with commas between.  [default: FP32 and what the device has]",
)
@click.option(
    "--loss_scales",
    metavar="LIST",
    default="",
    help="For FP16, O1, O2 and O3: dynamic, static:128, none, with commas between.  [default: the spec's]",
)
@click.option("--epochs", type=click.IntRange(1), help="Epochs of each training.  [default: the spec's]")
@click.option("--repeats", type=click.IntRange(1), default=1, help="Seeds for each setting.", show_default=True)
@compat
@common
def benchmark(spec_file: Path, precisions: str, loss_scales: str, epochs: int | None, repeats: int, **rest: Any) -> int:
    """Compare precisions: the same training in each, with the same seeds. Trainings that are done are not repeated."""

    def stage(spec: "Spec", run: "Run") -> "Summary":
        from tao_lite.stages.benchmark.benchmark import benchmark as benchmark_stage

        return benchmark_stage(spec, run, _words(precisions), _words(loss_scales), repeats)

    fields = {"train_config.n_epochs": epochs, "compat": rest.pop("compat")}
    return start("benchmark", stage, options(rest, fields), spec_file=spec_file, model=None)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
