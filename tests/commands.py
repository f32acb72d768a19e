"""Runs `tao-lite` commands as processes of their own that start at once: forks of one that has imported everything.

Importing torch and torchvision takes seconds of CPU time, and the tests start over a hundred commands. A command sees
what it would see as `python -m tao_lite.cli`: its words, folder, variables and output files.
"""

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """What a command gives; threads and devices are those of the environment of the first."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        places = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (output, errors)]
        request = {"arguments": list(arguments), "folder": str(Path.cwd()), "environment": dict(environment)}
        server = _server(tuple(sorted((name, environment.get(name, "")) for name in _AT_IMPORT)))
        assert server.stdin
        assert server.stdout
        server.stdin.write(json.dumps({**request, "places": places}) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(arguments, code, output.read(), errors.read())


# What is read when torch is imported.
_AT_IMPORT = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


@functools.cache
def _server(variables: tuple[tuple[str, str], ...]) -> "subprocess.Popen[str]":
    """The process of which commands are forks; it ends with the tests, when its input does."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.commands"],
        cwd=_ROOT,
        env={**os.environ, **dict(variables)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(server.communicate)
    return server


def _serve() -> dict[str, Any] | None:
    """Fork for each request that comes: a request is returned in its fork, None here, when there are no more."""
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        process = os.fork()
        if process == 0:
            return request
        _, status = os.waitpid(process, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
    return None


def _become(request: Mapping[str, Any]) -> None:
    """Take the place that the command has."""
    for number, place in enumerate([os.devnull, *request["places"]]):
        file = os.open(place, os.O_RDONLY if number == 0 else os.O_RDWR | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])


if __name__ == "__main__":
    import importlib
    import pkgutil

    import tao_lite
    from tao_lite.cli.main import main

    for module in pkgutil.walk_packages(tao_lite.__path__, "tao_lite."):
        if module.name.startswith(("tao_lite.cli.", "tao_lite.stages.")) and "__main__" not in module.name:
            importlib.import_module(module.name)
    if wanted := _serve():
        _become(wanted)
        try:
            main(wanted["arguments"])
        except SystemExit as ended:
            # Clearing all modules away would take a second, as it copies the memory that a fork shares.
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(int(ended.code or 0))
