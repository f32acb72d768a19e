"""The options that the commands of stages share."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from tao_lite.cli.arguments import PATH, RESULTS, further_overrides, overrides
from tao_lite.cli.docker import places
from tao_lite.cli.session import Options
from tao_lite.errors import RunError
from tao_lite.files.places import problem


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every stage, by TAO's names."""
    shared = (
        click.option("-r", "--results_dir", type=RESULTS, help="Results folder.  [default: results/NAME of NAME.cfg]"),
        overrides,
        click.option("-k", "--key", help="Accepted for TAO's sake; files are not encrypted."),
        click.option("--gpu_index", type=int, multiple=True, help="Which GPUs.  [default: the first]"),
        click.option("-np", "--num_processes", type=click.IntRange(1), help="Processes.  [default: one per GPU]"),
        click.option("--log_file", type=PATH, help="Append all output to this file."),
        click.option("-v", "--verbose", is_flag=True, help="Log details."),
    )
    command = further_overrides(places(command))
    for option in reversed(shared):
        command = option(command)
    return command


compat = click.option(
    "--compat",
    type=click.Choice(["CORRECTED", "TAO_EXACT"]),
    help="Whose numbers count where TAO's code differs from its documentation.  [default: CORRECTED]",
)

network = click.option(
    "-m",
    "--model_path",
    "model",
    type=PATH,
    help="Checkpoint, ONNX file, OpenVINO model.xml or package.  [default: the best checkpoint of the results folder]",
)


def options(given: dict[str, Any], fields: Mapping[str, object]) -> Options:
    """The common options, with the command's own as overrides of the spec's fields; --set comes last and wins."""
    given, mirror = _with_local_results(given)
    own = tuple(f"{path}={value}" for path, value in {**mirror, **fields}.items() if value is not None)
    arguments = tuple(click.get_current_context().obj)
    return Options(**{**given, "overrides": (*own, *given["overrides"]), "arguments": arguments})


def _with_local_results(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The options with a results folder here; and the field that has a training copy it to the URL that was given.

    Raises:
        RunError: the URL can't be used, or by no other command than train.
    """
    url = given.get("results_dir")
    if not isinstance(url, str):
        return given, {}
    if why := problem(url):
        raise RunError(f"-r: {why}")
    folder, command = Path("results", *url.partition("://")[2].split("/")), click.get_current_context().info_name
    if command != "train":
        raise RunError(
            f"-r {url}: only train writes to a URL and reads from it; it also keeps all in {folder}: give that, or "
            "a folder with files that you have fetched"
        )
    return {**given, "results_dir": folder}, {"train_config.mirror": url}


def onnx_file(path: Path) -> Path:
    """The path, ending in .onnx where it says nothing of it, as in TAO."""
    return path if "onnx" in path.name else path.with_name(f"{path.name}.onnx")
