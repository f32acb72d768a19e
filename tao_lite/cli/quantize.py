"""The quantize command, and what export passes on to it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tao_lite.cli.arguments import PATH, spec_file
from tao_lite.cli.options import common, onnx_file, options
from tao_lite.cli.session import start

if TYPE_CHECKING:
    from tao_lite.run import Run, Summary
    from tao_lite.spec.load import Spec

# Options that are fields of quantize_config by the same name.
_FIELDS = ("method", "target", "fine_tune_epochs", "max_accuracy_drop", "num_images", "image_dir")


@click.command()
@spec_file(required=False)
@click.option("-m", "--model", type=PATH, help="Checkpoint.  [default: the best of the results folder]")
@click.option(
    "-o",
    "--output_file",
    type=PATH,
    help="Default: the name of the checkpoint, ending in _int8.onnx; for OPENVINO _int8_openvino/model.xml.",
)
@click.option("--static_batch_size", type=int, default=-1, help="Images per batch.  [default: -1, any number]")
@click.option(
    "--input",
    "kind",
    type=click.Choice(["tensor", "pixels"]),
    default="tensor",
    help="What the graph takes: normalised floats, or uint8 pixels.  [default: tensor]",
)
@click.option(
    "--method",
    type=click.Choice(["MINMAX", "ENTROPY", "PERCENTILE"]),
    help="How a tensor's range is found.  [default: MINMAX]",
)
@click.option(
    "--target", type=click.Choice(["CPU", "TENSORRT", "OPENVINO"]), help="What the file is for.  [default: CPU]"
)
@click.option("--fine_tune_epochs", type=click.IntRange(0), help="Epochs of training in INT8 if needed.  [default: 0]")
@click.option("--max_accuracy_drop", type=float, help="Loss of top-1, or best_metric, to allow.  [default: 0.005]")
@click.option("--num_images", type=int, help="Images to calibrate on.  [default: 256, or all if there are fewer]")
@click.option("--image_dir", type=PATH, help="Folder of images to calibrate on.  [default: training images]")
@common
def quantize(spec_file: Path | None, model: Path | None, **rest: Any) -> int:
    """Make an INT8 file of a checkpoint, kept only if it is nearly as accurate as in FP32."""
    given = {name: rest.pop(name) for name in _FIELDS}
    form = {"kind": rest.pop("kind"), "batch_size": rest.pop("static_batch_size")}
    return run(rest, given, form, spec_file=spec_file, model=model)


def calibration(command: Callable[..., Any]) -> Callable[..., Any]:
    """TAO's options of export for INT8."""
    shared = (
        click.option(
            "--data_type", type=click.Choice(["fp32", "int8"]), default="fp32", help="int8: as quantize does."
        ),
        click.option(
            "--cal_image_dir", type=PATH, help="With int8: images to calibrate on.  [default: training images]"
        ),
        click.option("--batches", type=click.IntRange(1), help="With int8: how many batches of them."),
        click.option("--batch_size", type=click.IntRange(1), default=1, help="Images of such a batch.  [default: 1]"),
        click.option("--cal_cache_file", type=PATH, help="Accepted for TAO's sake; the file itself holds the ranges."),
        click.option("--cal_data_file", type=PATH, help="Accepted for TAO's sake; images are read instead."),
    )
    for option in reversed(shared):
        command = option(command)
    return command


def taken(rest: dict[str, Any], *, is_file: bool) -> dict[str, object] | None:
    """The fields of quantize_config that TAO's options mean, which are taken out of the others; None: no INT8.

    `is_file`: what is wanted is a file that takes pictures of the network's size.
    """
    cache, tensors = rest.pop("cal_cache_file"), rest.pop("cal_data_file")
    is_wanted, images = rest.pop("data_type") == "int8", rest.pop("cal_image_dir")
    batches, batch_size = rest.pop("batches"), rest.pop("batch_size")
    if not is_wanted:
        if images or batches or cache or tensors:
            click.echo(
                "--cal_image_dir, --batches and --cal_*_file were passed over: they need --data_type int8", err=True
            )
        return None
    if not is_file:
        raise click.UsageError(
            "--data_type int8 makes one file: leave out --package, but for tao-deploy, and --input image"
        )
    if cache or tensors:
        click.echo("--cal_cache_file and --cal_data_file are not needed here", err=True)
    return {"image_dir": images, "num_images": batches * batch_size if batches else None}


def run(
    rest: dict[str, Any],
    fields: Mapping[str, object],
    form: Mapping[str, Any],
    *,
    spec_file: Path | None,
    model: Path | None,
) -> int:
    """Quantise with these fields of quantize_config and this form of the file; the exit code."""
    output = rest.pop("output_file")
    if model:
        from tao_lite.stages.quantize.quantize import refuse_deployed

        refuse_deployed(model)  # before a spec is sought in it

    def stage(spec: "Spec", run: "Run") -> "Summary":
        from tao_lite.spec import classification_pb2 as pb
        from tao_lite.stages.export.export import Form
        from tao_lite.stages.quantize.quantize import quantize as quantize_stage

        source = model or run.best
        path = onnx_file(output or source.with_name(f"{source.stem}_int8.onnx"))
        if spec.experiment.quantize_config.target == pb.QuantizeTarget.OPENVINO:
            path = output or source.with_name(f"{source.stem}_int8_openvino") / "model.xml"
        return quantize_stage(spec, run, source, Form(path=path, **form))

    return start("quantize", stage, options(rest, named(fields)), spec_file=spec_file, model=model)


def named(fields: Mapping[str, object]) -> dict[str, object]:
    """Fields of quantize_config by their whole paths."""
    return {f"quantize_config.{name}": value for name, value in fields.items()}
