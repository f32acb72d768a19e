"""Where a stage runs: here, or with --docker in a container."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import click

from tao_lite.cli.arguments import PATH
from tao_lite.cli.log import log_to
from tao_lite.errors import LaunchError, RunError

# Options that are about the container alone; they are not passed on into it.
_OWN = ("docker", "docker_image", "mounts", "memory", "cpus", "shm_size", "allow_privileged")
_GPUS = ("gpus", "gpu_index")


class GpuChoice(click.ParamType[tuple[int, tuple[str, ...]]]):
    """`all`, a number, or ids with commas between; as (count, ids), where the count -1 is all."""

    name = "all|N|IDS"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, tuple[str, ...]]:
        text = str(value)
        if text == "all":
            return -1, ()
        if text.isdecimal():
            return int(text), ()
        ids = tuple(text.rstrip(",").split(","))
        if all(one.isdecimal() or one.startswith(("GPU-", "MIG-")) for one in ids):
            return len(ids), ids
        return self.fail(f"{text!r} is neither all, nor a number, nor ids such as 0,2", param, ctx)


def places(command: Callable[..., int]) -> Callable[..., int]:
    """The command with options that say on which devices it runs, and --docker to run it in a container."""

    @functools.wraps(command)
    def placed(**given: Any) -> int:
        own = {name: given.pop(name) for name in _OWN}
        if own["docker"]:
            return _launch(click.get_current_context(), own, given)
        lone = [f"--{name}" for name, value in own.items() if value]
        if lone:
            raise click.UsageError(f"{lone[0]} is about a container; add --docker")
        return command(**{**given, **_here(given)})

    options = (
        click.option(
            "--gpus", type=GpuChoice(), help="How many GPUs, all, or ids as 0,2; 0: CPU.  [default: 1 or CPU]"
        ),
        click.option("--docker", is_flag=True, help="Run in a container of the image that `make image` builds."),
        click.option("--docker_image", metavar="NAME", help="Its image.  [default: tao-lite of this version]"),
        click.option("--mounts", type=PATH, help="Mounts file of TAO.  [default: ~/.tao_mounts.json if there is one]"),
        click.option("--memory", metavar="SIZE", help="Most memory the container may take, such as 16g."),
        click.option("--cpus", type=click.FloatRange(0, min_open=True), help="Most CPU cores it may use."),
        click.option("--shm_size", metavar="SIZE", help="Its shared memory.  [default: 8g]"),
        click.option("--allow_privileged", is_flag=True, help="Let a mounts file make it as mighty as root."),
    )
    decorated: Callable[..., int] = placed
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def words(command: click.Command, values: Mapping[str, Any]) -> list[str]:
    """The options with these values, as a command line that means the same."""
    found = []
    for option in command.params:
        value = values.get(option.name or "")
        if not isinstance(option, click.Option) or option.name in (*_OWN, *_GPUS) or value in (None, False, ()):
            continue
        name = max(option.opts, key=len)
        found += [name] if option.is_flag else [f"{name}={one}" for one in (value if option.multiple else [value])]
    return found


def _launch(context: click.Context, own: Mapping[str, Any], given: Mapping[str, Any]) -> int:
    from tao_lite.cli import session
    from tao_lite.launcher import launch
    from tao_lite.launcher.request import Choice, Command, Gpus

    log_to(is_verbose=given["verbose"])
    index, (count, ids) = given["gpu_index"], given["gpus"] or (None, ())
    ids = tuple(map(str, index)) or ids
    choice = Choice(
        image=own["docker_image"],
        gpus=Gpus(count or 0, ids) if ids or count is not None else None,
        **{name: own[name] for name in ("mounts", "memory", "cpus", "shm_size", "allow_privileged")},
    )
    stage = str(context.command.name)
    if isinstance(given["results_dir"], str):
        raise LaunchError("-r: a container's results are in a folder; give one, and the URL as train_config.mirror")
    places = given["results_dir"], given.get("spec_file"), given.get("model")
    command = Command(
        stage=stage,
        options=given,
        arguments=words(context.command, given),
        results=session.results_folder(*places),
        source=session.spec_source(*places),
    )
    return launch.launch(command, choice)


def _here(given: Mapping[str, Any]) -> dict[str, Any]:
    """--gpus and --gpu_index as a run without a container takes them."""
    count, ids = given["gpus"] or (None, ())
    if ids:
        return {"gpus": None, "gpu_index": ids}
    if count == -1:
        import torch

        count = torch.cuda.device_count()
        if not count:
            raise RunError("--gpus all: torch found no CUDA GPU; check the driver with nvidia-smi, or use --gpus 0")
    return {"gpus": count}
