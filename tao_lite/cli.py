"""The command line: arguments to spec to stage, and exit codes. Imports torch only when a stage runs.

Exit codes: 0 success, 1 our fault, 2 the user's, 128 + signal when the run was stopped (130 for Ctrl-C).
"""

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tao_lite import distributed
from tao_lite.cli_dataset import dataset_group
from tao_lite.cli_docker import places
from tao_lite.cli_doctor import doctor_command
from tao_lite.cli_spec import spec_group
from tao_lite.errors import Interrupted, TaoLiteError
from tao_lite.session import Options, start

if TYPE_CHECKING:
    from tao_lite.run import Run, Summary
    from tao_lite.spec.load import Spec

OUR_FAULT, USER_ERROR, CTRL_C = 1, 2, 130

# TAO lets these take several words; each becomes an option of its own for click.
_LISTS = ("-el", "--excluded_layers", "--gpu_index")

_PATH = click.Path(path_type=Path)

# Options of prune that are fields of prune_config by the same name.
_PRUNE_FIELDS = (
    *("output_path", "normalizer", "equalization_criterion", "pruning_granularity", "pruning_threshold"),
    *("min_num_filters", "criterion", "criterion_batches", "ranking"),
    *("target_ratio", "target_macs", "max_accuracy_drop", "rounds", "retrain_epochs"),
)
# How much is pruned: one of these decides, and one on the command line replaces all of the spec's.
_PRUNE_TARGETS = ("target_ratio", "target_macs", "max_accuracy_drop")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    try:
        given = _spread_lists(sys.argv[1:] if arguments is None else arguments)
        code = cli.main(given, prog_name="tao-lite", standalone_mode=False)
    except click.exceptions.ClickException as error:
        error.show()
        code = USER_ERROR
    except TaoLiteError as error:
        click.echo(f"Error: {error}", err=True)
        code = USER_ERROR
    except OSError as error:
        logging.getLogger(__name__).debug("where it happened", exc_info=True)
        click.echo(f"Error: {error.filename or 'a file'}: {error.strerror or error}", err=True)
        code = USER_ERROR
    except Interrupted as stopped:
        click.echo(str(stopped), err=True)
        code = 128 + stopped.signal_number
    except (click.exceptions.Abort, KeyboardInterrupt):
        code = CTRL_C
    except Exception:
        logging.getLogger(__name__).exception("This is a fault of tao_lite; please report it with these lines")
        code = OUR_FAULT
    if distributed.launched():
        # Threads of gloo may outlive the interpreter's end and abort the process after its work is done (exit 134;
        # seen in 11 of 60 runs of a bare two-process script on torch 2.15, in none that ended like this).
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)
    sys.exit(code or 0)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="tao-lite")
def cli() -> None:
    """Image classification from TAO spec files: train, evaluate, prune, retrain."""


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every stage, by TAO's names."""
    options = (
        click.option("-r", "--results_dir", type=_PATH, help="Results folder.  [default: results/NAME of NAME.cfg]"),
        click.option("--set", "overrides", multiple=True, metavar="FIELD=VALUE", help="Override a field of the spec."),
        click.option("-k", "--key", help="Accepted for TAO's sake; files are not encrypted."),
        click.option("--gpu_index", type=int, multiple=True, help="Which GPUs.  [default: the first]"),
        click.option("-np", "--num_processes", type=click.IntRange(1), help="Processes.  [default: one per GPU]"),
        click.option("--log_file", type=_PATH, help="Append all output to this file."),
        click.option("-v", "--verbose", is_flag=True, help="Log details."),
    )
    command = places(command)
    for option in reversed(options):
        command = option(command)
    return command


_compat = click.option(
    "--compat",
    type=click.Choice(["CORRECTED", "TAO_EXACT"]),
    help="Whose numbers count where TAO's code differs from its documentation.  [default: CORRECTED]",
)


def _spec_file(*, required: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    names = ("-e", "--experiment_spec_file", "--experiment_spec", "spec_file")
    help_text = "Spec file." if required else "Spec file.  [default: the one inside the model]"
    return click.option(*names, required=required, type=_PATH, help=help_text)


@cli.command()
@_spec_file(required=True)
@click.option("-c", "--classmap", type=_PATH, help='JSON file {"class": index} that fixes the order of classes.')
@click.option("--init_epoch", type=click.IntRange(1), help="Epoch to go on with.  [default: after the newest saved]")
@click.option("--use_amp", is_flag=True, help="FP16 with loss scaling, unless the spec sets train_config.precision.")
@_compat
@_common
def train(spec_file: Path, classmap: Path | None, init_epoch: int | None, use_amp: bool, **rest: Any) -> int:
    """Train, or retrain a pruned network. Goes on where an earlier run in the results folder stopped."""

    def stage(spec: "Spec", run: "Run") -> "Summary":
        from tao_lite.spec import classification_pb2 as pb
        from tao_lite.stages.train import train as train_stage

        if use_amp and not spec.experiment.train_config.HasField("precision"):
            spec.experiment.train_config.precision = pb.Precision.FP16
        return train_stage(spec, run)

    fields = {
        "dataset_config.classmap_path": classmap,
        "train_config.checkpoint.init_epoch": init_epoch,
        "compat": rest.pop("compat"),
    }
    return start("train", stage, _options(rest, fields), spec_file=spec_file, model=None)


@cli.command()
@_spec_file(required=False)
@click.option("-m", "--model_path", "model", type=_PATH, help="Checkpoint.  [default: the best of the results folder]")
@click.option("-cm", "--classmap", type=_PATH, help="Accepted for TAO's sake; a checkpoint knows its classes.")
@click.option("-i", "--image_dir", type=_PATH, help="Images to evaluate.  [default: the spec's]")
@click.option("-b", "--batch_size", type=click.IntRange(1), help="Images per step.  [default: the spec's]")
@_compat
@_common
def evaluate(spec_file: Path | None, model: Path | None, classmap: Path | None, **rest: Any) -> int:
    """Evaluate a checkpoint: top-1, top-k, scores per class, confusion matrix."""

    def stage(spec: "Spec", run: "Run") -> "Summary":
        from tao_lite.stages.evaluate import evaluate as evaluate_stage

        return evaluate_stage(spec, run)

    if classmap:
        click.echo(f"-cm {classmap} is not needed: the checkpoint knows its classes", err=True)
    fields = {
        "eval_config.model_path": model,
        "eval_config.eval_dataset_path": rest.pop("image_dir"),
        "eval_config.batch_size": rest.pop("batch_size"),
        "compat": rest.pop("compat"),
    }
    return start("evaluate", stage, _options(rest, fields), spec_file=spec_file, model=model)


@cli.command()
@_spec_file(required=False)
@click.option("-m", "--model", type=_PATH, help="Checkpoint.  [default: the best of the results folder]")
@click.option(
    "-o", "--output_file", "output_path", type=_PATH, help="Default: weights/pruned.pth of the results folder."
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
@click.option("--max_accuracy_drop", type=float, help="Loss of validation top-1 to allow, 0 to 1.")
@click.option("--rounds", type=int, help="Reach the target in so many rounds, each followed by training.")
@click.option("--retrain_epochs", type=int, help="Epochs of training after each round, or of --compare.  [default: 3]")
@click.option("--sensitivity", is_flag=True, help="Measure what pruning each layer alone costs, prune nothing.")
@click.option("--compare", is_flag=True, help="Measure all criteria at that size, before and after retraining.")
@click.option("--dry_run", is_flag=True, help="Show what would go, write nothing.")
@click.option("--no_measure", is_flag=True, help="Do not measure accuracy and latency.")
@_common
def prune(spec_file: Path | None, model: Path | None, **rest: Any) -> int:
    """Prune a checkpoint: by TAO's rule, or by another criterion and to a target."""
    flags = [name for name in ("sensitivity", "compare", "dry_run", "no_measure") if rest.pop(name)]
    if len(flags) > 1 and flags != ["dry_run", "no_measure"]:
        raise click.UsageError(f"{' and '.join(f'--{name}' for name in flags)} can't be combined")

    def stage(spec: "Spec", run: "Run") -> "Summary":
        if "sensitivity" in flags:
            from tao_lite.stages.prune_sensitivity import sensitivity

            return sensitivity(spec, run)
        if "compare" in flags:
            from tao_lite.stages.prune_compare import compare

            return compare(spec, run)
        if spec.experiment.prune_config.rounds and "dry_run" not in flags:
            from tao_lite.stages.prune_rounds import rounds

            return rounds(spec, run, measure="no_measure" not in flags)
        from tao_lite.stages.prune import prune as prune_stage

        return prune_stage(spec, run, dry_run="dry_run" in flags, measure="no_measure" not in flags)

    given = {name: rest.pop(name) for name in _PRUNE_FIELDS}
    if any(given[name] is not None for name in (*_PRUNE_TARGETS, "pruning_threshold")):
        given |= {name: given[name] or 0 for name in _PRUNE_TARGETS}
    fields = {f"prune_config.{name}": value for name, value in given.items()}
    excluded = rest.pop("excluded_layers")
    if excluded:
        fields["prune_config.excluded_layers"] = f"[{', '.join(map(_quoted, excluded))}]"
    fields["prune_config.model_path"] = model
    return start("prune", stage, _options(rest, fields), spec_file=spec_file, model=model)


@cli.command()
@_spec_file(required=False)
@click.option("-m", "--model_path", "model", type=_PATH, help="Checkpoint.  [default: the best of the results folder]")
@click.option("-i", "--image", type=_PATH, help="One image.")
@click.option("-d", "--image_dir", type=_PATH, help="Folder of images, at any depth.")
@click.option("-b", "--batch_size", type=click.IntRange(1), help="Images per step.  [default: the spec's]")
@click.option("-cm", "--classmap", type=_PATH, help="Accepted for TAO's sake; a checkpoint knows its classes.")
@_common
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
    return start("inference", stage, _options(rest, fields), spec_file=spec_file, model=model)


@cli.command()
@_spec_file(required=False)
@click.option("-m", "--model", type=_PATH, help="Checkpoint.  [default: the best of the results folder]")
@click.option("-o", "--output_file", type=_PATH, help="Default: the name of the checkpoint, ending in .onnx.")
@click.option("--static_batch_size", type=int, default=-1, help="Images per batch.  [default: -1, any number]")
@click.option("--raw_input", is_flag=True, help="Put normalisation into the graph: it then takes uint8 RGB or grey.")
@click.option("--gen_ds_config", is_flag=True, help="Write labels.txt and nvinfer_config.txt for DeepStream too.")
@click.option("--classmap_json", type=_PATH, help="Accepted for TAO's sake; a checkpoint knows its classes.")
@click.option("--target_opset", type=int, help="Accepted for TAO's sake; the opset is PyTorch's.")
@_common
def export(spec_file: Path | None, model: Path | None, **rest: Any) -> int:
    """Export a checkpoint to ONNX, checked against PyTorch."""
    for name in ("classmap_json", "target_opset"):
        if rest.pop(name) is not None:
            click.echo(f"--{name} is not needed here", err=True)
    output, size = rest.pop("output_file"), rest.pop("static_batch_size")
    raw_input, for_deepstream = rest.pop("raw_input"), rest.pop("gen_ds_config")

    def stage(_: "Spec", run: "Run") -> "Summary":
        from tao_lite.stages.export import Form
        from tao_lite.stages.export import export as export_stage

        source = model or run.best
        path = output or source.with_suffix(".onnx")
        if "onnx" not in path.name:
            path = path.with_name(f"{path.name}.onnx")  # as in TAO
        form = Form(path=path, batch_size=size, raw_input=raw_input, for_deepstream=for_deepstream)
        return export_stage(run, source, form)

    return start("export", stage, _options(rest, {}), spec_file=spec_file, model=model)


cli.add_command(dataset_group)
cli.add_command(doctor_command)
cli.add_command(spec_group)


def _options(common: dict[str, Any], fields: Mapping[str, object]) -> Options:
    """The common options, with the command's own as overrides of the spec's fields; --set comes last and wins."""
    given = tuple(f"{path}={value}" for path, value in fields.items() if value is not None)
    return Options(**{**common, "overrides": (*given, *common["overrides"])})


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


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
