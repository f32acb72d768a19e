"""The compress command."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tao_lite.cli.arguments import PATH, spec_file
from tao_lite.cli.options import common, options
from tao_lite.cli.session import start

if TYPE_CHECKING:
    from tao_lite.run import Run, Summary
    from tao_lite.spec.load import Spec


@click.command()
@spec_file(required=True)
@click.option("-m", "--model", type=PATH, required=True, help="Checkpoint to compress.")
@click.option(
    "--sizes",
    metavar="LIST",
    help="Shares of the multiply-accumulates to keep, with commas between.  [default: 0.7,0.5,0.35,0.25,0.15]",
)
@click.option("--max_accuracy_drop", type=float, help="Loss of top-1, or best_metric, to allow.  [default: 0.005]")
@click.option("--target_latency", help="Most time of an image: a share of the uncompressed network's, or 2.5ms.")
@click.option(
    "--runtime",
    type=click.Choice(["onnxruntime", "openvino"]),
    help="What will serve: times are measured in it.  [default: onnxruntime]",
)
@common
def compress(spec_file: Path, model: Path, **rest: Any) -> int:
    """Package the smallest network that keeps the accuracy: pruned, trained, INT8. Goes on where it stopped."""
    sizes, runtime = rest.pop("sizes"), rest.pop("runtime")
    given = {
        "sizes": f"[{sizes}]" if sizes else None,
        "max_accuracy_drop": rest.pop("max_accuracy_drop"),
        "target_latency": rest.pop("target_latency"),
        "runtime": runtime.upper() if runtime else None,
    }

    def stage(spec: "Spec", run: "Run") -> "Summary":
        from tao_lite.stages.compress.compress import compress as compress_stage

        return compress_stage(spec, run, model)

    fields = {f"compress_config.{name}": value for name, value in given.items()}
    rest["results_dir"] = rest["results_dir"] or Path("results") / spec_file.stem
    return start("compress", stage, options(rest, fields), spec_file=spec_file, model=model)
