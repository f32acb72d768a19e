"""The export command: one file, or a package."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tao_lite.cli import quantize
from tao_lite.cli.arguments import PATH, spec_file
from tao_lite.cli.options import common, onnx_file, options
from tao_lite.cli.session import start

if TYPE_CHECKING:
    from tao_lite.run import Run, Summary
    from tao_lite.spec.load import Spec
    from tao_lite.stages.export.tao_deploy_files import Extras


# The names of TARGETS, which a test compares.
_TARGETS = ("onnxruntime", "openvino", "triton", "deepstream", "tensorrt", "tao-deploy", "torch")


@click.command()
@spec_file(required=False)
@click.option("-m", "--model", type=PATH, help="Checkpoint.  [default: the best of the results folder]")
@click.option("-o", "--output_file", type=PATH, help="Default: the name of the checkpoint, ending in .onnx.")
@click.option("--static_batch_size", type=int, default=-1, help="Images per batch.  [default: -1, any number]")
@click.option(
    "--input",
    "kind",
    type=click.Choice(["tensor", "pixels", "image"]),
    help="What the graph takes: normalised floats, uint8 pixels, or uint8 pictures of any size.  [default: tensor; in "
    "packages pixels, but for deepstream]",
)
@click.option("--raw_input", is_flag=True, help="The same as --input pixels.")
@click.option(
    "--boxes", "has_boxes", is_flag=True, help="With --input image: one picture, and boxes in it to classify."
)
@click.option(
    "--embedding", "has_embedding", is_flag=True, help="Give the file a second output, embedding: what the head reads."
)
@click.option("--gen_ds_config", is_flag=True, help="Write labels.txt and nvinfer_config.txt for DeepStream too.")
@click.option("--classmap_json", type=PATH, help="Accepted for TAO's sake; a checkpoint knows its classes.")
@click.option("--target_opset", "opset", type=click.IntRange(1), help="Opset of the file.  [default: PyTorch's]")
@click.option("--package", "folder", type=PATH, help="Write a folder with a client for what --for names.")
@click.option(
    "--for",
    "runtimes",
    multiple=True,
    type=click.Choice(_TARGETS),
    help="What will run the package; of several, each gets a folder in DIR.",
)
@click.option("--verify", type=click.IntRange(0), default=500, help="Validation pictures to compare.  [default: 500]")
@click.option(
    "--images", "num_images", type=click.IntRange(0), default=0, help="For tao-deploy: evaluation pictures to pack."
)
@click.option("--sign", "signing_key", type=PATH, help="Private Ed25519 key (PEM) to sign the package with.")
@click.option("--licence", default="unknown", help="The network's licence, for its card.")
@quantize.calibration
@common
def export(spec_file: Path | None, model: Path | None, **rest: Any) -> int:
    """Export a checkpoint to ONNX, checked against PyTorch; with --package, all that it takes to use it elsewhere."""
    if rest.pop("classmap_json") is not None:
        click.echo("--classmap_json is not needed here", err=True)
    output = rest.pop("output_file")
    kind, raw_input, has_boxes = rest.pop("kind"), rest.pop("raw_input"), rest.pop("has_boxes")
    has_embedding = rest.pop("has_embedding")
    if raw_input and kind not in (None, "pixels"):
        raise click.UsageError(f"--raw_input is --input pixels; leave it out, or --input {kind}")
    kind = "pixels" if raw_input else kind
    if has_boxes and kind != "image":
        raise click.UsageError("--boxes are boxes in a picture of any size: add --input image")
    opset = rest.pop("opset")
    file_options = {"kind": kind or "tensor", "opset": opset, "for_deepstream": rest.pop("gen_ds_config")}
    file_options |= {"batch_size": rest.pop("static_batch_size")}
    package_options: dict[str, Any] = {
        name: rest.pop(name) for name in ("folder", "runtimes", "verify", "signing_key", "licence")
    }
    package_options |= {"kind": kind, "opset": opset}
    folder, runtimes, num_images = package_options["folder"], package_options["runtimes"], rest.pop("num_images")
    _refuse_odd_packages(folder, runtimes, num_images)
    if has_embedding and (folder or rest["data_type"] == "int8"):
        raise click.UsageError("--embedding is for one file in float: leave out --package and --data_type int8")
    if folder and (output or has_boxes or file_options["for_deepstream"] or file_options["batch_size"] > 0):
        raise click.UsageError(
            "--package names its files itself, and they take any number of pictures: leave out -o, --boxes, "
            "--static_batch_size and --gen_ds_config"
        )

    has_tensors, batch_size = runtimes == ("tao-deploy",), rest["batch_size"]
    calibration = quantize.taken(rest, is_file=(has_tensors or not folder) and kind != "image")
    if calibration is not None and not has_tensors:
        rest["output_file"] = output
        return quantize.run(rest, calibration, file_options, spec_file=spec_file, model=model)

    def stage(spec: "Spec", run: "Run") -> "Summary":
        from tao_lite.stages.export.export import Form
        from tao_lite.stages.export.export import export as export_stage
        from tao_lite.stages.export.package import Request, package

        source = model or run.best
        tensors_of = None if calibration is None else batch_size
        if package_options["folder"]:
            return package(spec, run, source, Request(**package_options, extras=_extras(num_images, tensors_of)))
        path = onnx_file(output or source.with_suffix(".onnx"))
        form = Form(path=path, has_boxes=has_boxes, has_embedding=has_embedding, **file_options)
        return export_stage(spec, run, source, form)

    fields = quantize.named(calibration or {})
    return start("export", stage, options(rest, fields), spec_file=spec_file, model=model)


def _refuse_odd_packages(folder: Path | None, runtimes: tuple[str, ...], num_images: int) -> None:
    """Raise a usage error where the options of packages don't go together."""
    if bool(folder) != bool(runtimes):
        raise click.UsageError("--package DIR and --for RUNTIME belong together")
    if num_images and "tao-deploy" not in runtimes:
        raise click.UsageError("--images is for --for tao-deploy")


def _extras(num_images: int, batch_size: int | None) -> "Extras":
    """Pictures and, with a size of batches, tensors for tao-deploy."""
    from tao_lite.stages.export.tao_deploy_files import Extras
    from tao_lite.stages.quantize.images import for_tao_deploy

    calibration = partial(for_tao_deploy, batch_size=batch_size) if batch_size else None
    return Extras(num_images=num_images, calibration=calibration)
