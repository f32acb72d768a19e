"""What the scripts in containers/ ask and have done: python -m tao_lite.launcher QUESTION ARGUMENTS...

where auto|docker IMAGE   prints `docker`, `image` (docker, but its image must be built first) or `local`, and why
compose                   prints user and engine's address for Docker Compose
build OPTIONS... FOLDER   builds an image through the engine's API, with options as `docker build` has them
"""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tao_lite.errors import LaunchError
from tao_lite.launcher import engine as engine_client
from tao_lite.launcher import image

USER_ERROR = 2


def main(arguments: Sequence[str]) -> int:
    """Exit code; what was asked for goes to standard output."""
    question, *rest = arguments
    try:
        sys.stdout.writelines(
            f"{line}\n" for line in {"where": _where, "compose": _compose, "build": _build}[question](rest)
        )
    except LaunchError as error:
        sys.stderr.write(f"{error}\n")
        return USER_ERROR
    return 0


def _where(arguments: Sequence[str]) -> Sequence[str]:
    runner, name = arguments
    try:
        with contextlib.closing(engine_client.connect()) as client:
            engine = engine_client.examine(client)
            try:
                is_current = image.is_current(engine_client.said(client.images.get, name).labels)
            except LaunchError:
                is_current = False
    except LaunchError as error:
        if runner == "docker":
            raise
        return [f"local {str(error).partition(';')[0]}"]
    if runner == "auto" and engine_client.machine_has_gpu() and not engine.gpu:
        return [f"local {engine.why_no_gpu}"]
    answer, state = ("docker", "is there") if is_current else ("image", "was built")
    return [f"{answer} {engine} answers and the image {name} {state}"]


def _compose(_: Sequence[str]) -> Sequence[str]:
    address, client = engine_client.reach()
    with contextlib.closing(client):
        return [f"{engine_client.examine(client).caller} {address}"]


def _build(arguments: Sequence[str]) -> Sequence[str]:
    given = _build_options().parse_args(arguments)
    options: dict[str, Any] = {
        "path": str(given.folder.absolute()),
        "dockerfile": given.file,
        "tag": given.tag,
        "buildargs": dict(given.build_arg),
        "labels": dict(given.label),
        "network_mode": given.network,
        "nocache": given.no_cache,
        "pull": given.pull,
    }
    with contextlib.closing(engine_client.connect()) as client:
        engine_client.said(_follow, client, options)
    return [f"built {given.tag}"]


def _follow(client: Any, options: dict[str, Any]) -> None:
    """Build, and write what the engine says as it comes."""
    for said in client.api.build(rm=True, forcerm=True, decode=True, **options):
        sys.stderr.write(said.get("stream", ""))
        if "error" in said:
            raise LaunchError(f"the image can't be built: {said['error'].strip()}")


def _build_options() -> argparse.ArgumentParser:
    def pair(text: str) -> tuple[str, str]:
        name, equals, value = text.partition("=")
        if not equals:
            raise argparse.ArgumentTypeError(f"{text!r} must be NAME=VALUE")
        return name, value

    parser = argparse.ArgumentParser(prog="build", description="Build an image where there is no docker command.")
    parser.add_argument("-f", "--file", required=True)
    parser.add_argument("-t", "--tag", required=True)
    parser.add_argument("--build-arg", action="append", type=pair, default=[], metavar="NAME=VALUE")
    parser.add_argument("--label", action="append", type=pair, default=[], metavar="NAME=VALUE")
    parser.add_argument("--network")
    parser.add_argument("--no-cache", action="store_true")
    parser.add_argument("--pull", action="store_true")
    parser.add_argument("folder", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
