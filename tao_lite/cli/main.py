"""The command line: arguments to spec to stage, and exit codes. Imports torch only when a stage runs.

Exit codes: 0 success, 1 our fault, 2 the user's, 128 + signal when the run was stopped (130 for Ctrl-C).
"""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tao_lite.cli.arguments import PATH, spec_file
from tao_lite.cli.benchmark import benchmark
from tao_lite.cli.dataset import dataset_group
from tao_lite.cli.doctor import doctor_command
from tao_lite.cli.options import common, compat, options
from tao_lite.cli.prune import prune
from tao_lite.cli.report import report_command
from tao_lite.cli.session import start
from tao_lite.cli.spec import spec_group
from tao_lite.cli.verify import verify_command
from tao_lite.errors import USER_ERROR, Interrupted, TaoLiteError, shown
from tao_lite.machine import distributed
from tao_lite.monitor import console

if TYPE_CHECKING:
    from tao_lite.run import Run, Summary
    from tao_lite.spec.load import Spec

OUR_FAULT, CTRL_C = 1, 130

# TAO lets these take several words; each becomes an option of its own for click.
_LISTS = ("-el", "--excluded_layers", "--gpu_index")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    console.reopen_closed()
    try:
        given = _spread_lists(sys.argv[1:] if arguments is None else arguments)
        # A stage of several processes passes the words on to them.
        code = cli.main(given, prog_name="tao-lite", standalone_mode=False, obj=given)
    except click.exceptions.ClickException as error:
        error.show()
        code = USER_ERROR
    except TaoLiteError as error:
        click.echo(f"Error: {shown(str(error))}", err=True)
        code = USER_ERROR
    except OSError as error:
        logging.getLogger(__name__).debug("where it happened", exc_info=True)
        click.echo(f"Error: {shown(str(error.filename or 'a file'))}: {error.strerror or error}", err=True)
        code = USER_ERROR
    except Interrupted as stopped:
        click.echo(shown(str(stopped)), err=True)
        code = 128 + stopped.signal_number
    except (click.exceptions.Abort, KeyboardInterrupt):
        code = CTRL_C
    except Exception as error:
        if _is_short_of_memory(error):
            click.echo(f"Error: too little memory ({shown(str(error))}); raise its limit (ulimit -v)", err=True)
            sys.exit(USER_ERROR)
        logging.getLogger(__name__).exception("This is a fault of tao_lite; please report it with these lines")
        code = OUR_FAULT
    if distributed.launched():
        # Threads of gloo may outlive the interpreter's end and abort the process after its work is done (exit 134;
        # seen in 11 of 60 runs of a bare two-process script on torch 2.15, in none that ended like this).
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)
    sys.exit(code or 0)


_network = click.option(
    "-m",
    "--model_path",
    "model",
    type=PATH,
    help="Checkpoint, ONNX file, OpenVINO model.xml or package.  [default: the best checkpoint of the results folder]",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="tao-lite")
def cli() -> None:
    """Image classification from TAO spec files: train, evaluate, prune, retrain."""


@cli.command()
@spec_file(required=True)
@click.option("-c", "--classmap", type=PATH, help='JSON file {"class": index} that fixes the order of classes.')
@click.option("--init_epoch", type=click.IntRange(1), help="Epoch to go on with.  [default: after the newest saved]")
@click.option("--fresh", is_flag=True, help="Begin anew: the weights of the run in the folder are moved aside.")
@click.option("--same_data", is_flag=True, help="Refuse to go on with a data set that has changed.")
@click.option("--use_amp", is_flag=True, help="FP16 with loss scaling, unless the spec sets train_config.precision.")
@compat
@common
def train(spec_file: Path, classmap: Path | None, init_epoch: int | None, use_amp: bool, **rest: Any) -> int:
    """Train, or retrain a pruned network. Goes on where an earlier run in the results folder stopped."""
    is_fresh, same_data = rest.pop("fresh"), rest.pop("same_data")
    if is_fresh and (same_data or init_epoch):
        raise click.UsageError("--fresh begins anew: leave --init_epoch and --same_data out, which go on")

    def stage(spec: "Spec", run: "Run") -> "Summary":
        from tao_lite.spec import classification_pb2 as pb
        from tao_lite.stages.train.train import Demands
        from tao_lite.stages.train.train import train as train_stage

        if use_amp and not spec.experiment.train_config.HasField("precision"):
            spec.experiment.train_config.precision = pb.Precision.FP16
        return train_stage(spec, run, Demands(is_fresh=is_fresh, same_data=same_data))

    fields = {
        "dataset_config.classmap_path": classmap,
        "train_config.checkpoint.init_epoch": init_epoch,
        "compat": rest.pop("compat"),
    }
    return start("train", stage, options(rest, fields), spec_file=spec_file, model=None)


@cli.command()
@spec_file(required=False)
@_network
@click.option("-cm", "--classmap", type=PATH, help="Accepted for TAO's sake; a checkpoint knows its classes.")
@click.option("-i", "--image_dir", type=PATH, help="Images to evaluate.  [default: the spec's]")
@click.option("-b", "--batch_size", type=click.IntRange(1), help="Images per step.  [default: the spec's]")
@compat
@common
def evaluate(spec_file: Path | None, model: Path | None, classmap: Path | None, **rest: Any) -> int:
    """Evaluate a checkpoint or a deployed network: top-1, top-k, scores per class, confusion matrix."""

    def stage(spec: "Spec", run: "Run") -> "Summary":
        if classmap and run.is_main:
            click.echo(f"-cm {classmap} is not needed: the checkpoint knows its classes", err=True)
        from tao_lite.stages.evaluate import evaluate as evaluate_stage

        return evaluate_stage(spec, run)

    fields = {
        "eval_config.model_path": model,
        "eval_config.eval_dataset_path": rest.pop("image_dir"),
        "eval_config.batch_size": rest.pop("batch_size"),
        "compat": rest.pop("compat"),
    }
    return start("evaluate", stage, options(rest, fields), spec_file=spec_file, model=model)


@cli.command()
@spec_file(required=False)
@_network
@click.option("-i", "--image", type=PATH, help="One image.")
@click.option("-d", "--image_dir", type=PATH, help="Folder of images, at any depth.")
@click.option("-b", "--batch_size", type=click.IntRange(1), help="Images per step.  [default: the spec's]")
@click.option("-cm", "--classmap", type=PATH, help="Accepted for TAO's sake; a checkpoint knows its classes.")
@common
def inference(spec_file: Path | None, model: Path | None, **rest: Any) -> int:
    """Classify images: the class and its probability for each, in result.csv."""
    images = [path for path in (rest.pop("image"), rest.pop("image_dir")) if path]
    if len(images) != 1:
        raise click.UsageError("give one image with -i or a folder with -d")
    if classmap := rest.pop("classmap"):
        click.echo(f"-cm {classmap} is not needed: the checkpoint knows its classes", err=True)

    def stage(spec: "Spec", run: "Run") -> "Summary":
        from tao_lite.stages.inference import inference as inference_stage

        return inference_stage(spec, run, images[0])

    fields = {"eval_config.model_path": model, "eval_config.batch_size": rest.pop("batch_size")}
    return start("inference", stage, options(rest, fields), spec_file=spec_file, model=model)


@cli.command()
@spec_file(required=False)
@click.option("-m", "--model", type=PATH, help="Checkpoint.  [default: the best of the results folder]")
@click.option("-o", "--output_file", type=PATH, help="Default: the name of the checkpoint, ending in .onnx.")
@click.option("--static_batch_size", type=int, default=-1, help="Images per batch.  [default: -1, any number]")
@click.option(
    "--input",
    "kind",
    type=click.Choice(["tensor", "pixels", "image"]),
    help="What the graph takes: normalised floats, uint8 pixels, or uint8 pictures of any size.  [default: tensor]",
)
@click.option("--raw_input", is_flag=True, help="The same as --input pixels.")
@click.option(
    "--boxes", "has_boxes", is_flag=True, help="With --input image: one picture, and boxes in it to classify."
)
@click.option("--gen_ds_config", is_flag=True, help="Write labels.txt and nvinfer_config.txt for DeepStream too.")
@click.option("--classmap_json", type=PATH, help="Accepted for TAO's sake; a checkpoint knows its classes.")
@click.option("--target_opset", "opset", type=click.IntRange(1), help="Opset of the file.  [default: PyTorch's]")
@click.option("--package", "folder", type=PATH, help="Write a folder with a client for the runtime that --for names.")
@click.option("--for", "runtime", type=click.Choice(["onnxruntime", "openvino"]), help="Runtime of the package.")
@click.option("--verify", type=click.IntRange(0), default=500, help="Validation pictures to compare.  [default: 500]")
@click.option("--sign", "signing_key", type=PATH, help="Private Ed25519 key (PEM) to sign the package with.")
@click.option("--licence", default="unknown", help="The network's licence, for its card.")
@common
def export(spec_file: Path | None, model: Path | None, **rest: Any) -> int:
    """Export a checkpoint to ONNX, checked against PyTorch; with --package, all that it takes to use it elsewhere."""
    if rest.pop("classmap_json") is not None:
        click.echo("--classmap_json is not needed here", err=True)
    output = rest.pop("output_file")
    kind, raw_input, has_boxes = rest.pop("kind"), rest.pop("raw_input"), rest.pop("has_boxes")
    if raw_input and kind not in (None, "pixels"):
        raise click.UsageError(f"--raw_input is --input pixels; leave it out, or --input {kind}")
    kind = "pixels" if raw_input else kind or ("pixels" if rest["folder"] else "tensor")
    if has_boxes and kind != "image":
        raise click.UsageError("--boxes are boxes in a picture of any size: add --input image")
    form_options = {"kind": kind, "opset": rest.pop("opset")}
    file_options = {"has_boxes": has_boxes, "for_deepstream": rest.pop("gen_ds_config")}
    file_options |= {"batch_size": rest.pop("static_batch_size")}
    package_options = {name: rest.pop(name) for name in ("folder", "verify", "signing_key", "licence")}
    package_options["runtime"] = rest.pop("runtime")
    if bool(package_options["folder"]) != bool(package_options["runtime"]):
        raise click.UsageError("--package DIR and --for RUNTIME belong together")
    if package_options["folder"] and (output or has_boxes or file_options["for_deepstream"]):
        raise click.UsageError("--package names its files itself: leave out -o, --boxes and --gen_ds_config")

    def stage(spec: "Spec", run: "Run") -> "Summary":
        from tao_lite.stages.export.export import Form
        from tao_lite.stages.export.export import export as export_stage
        from tao_lite.stages.export.package import Request, package

        source = model or run.best
        if package_options["folder"]:
            return package(spec, run, source, Request(**package_options, **form_options))
        path = output or source.with_suffix(".onnx")
        if "onnx" not in path.name:
            path = path.with_name(f"{path.name}.onnx")  # as in TAO
        return export_stage(spec, run, source, Form(path=path, **form_options, **file_options))

    return start("export", stage, options(rest, {}), spec_file=spec_file, model=model)


cli.add_command(benchmark)
cli.add_command(dataset_group)
cli.add_command(doctor_command)
cli.add_command(prune)
cli.add_command(report_command)
cli.add_command(spec_group)
cli.add_command(verify_command)


def _is_short_of_memory(error: Exception) -> bool:
    """Whether the system refused memory to the interpreter, or room for a library to it."""
    is_library = isinstance(error, ImportError) and "failed to map segment" in str(error)
    return is_library or isinstance(error, MemoryError) or "cannot allocate memory" in str(error).lower()


def _spread_lists(arguments: Sequence[str]) -> list[str]:
    """`-el a b` as `-el a -el b`, which is how click takes several values."""
    spread: list[str] = []
    flag = ""
    for argument in arguments:
        if argument.startswith("-"):
            flag = argument if argument in _LISTS else ""
        elif flag and spread[-1] != flag:
            spread.append(flag)
        spread.append(argument)
    return spread


if __name__ == "__main__":
    main()
